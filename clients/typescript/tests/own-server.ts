/** A real server that a test starts and ends: EVENTFLOWDB_SERVER is the command that starts it. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** A server on a port and with a database of its own. */
export class OwnServer {
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

  /** End it by a signal, and start it again after a moment. */
  async restart(signal: NodeJS.Signals): Promise<void> {
    await this.end(signal);
    await sleep(Math.random() * 300);
    await this.begin();
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
