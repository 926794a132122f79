/** A member of a consumer gets events, and answers for each under the name by which it got it. */

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  ClientClosed,
  EventflowClient,
  InvalidArgument,
  NoSuchConsumer,
  NotHeld,
  type Consumer,
  type RecordedEvent,
} from "../src/index.js";
import { array, bulk, eventJson, FakeServer, type Answer } from "./fake-server.js";

interface Said {
  readonly command: string;
  readonly member: string;
  readonly ids?: string[];
  readonly extend?: string[];
  readonly release?: boolean;
  readonly limit?: number;
  readonly wait_ms?: number;
}

type Three = [RecordedEvent, RecordedEvent, RecordedEvent];

function idOf(number: number): string {
  return (JSON.parse(eventJson(number)) as { id: string }).id;
}

/** Answers each FETCH with the next pages, then with none; undefined: the connection breaks. */
function giving(...pages: (number[] | undefined | string)[]): Answer {
  return ([command], socket) => {
    if (command === "ACK" || command === "NACK") {
      return ":1\r\n";
    }
    if (command !== "FETCH") {
      return undefined;
    }
    if (pages.length === 0) {
      return "";
    }
    const page = pages.shift();
    if (page === undefined) {
      return void socket.resetAndDestroy();
    }
    return typeof page === "string" ? page : array(...page.map((number) => bulk(eventJson(number))));
  };
}

async function start(t: TestContext, answer: Answer): Promise<[FakeServer, EventflowClient]> {
  const server = await FakeServer.start(answer);
  t.after(() => server.stop());
  const client = await server.connect();
  t.after(() => client.abort());
  return [server, client];
}

/** What was said to the server, but for the consumer's name. */
function said(server: FakeServer): Said[] {
  return server.requests.map(([command, argument]) => {
    const { consumer, ...others } = JSON.parse(argument!) as Said & { consumer: string };
    assert.equal(consumer, "c");
    return { ...others, command: command! };
  });
}

/** The next events; the iteration stays as it is. */
async function take(events: AsyncGenerator<RecordedEvent, void, void>, count: number): Promise<RecordedEvent[]> {
  const taken: RecordedEvent[] = [];
  while (taken.length < count) {
    const { value } = await events.next();
    taken.push(value as RecordedEvent);
  }
  return taken;
}

function positions(events: readonly RecordedEvent[]): number[] {
  return events.map(({ position }) => position);
}

function iterate(consumer: Consumer): AsyncGenerator<RecordedEvent, void, void> {
  return consumer[Symbol.asyncIterator]();
}

