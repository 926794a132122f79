/** Against a real server: filters, order, pages, and what can be told of events, streams and types. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { EventflowClient, InvalidArgument, type RecordedEvent } from "../src/index.js";
import { liveServer } from "./live-server.js";

const [STREAM, OTHER] = [randomUUID(), randomUUID()];
const [TAG, TYPE] = [`tag:${randomUUID()}`, `Type-${randomUUID()}`];
let client: EventflowClient;
let events: RecordedEvent[];

/** Of our events, by their numbers: which were read, in this order. */
function numbers(read: readonly RecordedEvent[]): number[] {
  return read.map(({ id }) => events.findIndex((event) => event.id === id));
}

before(async () => {
  client = await EventflowClient.connect(liveServer());
  const [first] = await client.add(STREAM, 0, [{ type: TYPE, data: "0", tags: [TAG] }]);
  const others = await client.addMany([
    {
      stream: STREAM,
      version: 1,
      events: [
        { type: "Other", data: "1", tags: [TAG, "b"], causationId: first!.id },
        { type: TYPE, data: "2" },
      ],
    },
    { stream: OTHER, version: 0, events: [{ type: TYPE, data: "3", tags: [TAG] }] },
  ]);
  events = [first!, ...others];
});
after(() => client.close());

test("a read gives the events that meet all that it asks for", async () => {
  const [{ id: first, addedAt: since }, , { id: third }] = events as [RecordedEvent, RecordedEvent, RecordedEvent];
  assert.deepEqual(numbers(await client.getAll({ types: [TYPE] })), [0, 2, 3]);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG] })), [0, 1, 3]);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG, "b"] })), [1]);
  assert.deepEqual(numbers(await client.getAll({ types: [TYPE, "Other"], tags: [TAG], after: first })), [1, 3]);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG], before: third })), [0, 1]);
  assert.deepEqual(numbers(await client.getAll({ correlationId: first })), [0, 1]);
  assert.deepEqual(numbers(await client.getAll({ causationId: first, after: first })), [1]);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG], since })), [0, 1, 3]);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG], until: since })), []);
  assert.deepEqual(numbers(await client.getAll({ tags: [TAG], until: new Date(Date.now() + 60_000) })), [0, 1, 3]);
  assert.deepEqual(numbers(await client.get(STREAM, { types: [TYPE] })), [0, 2]);
  assert.deepEqual(numbers(await client.get(STREAM, { version: 1, after: first })), [1, 2]);
});

test("backwards is the other order of the same events", async () => {
  assert.deepEqual(numbers(await client.get(STREAM, { backwards: true })), [2, 1, 0]);
  assert.deepEqual(numbers(await client.getAll({ types: [TYPE], backwards: true, limit: 2 })), [3, 2]);
  const { id } = events[2]!;
  assert.deepEqual(numbers(await client.getAll({ types: [TYPE], backwards: true, before: id })), [0]);
  await assert.rejects(client.getAll({ backwards: true, waitMs: 1 }), InvalidArgument);
});

test("a page says where to go on, and the last one that it is the last", async () => {
  let after: string | null | undefined;
  const read: number[] = [];
  do {
    const page = await client.getAll({ types: [TYPE], limit: 1, cursor: true, after });
    read.push(...numbers(page.events));
    after = page.cursor;
  } while (after !== null);
  assert.deepEqual(read, [0, 2, 3]);
  const { events: last } = await client.get(STREAM, { cursor: true, backwards: true, limit: 1 });
  assert.deepEqual(numbers(last), [2]);
});

test("iterators give the same by pages", async () => {
  const all = async (iterator: AsyncIterable<RecordedEvent>): Promise<number[]> => {
    const read: RecordedEvent[] = [];
    for await (const event of iterator) {
      read.push(event);
    }
    return numbers(read);
  };
  assert.deepEqual(await all(client.readAll({ types: [TYPE], page: 1 })), [0, 2, 3]);
  assert.deepEqual(await all(client.readAll({ types: [TYPE], page: 1, backwards: true })), [3, 2, 0]);
  assert.deepEqual(await all(client.readStream(STREAM, { page: 1 })), [0, 1, 2]);
  assert.deepEqual(await all(client.readStream(STREAM, { page: 2, version: 1 })), [1, 2]);
  assert.deepEqual(await all(client.readStream(STREAM, { page: 1, backwards: true, tags: [TAG] })), [1, 0]);
});

test("a read with a filter waits for a match", async () => {
  const waiting = client.getAll({ types: [`${TYPE} later`], waitMs: 10_000 });
  const [stored] = await client.add(randomUUID(), 0, [{ type: `${TYPE} later`, data: "" }]);
  assert.deepEqual(await waiting, [stored]);
});

test("an event is found by its id, and what is not there is null", async () => {
  assert.deepEqual(await client.event(events[1]!.id), events[1]);
  assert.equal(await client.event("0".repeat(26)), null);
  assert.equal(await client.stream(randomUUID()), null);
});

test("a stream is told of from outside", async () => {
  const [first, , last] = events as [RecordedEvent, RecordedEvent, RecordedEvent];
  const summary = {
    stream: STREAM,
    version: 3,
    firstId: first.id,
    firstAddedAt: first.addedAt,
    lastId: last.id,
    lastAddedAt: last.addedAt,
  };
  assert.deepEqual(await client.stream(STREAM), summary);
  const streams = await client.streams({ tags: [TAG] });
  assert.deepEqual(streams[0], summary);
  assert.deepEqual(
    streams.map(({ stream }) => stream),
    [STREAM, OTHER],
  );
  assert.deepEqual(
    (await client.streams({ types: [TYPE], after: STREAM, limit: 1 })).map(({ stream }) => stream),
    [OTHER],
  );
  assert.equal((await client.streams({ limit: 1 })).length, 1);
});

test("types are counted", async () => {
  assert.deepEqual(await client.types({ after: TYPE.slice(0, -1), limit: 1 }), [{ type: TYPE, count: 3 }]);
});
