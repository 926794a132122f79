/** Servers that are killed and started again under a writer and a subscriber: each event comes once and in order. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ConnectionLost, EventflowClient, TryAgain, type Subscription } from "../src/index.js";

const RESTARTS = 4;

/** A server of the test's own: EVENTFLOWDB_SERVER is the command that starts it. */
class OwnServer {
  readonly port: number;
  readonly #data: string;
  #process: ChildProcess | undefined;

  static async start(t: TestContext): Promise<OwnServer> {
    const server = new OwnServer(await freePort(), mkdtempSync(join(tmpdir(), "eventflowdb-")));
    t.after(async () => {
      await server.end("SIGKILL");
      rmSync(server.#data, { recursive: true });
    });
    await server.begin();
    return server;
  }

  private constructor(port: number, data: string) {
    this.port = port;
    this.#data = data;
  }

  /** Resolves when it accepts connections. */
  async begin(): Promise<void> {
    const [program, ...words] = (process.env["EVENTFLOWDB_SERVER"] ?? "").split(" ");
    if (!program) {
      throw new Error("EVENTFLOWDB_SERVER: expected the command that starts a server, such as twistd -n eventflowdb");
    }
    const env = { ...process.env, PORT: String(this.port), DATA: join(this.#data, "data"), INTERFACE: "127.0.0.1" };
    this.#process = spawn(program, words, { cwd: this.#data, env, stdio: "ignore" });
    while (!(await accepts(this.port))) {
      assert.equal(this.#process.exitCode, null, "the server did not start");
      await sleep(20);
    }
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, "exit");
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Adds one event after the other, each once, until it is told to stop; returns how many. */
async function write(client: EventflowClient, stream: string, isOver: () => boolean): Promise<number> {
  let version = 0;
  for (; !isOver(); version += 1) {
    let requestId: string | undefined;
    for (let isStored = false; !isStored;) {
      try {
        await client.add(stream, version, [{ type: "A", data: String(version) }], { requestId });
        isStored = true;
      } catch (error) {
        assert.ok(error instanceof ConnectionLost || error instanceof TryAgain, String(error));
        requestId = (error as ConnectionLost).requestId ?? requestId;
      }
    }
  }
  return version;
}

async function read(subscription: Subscription, isLast: (count: number) => boolean): Promise<string[]> {
  const data: string[] = [];
  for await (const event of subscription) {
    data.push(event.data);
    if (isLast(data.length)) {
      break;
    }
  }
  return data;
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`a subscription outlives servers that end by ${signal}`, async (t) => {
    const server = await OwnServer.start(t);
    const [writer, reader] = [
      await EventflowClient.connect({ port: server.port }),
      await EventflowClient.connect({ port: server.port }),
    ];
    t.after(() => [writer, reader].forEach((client) => client.abort()));
    const stream = randomUUID();
    const subscriptions = [await reader.subscribe(), await reader.subscribe({ stream, types: ["A", "B"] })];
    let isOver = false;
    let count: number | undefined;
    const reading = subscriptions.map((subscription) => read(subscription, (length) => length === count));
    const writing = write(writer, stream, () => isOver);
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      await sleep(200 + Math.random() * 300);
      await server.end(signal);
      await sleep(Math.random() * 300);
      await server.begin();
    }
    await sleep(500);
    isOver = true;
    const written = await writing;
    count = written + 1;
    await writer.add(stream, written, [{ type: "B", data: String(written) }]);
    for (const data of await Promise.all(reading)) {
      assert.deepEqual(
        data,
        Array.from({ length: count }, (_, version) => String(version)),
      );
    }
    assert.ok(count > RESTARTS, `${count} events`);
  });
}