describe("a member of a consumer", { concurrency: true }, () => {
  test("gets events page by page, waits for more, and says what became of them", async (t) => {
    const [server, client] = await start(t, giving([1, 2], [], [3]));
    const consumer = client.consumer("c", { member: "m", limit: 2, waitMs: 1234 });
    const [first, second, third] = (await take(iterate(consumer), 3)) as Three;
    assert.deepEqual(positions([first, second, third]), [1, 2, 3]);
    assert.equal(await consumer.ack(first), 1);
    await consumer.ack([second, third.id]);
    await consumer.extend(third);
    await consumer.release([third]);
    await consumer.nack(third, { reason: "r" });
    assert.equal(await consumer.ack([]), 0);
    const fetch = { command: "FETCH", member: "m", limit: 2, wait_ms: 1234 };
    assert.deepEqual(said(server), [
      fetch,
      fetch,
      fetch,
      { command: "ACK", member: "m", ids: [idOf(1)] },
      { command: "ACK", member: "m", ids: [idOf(2), idOf(3)] },
      { command: "ACK", member: "m", extend: [idOf(3)] },
      { command: "NACK", member: "m", ids: [idOf(3)], release: true },
      { command: "NACK", member: "m", ids: [idOf(3)], reason: "r" },
    ]);
    assert.deepEqual(consumer.checkpoint(first), { consumer: "c", member: "m", id: idOf(1) });
    assert.equal(server.hellos.length, 2);
  });

  test("gets pages as they are", async (t) => {
    const [, client] = await start(t, giving([1, 2], [], [3]));
    const pages = client.consumer("c").pages();
    assert.deepEqual(positions((await pages.next()).value as RecordedEvent[]), [1, 2]);
    assert.deepEqual(positions((await pages.next()).value as RecordedEvent[]), [3]);
  });

  test("has a name of its own where none is given", async (t) => {
    const [, client] = await start(t, giving());
    const names = [client.consumer("c").member, client.consumer("c").member];
    assert.notEqual(names[0], names[1]);
    assert.match(names[0]!, /^[A-Za-z0-9._:-]{1,64}$/);
  });

  for (const member of ["m", "m".repeat(64)]) {
    test(`takes another name where an answer may be lost: ${member}`, async (t) => {
      const [server, client] = await start(t, giving([1, 2], undefined, [3]));
      const consumer = client.consumer("c", { member });
      const [first, second, third] = (await take(iterate(consumer), 3)) as Three;
      const other = consumer.member;
      assert.notEqual(other, member);
      assert.match(other, /^m+:[A-Za-z0-9._:-]+$/);
      assert.ok(other.length <= 64);
      await consumer.ack([first, third, second]);
      assert.deepEqual(said(server).slice(3), [
        { command: "ACK", member, ids: [idOf(1), idOf(2)] },
        { command: "ACK", member: other, ids: [idOf(3)] },
      ]);
      assert.deepEqual(
        said(server)
          .slice(0, 3)
          .map((fetch) => fetch.member),
        [member, member, other],
      );
      assert.equal(consumer.checkpoint(second).member, member);
      assert.equal(consumer.checkpoint(third).member, other);
    });
  }

  test("keeps its name where nothing was given out, and asks again", async (t) => {
    const [server, client] = await start(t, giving("-TRYAGAIN the server is shutting down\r\n", [1]));
    const consumer = client.consumer("c", { member: "m" });
    assert.deepEqual(positions(await take(iterate(consumer), 1)), [1]);
    assert.deepEqual(
      said(server).map((fetch) => fetch.member),
      ["m", "m"],
    );
  });

  test("finds the server again after it was away", async (t) => {
    const [server, client] = await start(t, giving());
    const consumer = client.consumer("c");
    const taken = take(iterate(consumer), 1);
    while (server.requests.length === 0) {
      await sleep(5);
    }
    const { port } = server;
    await server.stop();
    await sleep(500);
    server.answerBy(giving([1]));
    await server.listen(port);
    assert.deepEqual(positions(await taken), [1]);
  });

  test("gives back what it holds when the loop ends, and closes its connection", async (t) => {
    const [server, client] = await start(t, giving([1, 2, 3]));
    const consumer = client.consumer("c", { member: "m" });
    for await (const event of consumer) {
      await consumer.ack(event);
      break;
    }
    assert.deepEqual(said(server).at(-1), { command: "NACK", member: "m", release: true });
    while (server.sockets.size > 1) {
      await sleep(5);
    }
    for await (const event of consumer) {
      assert.fail(`${event.position} came after the end`);
    }
    assert.equal(server.requests.length, 3);
  });

  test("that is closed while it waits, or in the middle of a page, ends without an error", async (t) => {
    const [server, client] = await start(t, giving([1, 2]));
    const consumer = client.consumer("c", { member: "m" });
    const events = iterate(consumer);
    await take(events, 1);
    await consumer.close();
    assert.deepEqual(await events.next(), { done: true, value: undefined });
    const other = client.consumer("c", { member: "n" });
    const waiting = iterate(other).next();
    while (server.requests.length < 3) {
      await sleep(5);
    }
    await other.close();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    await other.close();
    assert.deepEqual(
      said(server).filter(({ release }) => release),
      ["m", "n"].map((member) => ({ command: "NACK", member, release: true })),
    );
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  test("throws what the server refuses", async (t) => {
    const [server, client] = await start(t, giving("-NOCONSUMER there is no consumer c\r\n"));
    const consumer = client.consumer("c");
    await assert.rejects(iterate(consumer).next(), NoSuchConsumer);
    server.answerBy(([command]) =>
      command === "ACK" ? `-CONCURRENCY consumer=c event=${idOf(1)}: this member does not hold it\r\n` : undefined,
    );
    await assert.rejects(consumer.ack(idOf(1)), (error) => error instanceof NotHeld && error.event === idOf(1));
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  test("throws when the client is closed", async (t) => {
    const [server, client] = await start(t, giving());
    const waiting = assert.rejects(iterate(client.consumer("c")).next(), ClientClosed);
    while (server.requests.length === 0) {
      await sleep(5);
    }
    await client.close();
    await waiting;
    await assert.rejects(iterate(client.consumer("c")).next(), ClientClosed);
  });

  test("says again what became of an event when the connection breaks", async (t) => {
    const [server, client] = await start(t, ([command], socket) => {
      if (command !== "ACK" && command !== "NACK") {
        return undefined;
      }
      return server.requests.length % 2 === 1 ? void socket.end() : ":1\r\n";
    });
    const consumer = client.consumer("c", { member: "m" });
    assert.equal(await consumer.ack(idOf(1)), 1);
    assert.equal(await consumer.nack(idOf(2)), 1);
    assert.equal(server.requests.length, 4);
  });

  test("is refused with an option that does not exist, and with what would ask without a pause", async (t) => {
    const [, client] = await start(t, giving());
    for (const options of [{ limit: 0 }, { waitMs: 0 }, { waitMs: NaN }, { name: "m" } as object]) {
      assert.throws(() => client.consumer("c", options), InvalidArgument);
    }
  });
});
