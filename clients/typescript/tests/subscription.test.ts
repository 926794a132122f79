/** A subscription gives each event once and in order, whatever becomes of its connections. */

import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  ClientClosed,
  CorruptRecord,
  EventflowClient,
  InvalidArgument,
  NotConnected,
  UnexpectedReply,
  WrongPassword,
  type SubscribeOptions,
  type Subscription,
} from "../src/index.js";
import {
  array,
  bulk,
  confirmation,
  eventJson,
  FakeServer,
  message,
  STREAM,
  type Answer,
} from "./fake-server.js";

const ZEROS = "0".repeat(26);
const EMPTY_LOG = array(bulk(ZEROS), bulk("0"));

function idOf(number: number): string {
  return (JSON.parse(eventJson(number)) as { id: string }).id;
}

/** What to send for an event, or undefined when that has been seen to: then the subscription is over. */
type Send = (number: number, channel: string, socket: Socket) => string | undefined;

/**
 * A log that can be subscribed to as a whole. It sends its events as fast as it may, whether they are taken or not.
 * `send` may put something else in their place.
 */
class FakeLog {
  size = 0;
  /** The queries of all subscriptions. */
  readonly queries: SubscribeOptions[] = [];
  readonly #places = new Map<Socket, { channel: string; next: number }>();
  readonly #send: Send;
  readonly #data: string;

  constructor(send?: Send, data = "") {
    this.#send = send ?? ((number, channel) => this.message(number, channel));
    this.#data = data;
  }

  message(number: number, channel: string): string {
    return message(channel, eventJson(number, this.#data));
  }

  /** Store so many events more. */
  grow(count: number): void {
    this.size += count;
    this.#places.forEach((_, socket) => this.#serve(socket));
  }

  readonly answer: Answer = ([command, channel], socket) => {
    switch (command) {
      case "CHECKSUM":
        return this.size === 0 ? EMPTY_LOG : array(bulk(idOf(this.size)), bulk("0"));
      case "SUBSCRIBE": {
        const query = JSON.parse(channel!) as SubscribeOptions;
        this.queries.push(query);
        this.#places.set(socket, { channel: channel!, next: Number((query.after ?? ZEROS).slice(10)) + 1 });
        socket.write(confirmation(command, channel!));
        this.#serve(socket);
        return "";
      }
      case "GETALL": {
        const { after, limit } = JSON.parse(channel!) as { after: string; limit: number };
        const first = Number(after.slice(10)) + 1;
        const last = Math.min(this.size, first + limit - 1);
        return array(...counted(first, last).map((number) => bulk(eventJson(number))));
      }
      case "UNSUBSCRIBE":
        this.#places.delete(socket);
        return confirmation(command, channel!);
      default:
        return undefined;
    }
  };

  #serve(socket: Socket): void {
    const place = this.#places.get(socket);
    while (place !== undefined && place.next <= this.size && !socket.destroyed) {
      const text = this.#send(place.next, place.channel, socket);
      if (text === undefined) {
        this.#places.delete(socket);
        return;
      }
      socket.write(text);
      place.next += 1;
    }
  }
}

async function start(t: TestContext, answer: Answer): Promise<[FakeServer, EventflowClient]> {
  const server = await FakeServer.start(answer);
  t.after(() => server.stop().catch(() => {}));
  const client = await server.connect();
  t.after(() => client.abort());
  return [server, client];
}

/** The positions of the next events. */
async function next(subscription: Subscription, count: number): Promise<number[]> {
  const positions: number[] = [];
  const events = subscription[Symbol.asyncIterator]();
  while (positions.length < count) {
    const { done, value } = await events.next();
    if (done) {
      break;
    }
    positions.push(value.position);
  }
  return positions;
}

function counted(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, number) => first + number);
}

