/** Each command sends what the contract says, and reads its reply into typed values. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { CorruptRecord, InvalidArgument, UnexpectedReply, type NewEvent } from "../src/index.js";
import * as appends from "../src/appends.js";
import * as consumers from "../src/consumers.js";
import * as exchanges from "../src/exchanges.js";
import * as reads from "../src/reads.js";
import { eventJson, STREAM } from "./fake-server.js";
import {
  consumerQuery,
  consumerStatus,
  FRESH_ULID,
  newEvent,
  parkedEvent,
  recordedEvent,
  terms,
  ULID,
  vectors,
} from "./vectors.js";

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

type Call = (typeof vectors.requests)[number]["call"];
type ConsumerCall = (typeof vectors.consumer_requests)[number]["call"];

/** ADD or ADDMANY. */
function appendOf(call: Call | ConsumerCall): exchanges.Exchange<unknown> {
  const { method, stream = "", version, events = [], checkpoint } = call;
  const options = { unless: call.unless, requestId: call.request_id, checkpoint };
  if (method === "add") {
    return appends.add(stream, version!, events.map(newEvent), options);
  }
  const parts = call.appends!.map((part) => ({ ...part, events: part.events.map(newEvent) }));
  return appends.addMany(parts, options);
}

function exchangeOf(call: Call): exchanges.Exchange<unknown> {
  const { method, stream = "", limit, offset, after, wait_ms: waitMs } = call;
  const { since, until, before, backwards } = call;
  const filter = { ...terms(call), since, until, after, before, backwards };
  switch (method) {
    case "add":
    case "add_many":
      return appendOf(call);
    case "get":
      return reads.get(stream, { ...filter, version: call.version as number | undefined, limit, waitMs });
    case "get_all":
      return reads.getAll({ ...filter, offset, limit, waitMs });
    case "event":
      return reads.event(call.id!);
    case "stream":
      return reads.stream(stream);
    case "streams":
      return reads.streams({ ...terms(call), after, limit });
    case "types":
      return reads.types({ after, limit });
  }
}

function consumerExchangeOf(call: ConsumerCall): exchanges.Exchange<unknown> {
  const { method, consumer = "", member = "", after, limit, ids = [] } = call;
  switch (method) {
    case "add":
    case "add_many":
      return appendOf(call);
    case "create_consumer":
      return consumers.createConsumer(consumer, {
        query: call.query && consumerQuery(call.query),
        after,
        timeoutMs: call.timeout_ms,
        retryMs: call.retry_ms,
        triesMax: call.tries_max,
      });
    case "delete_consumer":
      return consumers.deleteConsumer(consumer);
    case "reset_consumer":
      return consumers.resetConsumer(consumer, after);
    case "consumers":
      return consumers.listConsumers;
    case "parked":
      return consumers.parked(consumer, { after, limit });
    case "replay":
      return consumers.replay(consumer, ids);
    case "replay_all":
      return consumers.replay(consumer);
    case "fetch":
      return consumers.fetch(consumer, member, limit!, call.wait_ms!);
    case "ack":
      return consumers.ack(consumer, member, ids);
    case "extend":
      return consumers.extend(consumer, member, ids);
    case "nack":
      return consumers.nack(consumer, member, ids, { delayMs: call.delay_ms, reason: call.reason, park: call.park });
    case "release":
      return consumers.release(consumer, member, ids);
  }
}

test("every part of the vectors is run", () => {
  const parts = ["events", "errors", "requests", "consumer_requests", "consumers", "parked"];
  assert.deepEqual(Object.keys(vectors), parts);
});

/** The argument as the vectors have it: with the words for a fresh ULID where the client has made one. */
function sent(word: string, given: string | null | undefined): unknown {
  if (word === "LIST") {
    return word;
  }
  const argument = JSON.parse(word) as { request_id?: string };
  if (given === undefined && ULID.test(argument.request_id ?? "")) {
    argument.request_id = FRESH_ULID;
  }
  return argument;
}

