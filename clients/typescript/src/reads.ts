/** The commands that read: GET, GETALL, EVENT, STREAM, STREAMS, TYPES, and the query of SUBSCRIBE. */

import { absent, json, refuseNoInteger, refuseUnknownFields, wordsOf } from "./arguments.js";
import { InvalidArgument } from "./errors.js";
import type { RecordedEvent } from "./events.js";
import type { Exchange } from "./exchanges.js";
import { array, integer, JsonObject, pair, recordedEvent, recordedEvents, text, textOrNull } from "./replies.js";

/** What the indexes know of an event. An event must meet all that is given; an empty list is as none. */
export interface Terms {
  /** Events of one of these types. */
  readonly types?: readonly string[] | null | undefined;
  /** Events that carry all of these tags. */
  readonly tags?: readonly string[] | null | undefined;
  /** ULID; an event without one has its own. */
  readonly correlationId?: string | null | undefined;
  /** ULID; an event without one has its own. */
  readonly causationId?: string | null | undefined;
}

/** Which events. An event must meet all that is given. */
export interface Filter extends Terms {
  /** Events added at that time or later: a Date, or RFC 3339 where milliseconds are too coarse. */
  readonly since?: string | Date | null | undefined;
  /** Events added before that time. */
  readonly until?: string | Date | null | undefined;
  /** ULID: events behind it, in the order of the log. */
  readonly after?: string | null | undefined;
  /** ULID: events ahead of it, in the order of the log. */
  readonly before?: string | null | undefined;
}

/** Which events, how many, and in which order. */
export interface ReadOptions extends Filter {
  /** The last one first. Which events are meant is said in the order of the log nonetheless. */
  readonly backwards?: boolean | null | undefined;
  /** Where there are none, how long the server waits for one: at most an hour. Absent or 0: not at all. */
  readonly waitMs?: number | null | undefined;
}

/** Which part of a stream. */
export interface GetOptions extends ReadOptions {
  /** How many events of the stream to skip; absent: none. */
  readonly version?: number | null | undefined;
  /** The most events to return; absent or 0: all, with a filter 100. */
  readonly limit?: number | null | undefined;
}

/** Which part of the log. `offset` and `after` exclude each other. */
export interface GetAllOptions extends ReadOptions {
  /** ULID of the event to begin with. */
  readonly offset?: string | null | undefined;
  /** The most events to return; absent or 0: 100. */
  readonly limit?: number | null | undefined;
}

/** Which events are sent as they come: absent places mean those that are stored from now on. */
export interface SubscribeOptions extends Filter {
  /** UUID; absent: all streams. */
  readonly stream?: string | null | undefined;
  /** With a stream: begin with history, but for so many events of it. */
  readonly version?: number | null | undefined;
  /** ULID of the event to begin with. */
  readonly offset?: string | null | undefined;
}

/** A part of what was asked for. */
export interface Page {
  /** As many as were found until the limit, or until the server stopped its search: there may be none. */
  readonly events: RecordedEvent[];
  /** ULID to go on from: as `after`, backwards as `before`. null: that was all. */
  readonly cursor: string | null;
}

/** A stream from outside. */
export interface StreamSummary {
  /** UUID, lower case. */
  readonly stream: string;
  /** The number of its events, which is what the next append expects. */
  readonly version: number;
  readonly firstId: string;
  readonly firstAddedAt: string;
  readonly lastId: string;
  readonly lastAddedAt: string;
}

/** Which streams. With terms: those that hold an event that meets them. */
export interface StreamsOptions extends Terms {
  /** The last stream of the page before. */
  readonly after?: string | null | undefined;
  /** The most streams to return, up to 1000; absent or 0: 100. Fewer come only at the end. */
  readonly limit?: number | null | undefined;
}

/** An event type, and how many events there are of it. */
export interface TypeSummary {
  readonly type: string;
  readonly count: number;
}

/** Which event types. */
export interface TypesOptions {
  /** The last type of the page before. */
  readonly after?: string | null | undefined;
  /** The most types to return, up to 10,000; absent or 0: 1000. Fewer come only at the end. */
  readonly limit?: number | null | undefined;
}

export const TERMS_FIELDS = ["types", "tags", "correlationId", "causationId"];
export const FILTER_FIELDS = [...TERMS_FIELDS, "since", "until", "after", "before"];
const READ_FIELDS = [...FILTER_FIELDS, "backwards", "waitMs", "limit", "cursor"];
const GET_FIELDS = ["version", ...READ_FIELDS];
const GET_ALL_FIELDS = ["offset", ...READ_FIELDS];
const SUBSCRIBE_FIELDS = ["stream", "version", "offset", ...FILTER_FIELDS];
const STREAMS_FIELDS = [...TERMS_FIELDS, "after", "limit"];
const TYPES_FIELDS = ["after", "limit"];

