/** Iterators over reads give each event once, and ask for no page too many. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { CorruptRecord, EventflowClient, InvalidArgument, type RecordedEvent } from "../src/index.js";
import { array, bulk, eventJson, FakeServer, STREAM, type Answer } from "./fake-server.js";

const NULL = "_\r\n";

interface Argument {
  readonly after?: string;
  readonly before?: string;
  readonly offset?: string;
  readonly version?: number;
  readonly limit: number;
  readonly cursor?: boolean;
  readonly backwards?: boolean;
}

async function start(t: TestContext, answer: Answer): Promise<[FakeServer, EventflowClient]> {
  const server = await FakeServer.start(answer);
  t.after(() => server.stop());
  const client = await server.connect();
  t.after(() => client.abort());
  return [server, client];
}

function idOf(number: number): string {
  return (JSON.parse(eventJson(number)) as { id: string }).id;
}

function numberOf(id: string): number {
  return Number(id.slice(10));
}

function counted(size: number): number[] {
  return Array.from({ length: size }, (_, number) => number + 1);
}

/**
 * Answers GET and GETALL from a log of so many events, of which those match whose number `every` divides. With a cursor
 * it looks at three events for each reply.
 */
function logOf(size: number, every = 1): Answer {
  return ([command, argument]) => {
    if (command !== "GETALL" && command !== "GET") {
      return undefined;
    }
    const { limit, ...options } = JSON.parse(argument!) as Argument;
    const { after = idOf(0), before = idOf(size + 1), offset = idOf(0), version = 0 } = options;
    const numbers = counted(size)
      .slice(version)
      .filter((number) => number > numberOf(after) && number < numberOf(before) && number >= numberOf(offset));
    if (options.backwards) {
      numbers.reverse();
    }
    const seen = options.cursor ? numbers.slice(0, 3) : numbers;
    const found = seen.filter((number) => number % every === 0).slice(0, limit);
    const events = array(...found.map((number) => bulk(eventJson(number))));
    if (!options.cursor) {
      return events;
    }
    const last = found.length === limit ? found.at(-1) : seen.at(-1);
    return array(events, last === undefined || last === numbers.at(-1) ? NULL : bulk(idOf(last)));
  };
}

async function positionsOf(events: AsyncIterable<RecordedEvent>): Promise<number[]> {
  const positions: number[] = [];
  for await (const { position } of events) {
    positions.push(position);
  }
  return positions;
}

for (const size of [0, 1, 4, 5]) {
  test(`readAll reads a log of ${size} events by pages of 2`, async (t) => {
    const [server, client] = await start(t, logOf(size));
    assert.deepEqual(await positionsOf(client.readAll({ page: 2 })), counted(size));
    assert.equal(server.requests.length, Math.floor(size / 2) + 1);
  });

  test(`readAll reads a log of ${size} events backwards by pages of 2`, async (t) => {
    const [server, client] = await start(t, logOf(size));
    assert.deepEqual(await positionsOf(client.readAll({ page: 2, backwards: true })), counted(size).reverse());
    assert.equal(server.requests.length, Math.max(1, Math.ceil(size / 2)));
  });
}

test("readAll goes on where a search ended without a match", async (t) => {
  const [server, client] = await start(t, logOf(20, 7));
  assert.deepEqual(await positionsOf(client.readAll({ types: ["A"], page: 2 })), [7, 14]);
  assert.deepEqual(await positionsOf(client.readAll({ tags: ["a"], backwards: true })), [14, 7]);
  const sent = server.requests.map(([, argument]) => JSON.parse(argument!) as object);
  assert.deepEqual(sent[0], { types: ["A"], limit: 2, cursor: true });
  assert.deepEqual(sent[1], { types: ["A"], limit: 2, cursor: true, after: idOf(3) });
  assert.deepEqual(sent.at(-1), { tags: ["a"], limit: 1000, cursor: true, backwards: true, before: idOf(3) });
});