const requests = [
  ...vectors.requests.map((vector) => ({ ...vector, exchange: () => exchangeOf(vector.call) })),
  ...vectors.consumer_requests.map((vector) => ({ ...vector, exchange: () => consumerExchangeOf(vector.call) })),
];
for (const { name, command, argument, call, exchange } of requests) {
  test(`a request is a command and one JSON argument: ${name}`, () => {
    const { words } = exchange();
    assert.equal(words[0], command);
    assert.deepEqual(
      words.slice(1).map((word) => sent(word, call.request_id)),
      argument === null ? [] : [argument],
    );
  });
}

test("every append gets a request id of its own, a ULID of now", () => {
  const before = Date.now();
  const ids = [appends.add(STREAM, 0, []), appends.add(STREAM, 0, []), appends.addMany([])].map(
    ({ requestId }) => requestId!,
  );
  assert.equal(new Set(ids).size, 3);
  for (const id of ids) {
    const ms = [...id.slice(0, 10)].reduce((sum, digit) => sum * 32 + CROCKFORD.indexOf(digit), 0);
    assert.ok(before <= ms && ms <= Date.now());
  }
});

for (const { name, json, event } of vectors.events) {
  test(`a record is read into an event: ${name}`, () => {
    assert.deepEqual(reads.getAll().decode([json]), [recordedEvent(event)]);
  });
}

for (const { name, json, consumer } of vectors.consumers) {
  test(`a consumer is read with its figures: ${name}`, () => {
    const status = consumerStatus(consumer);
    assert.deepEqual(consumers.listConsumers.decode([json]), [status]);
    const { lag, isLagWhole, lagMs, inFlight, members, parked, ...summary } = status;
    assert.ok([lag, isLagWhole, lagMs, inFlight, members, parked].every((figure) => figure !== undefined));
    assert.deepEqual(consumers.createConsumer("c").decode(json), summary);
  });
}

for (const { name, json, parked } of vectors.parked) {
  test(`a parked event is read: ${name}`, () => {
    assert.deepEqual(consumers.parked("c").decode([json]), [parkedEvent(parked)]);
  });
}

test("null and undefined are left out of an argument", () => {
  const event: NewEvent = { type: "A", data: "", metadata: null, causationId: null, correlationId: undefined };
  const none = { unless: null, requestId: null };
  assert.deepEqual(
    appends.add(STREAM, 0, [{ ...event, tags: null }], none).words,
    appends.add(STREAM, 0, [{ type: "A", data: "" }], { requestId: "" }).words,
  );
  assert.deepEqual(
    appends.addMany([{ stream: STREAM, version: 0, events: null }], none).words,
    appends.addMany([{ stream: STREAM, version: 0, events: [] }], { requestId: "" }).words,
  );
  assert.deepEqual(
    appends.add(STREAM, 0, [], { requestId: "r", unless: { types: null, tags: ["a"], after: null } }).words,
    ["ADD", `{"stream":"${STREAM}","version":0,"events":[],"unless":{"tags":["a"]},"request_id":"r"}`],
  );
  assert.deepEqual(reads.get(STREAM, { version: null, limit: undefined }).words, reads.get(STREAM).words);
  assert.deepEqual(reads.getAll({ offset: null, after: null, limit: null, waitMs: null }).words, ["GETALL"]);
});

