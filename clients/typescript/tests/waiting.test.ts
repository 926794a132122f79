/** Reads that wait have connections of their own, which nobody else waits for. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ClientClosed, ConnectionLost, EventflowClient } from "../src/index.js";
import { array, bulk, eventJson, FakeServer, STREAM, type Answer } from "./fake-server.js";

const STORED = array(bulk(eventJson(1)));
const MINUTE = { waitMs: 60_000 };

async function start(t: TestContext, answer: Answer, replyTimeoutMs = 30_000): Promise<[FakeServer, EventflowClient]> {
  const server = await FakeServer.start(answer);
  t.after(() => server.stop());
  const client = await server.connect({ replyTimeoutMs });
  t.after(() => client.abort());
  return [server, client];
}

/** Answers GET and GETALL after so many milliseconds; absent: never. */
function slow(ms?: number): Answer {
  return ([command], socket) => {
    if (command === "GETALL" || command === "GET") {
      if (ms !== undefined) {
        setTimeout(() => socket.destroyed || socket.write(STORED), ms);
      }
      return "";
    }
    return command === "EVENTCOUNT" ? ":1\r\n" : undefined;
  };
}

/** The server has been asked so many times. */
async function asked(server: FakeServer, times: number): Promise<void> {
  while (server.requests.length < times) {
    await sleep(5);
  }
}

describe("reads that wait", { concurrency: true }, () => {
  test("other requests do not wait behind them", async (t) => {
    const [server, client] = await start(t, slow());
    const waiting = [client.getAll(MINUTE), client.get(STREAM, MINUTE)].map((read) => read.catch(() => "ended"));
    await asked(server, 2);
    assert.equal(await client.eventCount(), 1);
    assert.equal(server.hellos.length, 3);
    client.abort();
    assert.deepEqual(await Promise.all(waiting), ["ended", "ended"]);
  });

  test("may take longer than another reply", async (t) => {
    const [server, client] = await start(t, slow(600), 200);
    assert.equal((await client.getAll(MINUTE)).length, 1);
    assert.equal((await client.get(STREAM, MINUTE)).length, 1);
    server.answerBy(() => "");
    await assert.rejects(
      client.get(STREAM, { waitMs: 0 }),
      (error) => error instanceof ConnectionLost && error.isOverdue,
    );
  });

  test("one after the other share a connection, and one that waits longer gets another", async (t) => {
    const [server, client] = await start(t, slow(0));
    await client.getAll({ waitMs: 1000 });
    await client.getAll({ waitMs: 500 });
    await client.get(STREAM, { waitMs: 1000 });
    assert.equal(server.hellos.length, 2);
    await client.getAll({ waitMs: 1001 });
    assert.equal(server.hellos.length, 3);
    while (server.sockets.size > 2) {
      await sleep(5);
    }
  });

  test("are asked again when their connection breaks", async (t) => {
    const [server, client] = await start(t, ([command], socket) => {
      if (command !== "GETALL") {
        return undefined;
      }
      return server.requests.length === 1 ? void socket.end() : STORED;
    });
    assert.equal((await client.getAll(MINUTE)).length, 1);
    assert.equal(server.requests.length, 2);
  });

  test("do not keep a client from closing", async (t) => {
    const [server, client] = await start(t, slow());
    const waiting = assert.rejects(client.getAll(MINUTE), ClientClosed);
    await asked(server, 1);
    await client.close();
    await waiting;
    while (server.sockets.size > 0) {
      await sleep(5);
    }
    await assert.rejects(client.getAll(MINUTE), ClientClosed);
    await sleep(50);
    assert.equal(server.sockets.size, 0);
  });

  test("begun while the client closes leave no connection behind", async (t) => {
    const [server, client] = await start(t, slow());
    const waiting = assert.rejects(client.getAll(MINUTE), ClientClosed);
    await client.close();
    await waiting;
    while (server.sockets.size > 0) {
      await sleep(5);
    }
    assert.deepEqual(server.requests, []);
  });
});
