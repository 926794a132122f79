/** What is sent again when it failed: only what can do no harm, and always as it was. */

import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  CommandRefused,
  ConnectionLost,
  CorruptRecord,
  EventflowClient,
  InvalidArgument,
  NotConnected,
  NotHeld,
  RequestConflict,
  StoreFull,
  TryAgain,
  UnexpectedReply,
  UnlessMatched,
  WrongExpectedVersion,
  type AppendOptions,
  type NewEvent,
} from "../src/index.js";
import * as appends from "../src/appends.js";
import * as consumers from "../src/consumers.js";
import * as exchanges from "../src/exchanges.js";
import { Attempts } from "../src/retries.js";
import { array, bulk, eventJson, FakeServer, STREAM, type Answer } from "./fake-server.js";

const EVENT: NewEvent = { type: "A", data: "" };
const ADD = appends.add(STREAM, 0, [EVENT], { requestId: "r" });
const ADD_ONCE = appends.add(STREAM, 0, [EVENT], { requestId: null });
const READ = exchanges.eventCount;
const LOST = ConnectionLost.because("cut");
const OVERDUE = Object.assign(ConnectionLost.because("silent"), { isOverdue: true });
const UNSENT = NotConnected.because("no server");
const BUSY = new TryAgain("overloaded");

/** The pauses before further attempts, when each fails by the next error; then what the request fails with. */
function course(exchange: exchanges.Exchange<unknown>, ...failures: Error[]): [number[], unknown] {
  const attempts = new Attempts(exchange);
  const pauses: number[] = [];
  for (const failure of failures) {
    try {
      pauses.push(attempts.pauseAfter(failure));
    } catch (outcome) {
      return [pauses, outcome];
    }
  }
  return [pauses, undefined];
}

const COURSES: [string, exchanges.Exchange<unknown>, Error[], number[], unknown][] = [
  ["an append that is lost is sent four times", ADD, [LOST, LOST, LOST, LOST], [0, 500, 1500], LOST],
  ["so is a read", READ, [LOST, LOST, LOST, LOST], [0, 500, 1500], LOST],
  ["an append without a request id is sent once", ADD_ONCE, [LOST], [], LOST],
  ["but again when nothing was stored", ADD_ONCE, [BUSY, LOST], [200], LOST],
  ["a busy server is given time", ADD, [BUSY, BUSY, BUSY, BUSY], [200, 500, 1500], BUSY],
  ["what must not be done twice is sent once", consumers.deleteConsumer("c"), [LOST], [], LOST],
  ["what is overdue is not sent again", ADD, [OVERDUE], [], OVERDUE],
  ["nor what waited for a connection in vain", ADD, [UNSENT], [], UNSENT],
  ["a refusal is final", ADD, [new StoreFull("full")], [], StoreFull],
  ["an append that may be stored does not end as unsent", ADD, [LOST, UNSENT], [0], LOST],
  ["nor as refused for want of room", ADD, [LOST, new StoreFull("full")], [0], LOST],
  ["nor as one to try again", ADD, [LOST, BUSY, BUSY, BUSY], [0, 500, 1500], LOST],
  ["nor by a reply that cannot be read", ADD, [LOST, new UnexpectedReply("?")], [0], LOST],
  ["a wrong version settles it", ADD, [LOST, wrongVersion()], [0], WrongExpectedVersion],
  ["so does an event that unless rules out", ADD, [LOST, unlessMatched()], [0], UnlessMatched],
  ["so does an event that is not held", ADD, [LOST, new NotHeld("x", { consumer: null, event: null })], [0], NotHeld],
  ["so does a request id of another append", ADD, [LOST, new RequestConflict("used")], [0], RequestConflict],
  ["so does a wrong argument", ADD, [LOST, new InvalidArgument("x")], [0], InvalidArgument],
  ["so does a server without the command", ADD, [LOST, new CommandRefused("x")], [0], CommandRefused],
  ["a read ends as its last attempt did", READ, [LOST, new CorruptRecord("x")], [0], CorruptRecord],
];

function wrongVersion(): WrongExpectedVersion {
  return new WrongExpectedVersion("x", { stream: STREAM, expected: 0, actual: 1 });
}

function unlessMatched(): UnlessMatched {
  return new UnlessMatched("x", { unless: 0, event: null });
}

for (const [what, exchange, failures, pauses, outcome] of COURSES) {
  test(`of attempts that fail: ${what}`, () => {
    const [taken, thrown] = course(exchange, ...failures);
    assert.deepEqual(taken, pauses);
    assert.ok(typeof outcome === "function" ? thrown instanceof outcome : thrown === outcome, String(thrown));
  });
}

test("an append that is lost tells its request id", () => {
  const lost = ConnectionLost.because("cut");
  course(ADD, lost, lost, lost, lost);
  assert.equal(lost.requestId, "r");
  const withoutId = ConnectionLost.because("cut");
  course(ADD_ONCE, withoutId);
  assert.equal(withoutId.requestId, null);
});

async function start(t: TestContext, answer: Answer): Promise<[FakeServer, EventflowClient]> {
  const server = await FakeServer.start(answer);
  t.after(() => server.stop());
  const client = await server.connect();
  t.after(() => client.abort());
  return [server, client];
}