test("readAll keeps to both ends, and asks for no page that nobody wants", async (t) => {
  const [server, client] = await start(t, logOf(10));
  const [after, before] = [idOf(3), idOf(8)];
  assert.deepEqual(await positionsOf(client.readAll({ after, before, page: 2 })), [4, 5, 6, 7]);
  assert.deepEqual(await positionsOf(client.readAll({ after, before, page: 2, backwards: true })), [7, 6, 5, 4]);
  assert.deepEqual(await positionsOf(client.readAll({ offset: after, page: 3 })), [3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(await positionsOf(client.readAll({ offset: before, page: 2, backwards: true })), [10, 9, 8]);
  server.requests.length = 0;
  for await (const { position } of client.readAll({ after, page: 2 })) {
    if (position === 5) {
      break;
    }
  }
  assert.deepEqual(
    server.requests.map(([, argument]) => JSON.parse(argument!) as object),
    [{ after, limit: 2 }],
  );
});

test("readStream reads one stream by pages, by versions where every event is asked for", async (t) => {
  const [server, client] = await start(t, logOf(5));
  assert.deepEqual(await positionsOf(client.readStream(STREAM, { after: idOf(1), page: 2 })), [2, 3, 4, 5]);
  assert.deepEqual(await positionsOf(client.readStream(STREAM, { types: ["A"], version: 1, page: 2 })), [2, 3, 4, 5]);
  assert.deepEqual(
    server.requests.map(([, argument]) => JSON.parse(argument!) as object),
    [
      { stream: STREAM, limit: 2, after: idOf(1) },
      { stream: STREAM, limit: 2, after: idOf(1), version: 3 },
      { stream: STREAM, limit: 2, after: idOf(1), version: 5 },
      { stream: STREAM, limit: 2, types: ["A"], cursor: true, version: 1 },
      { stream: STREAM, limit: 2, types: ["A"], cursor: true, version: 1, after: idOf(3) },
    ],
  );
});

test("a page of nothing is refused, and an option that does not exist", async (t) => {
  const [, client] = await start(t, logOf(1));
  for (const page of [0, -1, 1.5, NaN]) {
    await assert.rejects(client.readAll({ page }).next(), InvalidArgument);
    await assert.rejects(client.readStream(STREAM, { page }).next(), InvalidArgument);
  }
  await assert.rejects(client.readAll({ version: 1 } as object).next(), InvalidArgument);
  await assert.rejects(client.readStream(STREAM, { limit: 1 } as object).next(), InvalidArgument);
});

test("who follows the log gets what comes, each once, and asks from there", async (t) => {
  const replies = [array(bulk(eventJson(1)), bulk(eventJson(2))), array(), array(bulk(eventJson(3)))];
  const [server, client] = await start(t, ([command]) =>
    command === "GETALL" ? (replies.shift() ?? "-CORRUPT record 4\r\n") : undefined,
  );
  const positions: number[] = [];
  const following = async (): Promise<void> => {
    for await (const { position } of client.follow({ types: ["A"], page: 2, waitMs: 1234 })) {
      positions.push(position);
    }
  };
  await assert.rejects(following(), CorruptRecord);
  assert.deepEqual(positions, [1, 2, 3]);
  const [first, ...others] = server.requests.map(([, argument]) => JSON.parse(argument!) as object);
  assert.deepEqual(first, { types: ["A"], limit: 2, wait_ms: 1234 });
  const ids = [2, 2, 3].map((number) => (JSON.parse(eventJson(number)) as { id: string }).id);
  assert.deepEqual(
    others,
    ids.map((after) => ({ types: ["A"], after, limit: 2, wait_ms: 1234 })),
  );
});

test("follow refuses a page of nothing, and a wait of nothing, which would ask without a pause", async (t) => {
  const [, client] = await start(t, logOf(1));
  for (const options of [{ page: 0 }, { waitMs: 0 }, { waitMs: 0.5 }, { wait: 1 } as object]) {
    await assert.rejects(client.follow(options).next(), InvalidArgument);
  }
});
