/** Against a real server: what is read is what was written, and what it refuses comes as the right error. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import {
  EventflowClient,
  InvalidArgument,
  NotAuthenticated,
  RequestConflict,
  UnlessMatched,
  WrongExpectedVersion,
  WrongPassword,
  type NewEvent,
} from "../src/index.js";
import { liveServer } from "./live-server.js";
import { newEvent, ULID, vectors } from "./vectors.js";

const EVENT: NewEvent = { type: "A", data: "" };
const server = liveServer();
let client: EventflowClient;

before(async () => {
  client = await EventflowClient.connect(server);
});
after(() => client.close());

test("the server says what it is", async () => {
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.ping("Zoë 😀"), "Zoë 😀");
  assert.match(await client.version(), /^\d+\.\d+\.\d+/);
  assert.match(await client.uptime(), /second|minute|hour|day/);
  const { bytes, words } = await client.size();
  assert.ok(bytes > 0);
  assert.match(words, /B$/);
});

test("an added event comes back as it was stored, from the stream and from the log", async () => {
  const stream = randomUUID();
  const checkpoint = (await client.checksum()).eventId;
  const [first] = await client.add(stream, 0, [{ type: "Opened", data: "1", metadata: "m" }]);
  assert.ok(first !== undefined);
  const [second] = await client.add(stream, 1, [{ type: "Closed", data: "", causationId: first.id }]);
  assert.match(first.id, ULID);
  assert.match(first.addedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual(first, {
    ...first,
    stream,
    version: 0,
    type: "Opened",
    data: "1",
    metadata: "m",
    causationId: first.id,
  });
  assert.deepEqual(second, { ...second, version: 1, metadata: null, causationId: first.id, correlationId: first.id });
  assert.deepEqual(await client.get(stream), [first, second]);
  assert.deepEqual(await client.get(stream, { version: 1, limit: 1 }), [second]);
  assert.deepEqual(await client.get(stream, { version: 2 }), []);
  assert.deepEqual(await client.get(randomUUID()), []);
  assert.deepEqual(await client.getAll({ offset: first.id, limit: 1 }), [first]);
  const read = [];
  for await (const event of client.readAll({ after: checkpoint, page: 3 })) {
    read.push(event);
  }
  assert.deepEqual(
    read.filter((event) => event.stream === stream),
    [first, second],
  );
});

test("counts grow with what is added", async () => {
  const [events, streams] = [await client.eventCount(), await client.streamCount()];
  await client.add(randomUUID(), 0, [EVENT, EVENT]);
  assert.ok((await client.eventCount()) >= events + 2);
  assert.ok((await client.streamCount()) >= streams + 1);
  assert.ok((await client.eventCountEstimate()) >= 0);
  assert.ok((await client.streamCountEstimate()) >= 0);
  const { eventId, checksum } = await client.checksum();
  assert.match(eventId, ULID);
  assert.match(checksum, /^[0-9a-f]{64}$/);
});

for (const { name, call } of vectors.requests.filter(({ call: { method, events } }) => method === "add" && events)) {
  test(`text comes back as it went in: ${name}`, async () => {
    const events = call.events!.map(newEvent);
    const stored = await client.add(randomUUID(), 0, events);
    const texts = ({ type, data, metadata }: NewEvent): unknown[] => [type, data, metadata ?? null];
    assert.deepEqual(stored.map(texts), events.map(texts));
  });
}

test("every character comes back", async () => {
  let data = "";
  for (let code = 0; code < 0x11_0000; code += code < 0x3000 ? 1 : 97) {
    data += code >= 0xd800 && code < 0xe000 ? "" : String.fromCodePoint(code);
  }
  const stream = randomUUID();
  await client.add(stream, 0, [{ type: "A", data, metadata: data }]);
  const [event] = await client.get(stream);
  assert.equal(event?.data, data);
  assert.equal(event.metadata, data);
});

test("a wrong expected version is refused with the numbers, and nothing is stored", async () => {
  const stream = randomUUID();
  await client.add(stream, 0, [EVENT]);
  const error = await client.add(stream, 0, [EVENT]).catch((refusal: unknown) => refusal);
  assert.ok(error instanceof WrongExpectedVersion);
  assert.deepEqual([error.code, error.stream, error.expected, error.actual], ["CONCURRENCY", stream, 0, 1]);
  assert.equal((await client.get(stream)).length, 1);
});

test("a stream that was to exist is refused if it does not, and any version is not", async () => {
  const stream = randomUUID();
  const error = await client.add(stream, "exists", [EVENT]).catch((refusal: unknown) => refusal);
  assert.ok(error instanceof WrongExpectedVersion);
  assert.deepEqual([error.stream, error.expected, error.actual], [stream, "exists", 0]);
  await client.add(stream, "any", [EVENT]);
  await client.add(stream, "any", [EVENT]);
  assert.equal((await client.add(stream, "exists", [EVENT]))[0]!.version, 2);
});

test("tags come back, and an event that unless rules out is named", async () => {
  const tag = `name:${randomUUID()}`;
  const [tagged] = await client.add(randomUUID(), 0, [{ type: "A", data: "", tags: [tag, "b"] }]);
  assert.deepEqual(tagged!.tags, [tag, "b"]);
  const unless = [{ types: ["B"], tags: [tag] }, { tags: [tag] }];
  const error = await client.add(randomUUID(), 0, [EVENT], { unless }).catch((refusal: unknown) => refusal);
  assert.ok(error instanceof UnlessMatched);
  assert.deepEqual([error.unless, error.event], [1, tagged!.id]);
  const later = await client.add(randomUUID(), 0, [EVENT], { unless: { tags: [tag], after: tagged!.id } });
  assert.deepEqual(later[0]!.tags, []);
});

test("several streams get their events or none, and one without is checked", async () => {
  const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
  const stored = await client.addMany([
    { stream: first, version: 0, events: [EVENT, EVENT] },
    { stream: second, version: "any", events: [EVENT] },
    { stream: third, version: 0 },
  ]);
  assert.deepEqual(
    stored.map(({ stream, version }) => [stream, version]),
    [
      [first, 0],
      [first, 1],
      [second, 0],
    ],
  );
  const refused = client.addMany([
    { stream: first, version: 2, events: [EVENT] },
    { stream: third, version: 1 },
  ]);
  await assert.rejects(refused, (error) => error instanceof WrongExpectedVersion && error.stream === third);
  assert.equal((await client.get(first)).length, 2);
});

test("a request id is stored once and answered the same, and refused for another append", async () => {
  const [stream, requestId] = [randomUUID(), randomUUID()];
  const stored = await client.add(stream, 0, [EVENT], { requestId });
  assert.deepEqual(await client.add(stream, 0, [EVENT], { requestId }), stored);
  await assert.rejects(client.add(stream, 1, [EVENT], { requestId }), RequestConflict);
  assert.equal((await client.get(stream)).length, 1);
});

test("who follows the log gets what others store, each event once", async () => {
  const stream = randomUUID();
  const after = (await client.checksum()).eventId;
  const adding = (async () => {
    for (let version = 0; version < 10; version += 1) {
      await client.add(stream, version, [EVENT]);
    }
  })();
  const versions: number[] = [];
  for await (const event of client.follow({ after, page: 3, waitMs: 1000 })) {
    if (event.stream === stream && versions.push(event.version) === 10) {
      break;
    }
  }
  await adding;
  assert.deepEqual(versions, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(await client.get(stream, { version: 10, waitMs: 1 }), []);
});

const WRONG: [string, () => Promise<unknown>, RegExp][] = [
  ["a stream that is no UUID", () => client.get("x"), /^stream: expected a UUID/],
  ["no events", () => client.add(randomUUID(), 0, []), /^events: expected at least one event/],
  [
    "data that is no text",
    () => client.add(randomUUID(), 0, [{ type: "A", data: {} as string }]),
    /^events\[0\]\.data: /,
  ],
  [
    "data forgotten",
    () => client.add(randomUUID(), 0, [EVENT, { type: "A" } as NewEvent]),
    /^events\[1\]\.data: is required/,
  ],
  [
    "half a surrogate pair",
    () => client.add(randomUUID(), 0, [{ type: "A", data: "x\ud800" }]),
    /^events\[0\]\.data: .*surrogate/,
  ],
  ["both ends of the log", () => client.getAll({ offset: "0".repeat(26), after: "0".repeat(26) }), /^after: /],
  ["a request that is too large", () => client.add(randomUUID(), 0, [{ type: "A", data: "x".repeat(17 << 20) }]), /./],
];
for (const [what, ask, sentence] of WRONG) {
  test(`the server refuses and the connection stays: ${what}`, async () => {
    await assert.rejects(ask(), (error) => error instanceof InvalidArgument && sentence.test(error.message));
    assert.equal(await client.ping(), "PONG");
  });
}

test("requests made at once are carried out in order, and a read sees the append before it", async () => {
  const stream = randomUUID();
  const asked = Array.from({ length: 500 }, async (_, version) => {
    const added = client.add(stream, version, [{ type: "A", data: String(version) }]);
    const read = client.get(stream, { version, limit: 1 });
    assert.deepEqual(await read, await added);
  });
  await Promise.all(asked);
  assert.equal((await client.get(stream)).length, 500);
});

test("a long read arrives whole, and in order", async () => {
  const stream = randomUUID();
  const data = "Zoë😀".repeat(10_000);
  for (let version = 0; version < 300; version += 5) {
    await client.add(
      stream,
      version,
      Array.from({ length: 5 }, () => ({ type: "A", data })),
    );
  }
  const events = await client.get(stream);
  assert.equal(events.length, 300);
  assert.ok(events.every((event, version) => event.version === version && event.data === data));
});

test("connecting with another password is refused where there is one", async () => {
  const another = EventflowClient.connect({ ...server, password: "not the password" });
  if (server.password === undefined) {
    await (await another).close();
  } else {
    await assert.rejects(another, WrongPassword);
    await assert.rejects(EventflowClient.connect({ ...server, password: undefined }), NotAuthenticated);
  }
});