/** Answers ADD and ADDMANY, and stores each request id once, as the server does. The first answers are lost. */
function storing(losses: number, stored: Map<string, string>): Answer {
  let asked = 0;
  return ([command, argument], socket) => {
    if (command !== "ADD" && command !== "ADDMANY") {
      return undefined;
    }
    const { request_id: id } = JSON.parse(argument!) as { request_id: string };
    const reply = stored.get(id) ?? array(bulk(eventJson(stored.size + 1)));
    stored.set(id, reply);
    asked += 1;
    return asked <= losses ? void socket.resetAndDestroy() : reply;
  };
}

type Append = (client: EventflowClient, options?: AppendOptions) => Promise<{ position: number }[]>;
const APPENDS: [string, Append][] = [
  ["ADD", (client, options) => client.add(STREAM, 0, [EVENT], options)],
  ["ADDMANY", (client, options) => client.addMany([{ stream: STREAM, version: 0, events: [EVENT] }], options)],
];

describe("over a connection that breaks", { concurrency: true }, () => {
  for (const [command, append] of APPENDS) {
    for (const losses of [1, 3]) {
      test(`${command}, its answer lost ${losses} times, is sent again as it was, and stored once`, async (t) => {
        const stored = new Map<string, string>();
        const [server, client] = await start(t, storing(losses, stored));
        assert.deepEqual(
          (await append(client)).map(({ position }) => position),
          [1],
        );
        assert.deepEqual(
          (await append(client)).map(({ position }) => position),
          [2],
        );
        assert.equal(stored.size, 2);
        const words = server.requests.map(([, argument]) => argument);
        assert.equal(words.length, losses + 2);
        assert.equal(new Set(words.slice(0, losses + 1)).size, 1);
      });
    }

    test(`${command}, its answer lost every time, fails with ConnectionLost and its request id`, async (t) => {
      const stored = new Map<string, string>();
      const [server, client] = await start(t, storing(Infinity, stored));
      const lost = await append(client).catch((error: unknown) => error);
      assert.ok(lost instanceof ConnectionLost && !(lost instanceof NotConnected));
      assert.equal(server.requests.length, 4);
      assert.deepEqual([...stored.keys()], [lost.requestId]);
      server.answerBy(storing(0, stored));
      assert.equal((await append(client, { requestId: lost.requestId }))[0]!.position, 1);
      assert.equal(stored.size, 1);
    });
  }

  test("many appends under way are sent again in their order, and each is stored once", async (t) => {
    const stored = new Map<string, string>();
    const again: number[] = [];
    const usual = storing(0, stored);
    let broken: Socket | undefined;
    const [, client] = await start(t, (words, socket) => {
      const reply = usual(words, socket);
      if (words[0] === "ADD" && broken !== undefined && socket !== broken) {
        again.push((JSON.parse(words[1]!) as { version: number }).version);
      }
      // The 41st is stored, but not answered.
      if (stored.size > 40) {
        broken ??= socket;
      }
      return socket === broken ? void socket.resetAndDestroy() : reply;
    });
    const added = await Promise.all(Array.from({ length: 100 }, (_, version) => client.add(STREAM, version, [EVENT])));
    const positions = added.map(([event]) => event!.position);
    assert.deepEqual(
      positions,
      Array.from({ length: 100 }, (_, number) => number + 1),
    );
    assert.equal(stored.size, 100);
    assert.ok(again.includes(40));
    assert.deepEqual(
      again,
      again.toSorted((one, other) => one - other),
    );
  });

  test("an append larger than the socket takes is sent again when the connection breaks under it", async (t) => {
    const stored = new Map<string, string>();
    const [server, client] = await start(t, storing(0, stored));
    server.sockets.forEach((socket) => {
      socket.removeAllListeners("data");
      socket.once("data", () => socket.resetAndDestroy());
    });
    const large = { type: "A", data: "x".repeat(2 << 20) };
    assert.equal((await client.add(STREAM, 0, [large]))[0]!.position, 1);
    assert.equal(server.adds.length, 1);
  });

  test("a read is sent again", async (t) => {
    const [server, client] = await start(t, ([command], socket) => {
      if (command !== "EVENTCOUNT") {
        return undefined;
      }
      return server.requests.length === 1 ? void socket.end() : ":7\r\n";
    });
    assert.equal(await client.eventCount(), 7);
    assert.equal(server.requests.length, 2);
  });

  test("TRYAGAIN is asked again on the same connection", async (t) => {
    const [server, client] = await start(t, ([command]) => {
      if (command !== "ADD") {
        return undefined;
      }
      return server.adds.length < 3 ? "-TRYAGAIN overloaded\r\n" : array(bulk(eventJson(1)));
    });
    assert.equal((await client.add(STREAM, 0, [EVENT], { requestId: null })).length, 1);
    assert.equal(server.adds.length, 3);
    assert.equal(server.hellos.length, 1);
  });

  test("a client that is closed repeats nothing", async (t) => {
    const [server, client] = await start(t, () => undefined);
    const added = client.add(STREAM, 0, [EVENT]);
    while (server.adds.length === 0) {
      await sleep(5);
    }
    client.abort();
    await assert.rejects(added, (error) => error instanceof ConnectionLost && error.requestId !== null);
    assert.equal(server.adds.length, 1);
  });
});