/** Which part of what is read: at most so many events, and whether the reply is a Page. */
interface Part {
  readonly limit?: number | null | undefined;
  readonly cursor?: boolean | null | undefined;
}

export function get(
  stream: string,
  options: GetOptions & { readonly cursor?: boolean | null | undefined } = {},
): Exchange<RecordedEvent[] | Page> {
  refuseUnknownFields("", options, GET_FIELDS);
  refuseNoInteger("version", options.version);
  const argument = { stream, version: absent(options.version), ...partFields(options) };
  return { words: ["GET", json(argument)], ...partReply(options) };
}

export function getAll(
  options: GetAllOptions & { readonly cursor?: boolean | null | undefined } = {},
): Exchange<RecordedEvent[] | Page> {
  refuseUnknownFields("", options, GET_ALL_FIELDS);
  const argument = { offset: absent(options.offset), ...partFields(options) };
  return { words: wordsOf("GETALL", argument), ...partReply(options) };
}

export function event(id: string): Exchange<RecordedEvent | null> {
  return { words: ["EVENT", json({ id })], decode: (reply) => (reply === null ? null : recordedEvent(reply)) };
}

export function stream(id: string): Exchange<StreamSummary | null> {
  return {
    words: ["STREAM", json({ stream: id })],
    decode: (reply) => (reply === null ? null : streamSummary(reply)),
  };
}

export function streams(options: StreamsOptions = {}): Exchange<StreamSummary[]> {
  refuseUnknownFields("", options, STREAMS_FIELDS);
  refuseNoInteger("limit", options.limit);
  const argument = { after: absent(options.after), limit: absent(options.limit), ...termsFields(options) };
  return { words: wordsOf("STREAMS", argument), decode: (reply) => array(reply).map(streamSummary) };
}

export function types(options: TypesOptions = {}): Exchange<TypeSummary[]> {
  refuseUnknownFields("", options, TYPES_FIELDS);
  refuseNoInteger("limit", options.limit);
  const argument = { after: absent(options.after), limit: absent(options.limit) };
  return { words: wordsOf("TYPES", argument), decode: (reply) => array(reply).map(typeSummary) };
}

/** The name of a channel that sends these events. */
export function subscriptionQuery(options: SubscribeOptions): string {
  refuseUnknownFields("", options, SUBSCRIBE_FIELDS);
  refuseNoInteger("version", options.version);
  const { stream, version, offset } = options;
  return json({
    stream: absent(stream),
    version: absent(version),
    offset: absent(offset),
    ...filterFields(options),
  });
}

/** Whether they choose among events, rather than say where to begin. */
export function hasFilter(options: Filter): boolean {
  const { types, tags, correlationId, causationId, since, until, before } = options;
  return Boolean(types?.length || tags?.length || correlationId || causationId || since || until || before);
}

/** As the server names them. */
export function termsFields(terms: Terms): object {
  return {
    types: absent(terms.types),
    tags: absent(terms.tags),
    correlation_id: absent(terms.correlationId),
    causation_id: absent(terms.causationId),
  };
}

function filterFields(filter: Filter): object {
  return {
    ...termsFields(filter),
    since: time("since", filter.since),
    until: time("until", filter.until),
    after: absent(filter.after),
    before: absent(filter.before),
  };
}

function partFields(options: ReadOptions & Part): object {
  refuseNoInteger("limit", options.limit);
  refuseNoInteger("waitMs", options.waitMs);
  return {
    ...filterFields(options),
    backwards: absent(options.backwards),
    limit: absent(options.limit),
    cursor: absent(options.cursor),
    wait_ms: absent(options.waitMs),
  };
}

function partReply(options: ReadOptions & Part): Omit<Exchange<RecordedEvent[] | Page>, "words"> {
  return { decode: options.cursor ? page : recordedEvents, waitMs: options.waitMs ?? 0 };
}

function time(path: string, moment: string | Date | null | undefined): string | undefined {
  if (!(moment instanceof Date)) {
    return absent(moment);
  }
  if (Number.isNaN(moment.getTime())) {
    throw new InvalidArgument(`${path}: expected a time, got an invalid Date`);
  }
  return moment.toISOString();
}

function page(reply: unknown): Page {
  const [events, cursor] = pair(reply);
  return { events: recordedEvents(events), cursor: textOrNull(cursor) };
}

function streamSummary(item: unknown): StreamSummary {
  const summary = new JsonObject("a stream", item);
  return {
    stream: summary.get("stream", text),
    version: summary.get("version", integer),
    firstId: summary.get("first_id", text),
    firstAddedAt: summary.get("first_added_at", text),
    lastId: summary.get("last_id", text),
    lastAddedAt: summary.get("last_added_at", text),
  };
}

function typeSummary(item: unknown): TypeSummary {
  const summary = new JsonObject("a type", item);
  return { type: summary.get("type", text), count: summary.get("count", integer) };
}