const ID = "01KARS6Z4P0000000000000001";
const FILTER: reads.Filter = {
  types: ["A", "B"],
  tags: ["a"],
  correlationId: ID,
  causationId: ID,
  since: new Date(1234567890123),
  until: "2030-01-01T00:00:00.000001+01:00",
  after: ID,
  before: ID,
};
const SENT_FILTER = {
  types: ["A", "B"],
  tags: ["a"],
  correlation_id: ID,
  causation_id: ID,
  since: "2009-02-13T23:31:30.123Z",
  until: "2030-01-01T00:00:00.000001+01:00",
  after: ID,
  before: ID,
};
const TERMS: reads.Terms = { types: ["A"], tags: ["a"], correlationId: ID, causationId: ID };
const SENT_TERMS = { types: ["A"], tags: ["a"], correlation_id: ID, causation_id: ID };
const SENT: [string, readonly string[], string, object?][] = [
  [
    "a stream, filtered",
    reads.get(STREAM, { ...FILTER, version: 1, backwards: true, limit: 2 }).words,
    "GET",
    { ...SENT_FILTER, stream: STREAM, version: 1, backwards: true, limit: 2 },
  ],
  [
    "a page of the log, filtered",
    reads.getAll({ ...FILTER, offset: ID, limit: 2, cursor: true }).words,
    "GETALL",
    { ...SENT_FILTER, offset: ID, limit: 2, cursor: true },
  ],
  ["an event", reads.event(ID).words, "EVENT", { id: ID }],
  ["a stream from outside", reads.stream(STREAM).words, "STREAM", { stream: STREAM }],
  ["all streams", reads.streams().words, "STREAMS"],
  [
    "a page of streams",
    reads.streams({ ...TERMS, after: STREAM, limit: 2 }).words,
    "STREAMS",
    { ...SENT_TERMS, after: STREAM, limit: 2 },
  ],
  ["all types", reads.types().words, "TYPES"],
  ["a page of types", reads.types({ after: "A", limit: 2 }).words, "TYPES", { after: "A", limit: 2 }],
  [
    "a subscription to part of the log",
    ["", reads.subscriptionQuery({ ...FILTER, offset: ID })],
    "",
    { ...SENT_FILTER, offset: ID },
  ],
  [
    "a subscription to a stream",
    ["", reads.subscriptionQuery({ stream: STREAM, version: 0 })],
    "",
    { stream: STREAM, version: 0 },
  ],
  [
    "a consumer of everything",
    consumers.createConsumer("c", { query: null, after: null }).words,
    "CONSUMER",
    { create: "c" },
  ],
  [
    "a consumer with all options",
    consumers.createConsumer("c", {
      query: { ...TERMS, stream: STREAM },
      after: "end",
      timeoutMs: 1,
      retryMs: 0,
      triesMax: 0,
    }).words,
    "CONSUMER",
    { create: "c", query: { ...SENT_TERMS, stream: STREAM }, after: "end", timeout_ms: 1, retry_ms: 0, tries_max: 0 },
  ],
  ["the end of a consumer", consumers.deleteConsumer("c").words, "CONSUMER", { delete: "c" }],
  ["a consumer from the beginning", consumers.resetConsumer("c").words, "CONSUMER", { reset: "c" }],
  ["a consumer from an event", consumers.resetConsumer("c", ID).words, "CONSUMER", { reset: "c", after: ID }],
  ["what is parked", consumers.parked("c").words, "CONSUMER", { parked: "c" }],
  [
    "a page of what is parked",
    consumers.parked("c", { after: ID, limit: 2 }).words,
    "CONSUMER",
    { parked: "c", after: ID, limit: 2 },
  ],
  ["all that is parked once more", consumers.replay("c").words, "CONSUMER", { replay: "c" }],
  ["an event that is parked once more", consumers.replay("c", [ID]).words, "CONSUMER", { replay: "c", ids: [ID] }],
  [
    "the next events",
    consumers.fetch("c", "m", 2, 3).words,
    "FETCH",
    { consumer: "c", member: "m", limit: 2, wait_ms: 3 },
  ],
  ["what is done", consumers.ack("c", "m", [ID]).words, "ACK", { consumer: "c", member: "m", ids: [ID] }],
  ["what is worked at", consumers.extend("c", "m", [ID]).words, "ACK", { consumer: "c", member: "m", extend: [ID] }],
  ["what failed", consumers.nack("c", "m", [ID]).words, "NACK", { consumer: "c", member: "m", ids: [ID] }],
  [
    "what failed, and why",
    consumers.nack("c", "m", [ID], { delayMs: 0, reason: "r", park: true }).words,
    "NACK",
    { consumer: "c", member: "m", ids: [ID], delay_ms: 0, reason: "r", park: true },
  ],
  ["what is given back", consumers.release("c", "m").words, "NACK", { consumer: "c", member: "m", release: true }],
  [
    "an append that acks an event",
    appends.add(STREAM, 0, [], { requestId: "", checkpoint: { consumer: "c", member: "m", id: ID } }).words,
    "ADD",
    { stream: STREAM, version: 0, events: [], checkpoint: { consumer: "c", member: "m", id: ID } },
  ],
  ["a subscription to everything", ["", reads.subscriptionQuery({ types: null, since: undefined })], "", {}],
];
for (const [what, words, command, argument] of SENT) {
  test(`an argument is sent as the server names its fields: ${what}`, () => {
    assert.equal(words[0], command);
    assert.deepEqual(
      words.slice(1).map((word) => JSON.parse(word) as unknown),
      argument === undefined ? [] : [argument],
    );
  });
}