describe("a subscription", { concurrency: true }, () => {
  test("gives what comes from now on, in order", async (t) => {
    const log = new FakeLog();
    const [, client] = await start(t, log.answer);
    log.grow(3);
    const subscription = await client.subscribe({ types: ["A"] });
    log.grow(2);
    assert.deepEqual(await next(subscription, 2), [4, 5]);
    log.grow(1);
    assert.deepEqual(await next(subscription, 1), [6]);
    assert.deepEqual(log.queries, [{ types: ["A"], after: idOf(3) }]);
  });

  test("begins in an empty log, and gives its first event though it came while there was no connection", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    server.sockets.forEach((socket) => socket.destroy());
    log.grow(1);
    assert.deepEqual(await next(subscription, 1), [1]);
    while (log.queries.length < 2) {
      await sleep(5);
    }
    assert.deepEqual(log.queries, [{ after: ZEROS }, { after: idOf(1) }]);
  });

  const PLACES: [SubscribeOptions, object][] = [
    [{ after: idOf(2) }, { after: idOf(2) }],
    [{ offset: idOf(2) }, { offset: idOf(2) }],
    [{ stream: STREAM }, { stream: STREAM, after: ZEROS }],
    [
      { stream: STREAM, version: 0 },
      { stream: STREAM, version: 0 },
    ],
    [
      { stream: STREAM, offset: idOf(2) },
      { stream: STREAM, after: idOf(1) },
    ],
    [
      { stream: STREAM, offset: "x" },
      { stream: STREAM, offset: "x" },
    ],
    [{ since: new Date(0) }, { since: "1970-01-01T00:00:00.000Z" }],
    [
      { before: ZEROS, tags: ["a"] },
      { before: ZEROS, tags: ["a"], after: ZEROS },
    ],
  ];
  for (const [options, query] of PLACES) {
    test(`has a place to go on from: ${JSON.stringify(options)}`, async (t) => {
      const log = new FakeLog();
      const [, client] = await start(t, log.answer);
      (await client.subscribe(options)).close();
      assert.deepEqual(log.queries, [query]);
    });
  }

  test("goes on behind the last event that came when its connection breaks, again and again", async (t) => {
    let sent = 0;
    const log: FakeLog = new FakeLog((number, channel, socket) => {
      sent += 1;
      if (sent % 8 === 0) {
        // In the middle of a message.
        socket.end(log.message(number, channel).slice(0, 100));
        return undefined;
      }
      return log.message(number, channel);
    });
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe({ tags: ["a"], offset: idOf(1) });
    log.grow(50);
    assert.deepEqual(await next(subscription, 50), counted(1, 50));
    assert.deepEqual(
      log.queries.slice(0, 3),
      [{ tags: ["a"], offset: idOf(1) }, 7, 14].map((query) =>
        typeof query === "number" ? { tags: ["a"], after: idOf(query) } : query,
      ),
    );
    assert.equal(server.requests.filter(([command]) => command === "GETALL").length, 0);
  });

  test("finds the server again after it was away", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    log.grow(2);
    assert.deepEqual(await next(subscription, 2), [1, 2]);
    const { port } = server;
    await server.stop();
    log.grow(2);
    const read = next(subscription, 3);
    await sleep(700);
    await server.listen(port);
    log.grow(1);
    assert.deepEqual(await read, [3, 4, 5]);
  });

  test("is taken on though the server cannot for now", async (t) => {
    const log = new FakeLog();
    let refusals = 0;
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    server.answerBy((words, socket) => {
      if (words[0] === "SUBSCRIBE" && refusals < 2) {
        refusals += 1;
        return "-TRYAGAIN shutting down\r\n";
      }
      return log.answer(words, socket);
    });
    server.sockets.forEach((socket) => socket.destroy());
    while (log.queries.length < 2) {
      await sleep(5);
    }
    log.grow(1);
    assert.deepEqual(await next(subscription, 1), [1]);
    assert.equal(refusals, 2);
  });

  test("is not sent more than a program takes, and loses nothing", async (t) => {
    const log = new FakeLog(undefined, "x".repeat(1 << 20));
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    for (let count = 0; count < 40; count += 1) {
      log.grow(1);
      await sleep(5);
    }
    const commands = (): string[] => server.requests.map(([command]) => command!);
    while (!commands().includes("UNSUBSCRIBE")) {
      await sleep(5);
    }
    assert.equal(commands().filter((command) => command === "SUBSCRIBE").length, 1);
    assert.deepEqual(await next(subscription, 40), counted(1, 40));
    assert.ok(commands().filter((command) => command === "SUBSCRIBE").length > 1);
    assert.equal(server.hellos.length, 2);
  });

  test("ends when the loop does, with its connection", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    log.grow(3);
    for await (const { position } of subscription) {
      if (position === 2) {
        break;
      }
    }
    assert.deepEqual(await next(subscription, 1), []);
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  test("ends when it is closed, without an error, and leaves out what was not taken", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    const waiting = next(subscription, 1);
    await sleep(20);
    subscription.close();
    assert.deepEqual(await waiting, []);
    const other = await client.subscribe();
    log.grow(3);
    assert.deepEqual(await next(other, 1), [1]);
    other.close();
    assert.deepEqual(await next(other, 1), []);
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  test("that is closed while it has no connection makes none", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    server.sockets.forEach((socket) => socket.destroy());
    await sleep(20);
    subscription.close();
    assert.deepEqual(await next(subscription, 1), []);
    await sleep(400);
    assert.equal(log.queries.length, 1);
  });

  test("throws when the client is closed, after what has come", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    log.grow(2);
    assert.deepEqual(await next(subscription, 1), [1]);
    await client.close();
    assert.deepEqual(await next(subscription, 1), [2]);
    await assert.rejects(next(subscription, 1), ClientClosed);
    await assert.rejects(client.subscribe(), NotConnected);
    while (server.sockets.size > 0) {
      await sleep(5);
    }
  });

  test("rejects a query that the server refuses, and one that it would never see", async (t) => {
    const [server, client] = await start(t, ([command]) =>
      command === "SUBSCRIBE" ? "-INVALIDARG types[0]: expected 1 to 255 bytes, got 0\r\n" : EMPTY_LOG,
    );
    await assert.rejects(client.subscribe({ types: [""] }), InvalidArgument);
    await assert.rejects(client.subscribe({ type: "A" } as object), InvalidArgument);
    assert.equal(server.requests.length, 2);
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  test("throws what the server refuses when it comes back", async (t) => {
    const log = new FakeLog();
    const [server, client] = await start(t, log.answer);
    const subscription = await client.subscribe();
    log.grow(1);
    server.answerBy((words, socket) =>
      words[0] === "HELLO" ? "-WRONGPASS invalid username-password pair\r\n" : log.answer(words, socket),
    );
    while (log.queries.length === 0) {
      await sleep(5);
    }
    server.sockets.forEach((socket) => socket.end());
    await assert.rejects(next(subscription, 2), WrongPassword);
  });

  test("throws CorruptRecord at a record that the server cannot read, after those before it", async (t) => {
    const log: FakeLog = new FakeLog((number, channel, socket) => {
      if (number < 4) {
        return log.message(number, channel);
      }
      socket.end(`>3\r\n${bulk("error")}${bulk(channel)}${bulk("CORRUPT record 6")}`);
      return undefined;
    });
    const [server, client] = await start(t, (words, socket) => {
      if (words[0] !== "GETALL") {
        return log.answer(words, socket);
      }
      // By an ordinary read two more can be had.
      const { after } = JSON.parse(words[1]!) as { after: string };
      return after === idOf(5) ? "-CORRUPT record 6\r\n" : array(bulk(eventJson(4)), bulk(eventJson(5)));
    });
    const subscription = await client.subscribe();
    log.grow(10);
    assert.deepEqual(await next(subscription, 5), [1, 2, 3, 4, 5]);
    await assert.rejects(next(subscription, 1), CorruptRecord);
    while (server.sockets.size > 1) {
      await sleep(5);
    }
  });

  for (const [what, text] of [
    ["is no event", undefined],
    ["is no RESP", "?\r\n"],
  ] as const) {
    test(`throws UnexpectedReply at what ${what}`, async (t) => {
      const log: FakeLog = new FakeLog((_, channel) => text ?? message(channel, "{}"));
      const [server, client] = await start(t, log.answer);
      const subscription = await client.subscribe();
      log.grow(1);
      await assert.rejects(next(subscription, 1), UnexpectedReply);
      while (server.sockets.size > 1) {
        await sleep(5);
      }
    });
  }
});