const REFUSED: [string, () => unknown, RegExp][] = [
  ["a version with a fraction", () => appends.add(STREAM, 1.5, []), /^version: expected an integer .* got 1.5$/],
  ["a version below 0", () => appends.add(STREAM, -1, []), /^version: .* got -1$/],
  ["a version that is no number", () => reads.get(STREAM, { version: NaN }), /^version: .* got NaN$/],
  ["a version in words", () => appends.add(STREAM, "0" as never, []), /^version: .* got '0'$/],
  ["another word for a version", () => appends.add(STREAM, "none" as never, []), /^version: .* got 'none'$/],
  [
    "a version with a fraction, in one of several appends",
    () =>
      appends.addMany([
        { stream: STREAM, version: "any" },
        { stream: STREAM, version: 0.5 },
      ]),
    /^appends\[1\]\.version: .* got 0.5$/,
  ],
  [
    "an unknown field of an append",
    () => appends.addMany([{ stream: STREAM, version: 0, evnts: [] } as never]),
    /^appends\[0\]\.evnts: unknown field; known are stream, version, events$/,
  ],
  [
    "an unknown field of an event in one of several appends",
    () => appends.addMany([{ stream: STREAM, version: 0, events: [{ type: "A", data: "", tag: "x" } as NewEvent] }]),
    /^appends\[0\]\.events\[0\]\.tag: unknown field; /,
  ],
  [
    "an unknown option of add",
    () => appends.add(STREAM, 0, [], { requestID: "x" } as object),
    /^requestID: unknown field; known are unless, requestId, checkpoint$/,
  ],
  [
    "an unknown field of unless",
    () => appends.add(STREAM, 0, [], { unless: { type: "x" } as object }),
    /^unless\.type: unknown field; known are types, tags, after$/,
  ],
  [
    "an unknown field in a list of unless",
    () => appends.addMany([], { unless: [{ tags: ["a"] }, { tag: "x" } as object] }),
    /^unless\[1\]\.tag: unknown field; /,
  ],
  ["a wait below 0", () => reads.get(STREAM, { waitMs: -1 }), /^waitMs: /],
  ["a wait without an end", () => reads.getAll({ waitMs: Infinity }), /^waitMs: /],
  ["a version past 2^53", () => reads.get(STREAM, { version: 2 ** 53 }), /^version: /],
  ["no end", () => reads.get(STREAM, { limit: Infinity }), /^limit: .* got Infinity$/],
  ["a limit below 0", () => reads.getAll({ limit: -1 }), /^limit: /],
  [
    "an unknown option of get",
    () => reads.get(STREAM, { vesion: 1 } as object),
    /^vesion: unknown field; known are version, types, /,
  ],
  ["an unknown option of getAll", () => reads.getAll({ afetr: "" } as object), /^afetr: unknown field; known are /],
  [
    "an unknown field of an event",
    () => appends.add(STREAM, 0, [{ type: "A", data: "", causation_id: "x" } as NewEvent]),
    /^events\[0\]\.causation_id: unknown field; known are type, data, metadata, causationId, correlationId, tags$/,
  ],
  ["what JSON cannot say", () => appends.add(STREAM, 0, [{ type: "A", data: 1n as never }]), /BigInt/],
  ["a Date that is none", () => reads.getAll({ since: new Date(NaN) }), /^since: expected a time, got an invalid/],
  ["no end of streams", () => reads.streams({ limit: Infinity }), /^limit: /],
  ["an unknown option of streams", () => reads.streams({ before: "" } as object), /^before: unknown field; /],
  ["types without an end", () => reads.types({ limit: NaN }), /^limit: /],
  ["an unknown option of types", () => reads.types({ types: [] } as object), /^types: unknown field; /],
  ["an unknown option of subscribe", () => reads.subscriptionQuery({ limit: 1 } as object), /^limit: unknown field; /],
  ["a version of a subscription that is none", () => reads.subscriptionQuery({ version: -1 }), /^version: /],
  ["a time for ever", () => consumers.createConsumer("c", { timeoutMs: Infinity }), /^timeoutMs: /],
  ["a part of a try", () => consumers.createConsumer("c", { triesMax: 0.5 }), /^triesMax: /],
  ["an unknown option of a consumer", () => consumers.createConsumer("c", { tries: 1 } as object), /^tries: unknown/],
  [
    "an unknown field of a query",
    () => consumers.createConsumer("c", { query: { since: "" } as object }),
    /^query\.since: unknown field; known are stream, types, /,
  ],
  ["an unknown option of nack", () => consumers.nack("c", "m", [], { parked: true } as object), /^parked: unknown/],
  ["a delay below 0", () => consumers.nack("c", "m", [], { delayMs: -1 }), /^delayMs: /],
  [
    "an unknown field of a checkpoint",
    () => appends.add(STREAM, 0, [], { checkpoint: { event: ID } as never }),
    /^checkpoint\.event: unknown field; known are consumer, member, id$/,
  ],
  ["half a surrogate pair in a message", () => exchanges.ping("a\ud800b"), /half of a surrogate pair/],
];
for (const [what, make, sentence] of REFUSED) {
  test(`refused before it is sent: ${what}`, () => {
    assert.throws(make, (error) => error instanceof InvalidArgument && sentence.test(error.message));
  });
}

test("half a surrogate pair in an event is left to the server to refuse, not mended", () => {
  const { words } = appends.add(STREAM, 0, [{ type: "A", data: "\ud800" }]);
  assert.match(words[1]!, /"data":"\\ud800"/);
});

const ZEROS = "0".repeat(26);
const CONSUMER = JSON.stringify({
  consumer: "c",
  query: { stream: STREAM, types: ["A"], correlation_id: ID, later: 1 },
  timeout_ms: 1,
  retry_ms: 2,
  tries_max: 3,
  checkpoint: ID,
});
const SUMMARY: consumers.ConsumerSummary = {
  name: "c",
  query: { stream: STREAM, types: ["A"], correlationId: ID, ...{ later: 1 } },
  timeoutMs: 1,
  retryMs: 2,
  triesMax: 3,
  checkpoint: ID,
};
const READ: [string, exchanges.Exchange<unknown>, unknown, unknown][] = [
  ["PING", exchanges.ping(), "PONG", "PONG"],
  ["PING with a message", exchanges.ping(""), "", ""],
  ["VERSION", exchanges.version, "0.1.0", "0.1.0"],
  ["SIZE", exchanges.size, [12345, "12.3 kB"], { bytes: 12345, words: "12.3 kB" }],
  ["EVENTCOUNT", exchanges.eventCount, 2 ** 53 - 1, 2 ** 53 - 1],
  ["CHECKSUM", exchanges.checksum, [ZEROS, "ab"], { eventId: ZEROS, checksum: "ab" }],
  ["GET of nothing", reads.get(STREAM), [], []],
  ["a page of nothing", reads.get(STREAM, { cursor: true }), [[], ID], { events: [], cursor: ID }],
  ["the last page", reads.getAll({ cursor: true }), [[], null], { events: [], cursor: null }],
  ["CONSUMER", consumers.createConsumer("c"), CONSUMER, SUMMARY],
  [
    "CONSUMER LIST",
    consumers.listConsumers,
    [
      CONSUMER.replace(/\}$/, ',"lag":1,"lag_is_whole":false,"lag_ms":2,"in_flight":3,"members":4,"parked":5}'),
    ],
    [{ ...SUMMARY, lag: 1, isLagWhole: false, lagMs: 2, inFlight: 3, members: 4, parked: 5 }],
  ],
  [
    "parked events",
    consumers.parked("c"),
    [`{"id":"${ID}","tries":2,"parked_at":"2030-01-01T00:00:00.000000Z","reason":"r","event":${eventJson(1)}}`],
    [
      {
        event: reads.event(ID).decode(eventJson(1)),
        tries: 2,
        parkedAt: "2030-01-01T00:00:00.000000Z",
        reason: "r",
      },
    ],
  ],
  ["no event", reads.event(ID), null, null],
  ["no stream", reads.stream(STREAM), null, null],
  [
    "TYPES",
    reads.types(),
    ['{"type":"A","count":1,"later":0}', '{"type":"B","count":2}'],
    [
      { type: "A", count: 1 },
      { type: "B", count: 2 },
    ],
  ],
];
for (const [what, exchange, reply, value] of READ) {
  test(`a reply is read into typed values: ${what}`, () => assert.deepEqual(exchange.decode(reply), value));
}

const EVENT = eventJson(1);
const UNEXPECTED: [string, exchanges.Exchange<unknown>, unknown][] = [
  ["a number for a string", exchanges.ping(), 1],
  ["null for a string", exchanges.version, null],
  ["a string for an integer", exchanges.eventCount, "1"],
  ["an integer that is not exact", exchanges.eventCount, 2 ** 53],
  ["one of two", exchanges.size, [1]],
  ["two of the wrong kind", exchanges.size, ["1", "1 B"]],
  ["no array", reads.get(STREAM), "OK"],
  ["no page", reads.get(STREAM, { cursor: true }), []],
  ["a page with a number for its cursor", reads.get(STREAM, { cursor: true }), [[], 1]],
  ["a query that is no object", consumers.createConsumer("c"), CONSUMER.replace(/\{"stream.*?\}/, "null")],
  ["a lag that is no number", consumers.listConsumers, [CONSUMER]],
  ["a parked event without its event", consumers.parked("c"), ['{"id":"x"}']],
  ["a type without a count", reads.types(), ['{"type":"A"}']],
  ["a stream without events", reads.stream(STREAM), "{}"],
  ["null in an array", reads.get(STREAM), [null]],
  ["no JSON", reads.get(STREAM), [EVENT.slice(1)]],
  ["no object", reads.get(STREAM), ["[]"]],
  ["an object that is no event", reads.get(STREAM), ["{}"]],
  ["a version in quotes", reads.get(STREAM), [EVENT.replace('"version":0', '"version":"0"')]],
  ["no metadata", reads.get(STREAM), [EVENT.replace('"metadata":null,', "")]],
  ["tags that are null", reads.get(STREAM), [EVENT.replace(/\}$/, ',"tags":null}')]],
  ["a tag that is a number", reads.get(STREAM), [EVENT.replace(/\}$/, ',"tags":[1]}')]],
  ["something long", reads.get(STREAM), [EVENT, "x".repeat(1_000_000)]],
];
for (const [what, exchange, reply] of UNEXPECTED) {
  test(`another reply is refused in a short sentence: ${what}`, () => {
    const isShort = (error: Error): boolean => error instanceof UnexpectedReply && error.message.length < 200;
    assert.throws(() => exchange.decode(reply), isShort);
  });
}

test("an error inside an array is thrown", () => {
  const reply = [EVENT, new Error("CORRUPT record 2 does not match its checksum")];
  assert.throws(() => reads.getAll().decode(reply), CorruptRecord);
});
