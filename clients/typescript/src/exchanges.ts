/**
 * Each command as an exchange: the words a client sends, and how it reads the reply.
 * Nothing here may know the Redis library.
 */

import { inspect } from "node:util";

import { freshUlid, type AppendOptions, type ExpectedVersion, type StreamAppend, type Unless } from "./appends.js";
import { InvalidArgument, UnexpectedReply } from "./errors.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import { errorOf } from "./refusals.js";

/**
 * One request and its reply. `decode` throws UnexpectedReply, or what error the reply holds; `waitMs` is how long the
 * server may wait before it replies.
 */
export interface Exchange<T> {
  readonly words: readonly string[];
  readonly decode: (reply: unknown) => T;
  readonly waitMs?: number;
  readonly isAppend?: boolean;
  readonly requestId?: string | undefined;
}

/** How much of the disk the database takes. `words`: the same for people, "12.3 kB". */
export interface Size {
  readonly bytes: number;
  readonly words: string;
}

/** What the log is up to an event. */
export interface Checksum {
  /** ULID of the latest event; 26 zeros when the log is empty. */
  readonly eventId: string;
  /** 64 hex digits, of the whole log. */
  readonly checksum: string;
}

/** Which part of a stream. */
export interface GetOptions {
  /** How many events of the stream to skip; absent: none. */
  readonly version?: number | null | undefined;
  /** The most events to return; absent or 0: all. */
  readonly limit?: number | null | undefined;
  /** Where there are none, how long the server waits for one: at most an hour. Absent or 0: not at all. */
  readonly waitMs?: number | null | undefined;
}

/** Which part of the log. `offset` and `after` exclude each other. */
export interface GetAllOptions {
  /** ULID of the event to begin with. */
  readonly offset?: string | null | undefined;
  /** ULID of the event to begin behind. */
  readonly after?: string | null | undefined;
  /** The most events to return; absent or 0: 100. */
  readonly limit?: number | null | undefined;
  /** Where there are none, how long the server waits for one: at most an hour. Absent or 0: not at all. */
  readonly waitMs?: number | null | undefined;
}

const EVENT_FIELDS = ["type", "data", "metadata", "causationId", "correlationId", "tags"];
const UNLESS_FIELDS = ["types", "tags", "after"];
const STREAM_APPEND_FIELDS = ["stream", "version", "events"];
const APPEND_FIELDS = ["unless", "requestId"];
const GET_FIELDS = ["version", "limit", "waitMs"];
const GET_ALL_FIELDS = ["offset", "after", "limit", "waitMs"];

export function ping(message?: string): Exchange<string> {
  if (message === undefined) {
    return { words: ["PING"], decode: text };
  }
  if (!message.isWellFormed()) {
    throw new InvalidArgument("message: holds half of a surrogate pair, which UTF-8 cannot carry");
  }
  return { words: ["PING", message], decode: text };
}

export const version: Exchange<string> = { words: ["VERSION"], decode: text };
export const uptime: Exchange<string> = { words: ["UPTIME"], decode: text };
export const size: Exchange<Size> = {
  words: ["SIZE"],
  decode: (reply) => {
    const [bytes, words] = pair(reply);
    return { bytes: integer(bytes), words: text(words) };
  },
};
export const eventCount: Exchange<number> = { words: ["EVENTCOUNT"], decode: integer };
export const streamCount: Exchange<number> = { words: ["STREAMCOUNT"], decode: integer };
export const eventCountEstimate: Exchange<number> = { words: ["EVENTCOUNTEST"], decode: integer };
export const streamCountEstimate: Exchange<number> = { words: ["STREAMCOUNTEST"], decode: integer };
export const checksum: Exchange<Checksum> = {
  words: ["CHECKSUM"],
  decode: (reply) => {
    const [eventId, digits] = pair(reply);
    return { eventId: text(eventId), checksum: text(digits) };
  },
};

export function add(
  stream: string,
  version: ExpectedVersion,
  events: readonly NewEvent[],
  options: AppendOptions = {},
): Exchange<RecordedEvent[]> {
  refuseNoVersion("version", version);
  return append("ADD", { stream, version, events: events.map(given) }, options);
}

export function addMany(appends: readonly StreamAppend[], options: AppendOptions = {}): Exchange<RecordedEvent[]> {
  const parts = appends.map((part, index) => {
    const path = `appends[${index}].`;
    refuseUnknownFields(path, part, STREAM_APPEND_FIELDS);
    const { stream, version, events } = part;
    refuseNoVersion(`${path}version`, version);
    return { stream, version, events: (events ?? []).map((event, at) => given(event, at, [], path)) };
  });
  return append("ADDMANY", { appends: parts }, options);
}

function append(command: string, argument: object, options: AppendOptions): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, APPEND_FIELDS);
  const requestId = options.requestId === undefined ? freshUlid() : options.requestId || undefined;
  const unless = givenUnless(options.unless);
  const words = [command, json({ ...argument, unless, request_id: requestId })];
  return { words, decode: recordedEvents, isAppend: true, requestId };
}

function givenUnless(unless: AppendOptions["unless"]): object | undefined {
  if (unless === null || unless === undefined) {
    return undefined;
  }
  return isList(unless) ? unless.map((item, index) => givenItem(item, `unless[${index}].`)) : givenItem(unless, "unless.");
}

function givenItem(item: Unless, path: string): object {
  refuseUnknownFields(path, item, UNLESS_FIELDS);
  return { types: absent(item.types), tags: absent(item.tags), after: absent(item.after) };
}

/** Array.isArray does not see a readonly array. */
function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

export function get(stream: string, options: GetOptions = {}): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, GET_FIELDS);
  const { version, limit, waitMs } = options;
  refuseNoInteger("version", version);
  refuseNoInteger("limit", limit);
  refuseNoInteger("waitMs", waitMs);
  const argument = json({ stream, version: absent(version), limit: absent(limit), wait_ms: absent(waitMs) });
  return { words: ["GET", argument], decode: recordedEvents, waitMs: waitMs ?? 0 };
}

export function getAll(options: GetAllOptions = {}): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, GET_ALL_FIELDS);
  const { offset, after, limit, waitMs } = options;
  refuseNoInteger("limit", limit);
  refuseNoInteger("waitMs", waitMs);
  const fields = { offset: absent(offset), after: absent(after), limit: absent(limit), wait_ms: absent(waitMs) };
  const argument = json(fields);
  const words = argument === "{}" ? ["GETALL"] : ["GETALL", argument];
  return { words, decode: recordedEvents, waitMs: waitMs ?? 0 };
}

/** Throws InvalidArgument for a field that the server would never see, so that a typing error shows. */
export function refuseUnknownFields(path: string, object: object, known: readonly string[]): void {
  for (const field of Object.keys(object)) {
    if (!known.includes(field)) {
      throw new InvalidArgument(`${path}${field}: unknown field; known are ${known.join(", ")}`);
    }
  }
}

/** JSON would make null, and so "absent", of NaN and the infinities; the rest the server would refuse too. */
function refuseNoInteger(path: string, number: number | null | undefined): void {
  if (number !== null && number !== undefined && !(Number.isSafeInteger(number) && number >= 0)) {
    throw new InvalidArgument(
      `${path}: expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${inspect(number)}`,
    );
  }
}

function refuseNoVersion(path: string, version: ExpectedVersion): void {
  if (version !== "any" && version !== "exists") {
    refuseNoInteger(path, version);
  }
}

function given(event: NewEvent, index: number, _events: unknown, path = ""): object {
  refuseUnknownFields(`${path}events[${index}].`, event, EVENT_FIELDS);
  const { type, data, metadata, causationId, correlationId, tags } = event;
  return {
    type,
    data,
    metadata: absent(metadata),
    causation_id: absent(causationId),
    correlation_id: absent(correlationId),
    tags: absent(tags),
  };
}

/** JSON leaves out what is undefined, and to the server null means just that. */
function absent<T>(value: T | null | undefined): T | undefined {
  return value ?? undefined;
}

/** Half a surrogate pair is written as an escape, and the server refuses it with the path. */
function json(argument: object): string {
  try {
    return JSON.stringify(argument);
  } catch (error) {
    throw new InvalidArgument(`the argument cannot be written as JSON: ${String(error)}`, { cause: error });
  }
}

function recordedEvents(reply: unknown): RecordedEvent[] {
  return array(reply).map(recordedEvent);
}

function recordedEvent(item: unknown): RecordedEvent {
  const record = parsed(text(item));
  return {
    id: field(record, "id", text),
    stream: field(record, "stream", text),
    version: field(record, "version", integer),
    position: field(record, "position", integer),
    type: field(record, "type", text),
    data: field(record, "data", text),
    metadata: field(record, "metadata", textOrNull),
    causationId: field(record, "causation_id", text),
    correlationId: field(record, "correlation_id", text),
    addedAt: field(record, "added_at", text),
    tags: record["tags"] === undefined ? [] : field(record, "tags", texts),
  };
}

function parsed(record: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(record);
  } catch (error) {
    throw new UnexpectedReply(`the server sent something else than an event: ${shown(record)}`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw unexpected("an event", record);
  }
  return value as Record<string, unknown>;
}

function field<T>(record: Record<string, unknown>, name: string, decode: (value: unknown) => T): T {
  try {
    return decode(record[name]);
  } catch (error) {
    throw new UnexpectedReply(`${name} of an event: ${(error as Error).message}`);
  }
}

function array(reply: unknown): unknown[] {
  if (!Array.isArray(reply)) {
    throw unexpected("an array", reply);
  }
  for (const item of reply) {
    if (item instanceof Error) {
      throw errorOf(item.message);
    }
  }
  return reply;
}

function pair(reply: unknown): [unknown, unknown] {
  const items = array(reply);
  if (items.length !== 2) {
    throw unexpected("an array of two", reply);
  }
  return [items[0], items[1]];
}

function text(reply: unknown): string {
  if (typeof reply !== "string") {
    throw unexpected("a string", reply);
  }
  return reply;
}

function texts(value: unknown): string[] {
  return array(value).map(text);
}

function textOrNull(value: unknown): string | null {
  return value === null ? null : text(value);
}

function integer(reply: unknown): number {
  if (!Number.isSafeInteger(reply)) {
    throw unexpected("an integer", reply);
  }
  return reply as number;
}

function unexpected(wanted: string, reply: unknown): UnexpectedReply {
  return new UnexpectedReply(`expected ${wanted} from the server, got ${shown(reply)}`);
}

/** A value in a few words. */
function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 60, breakLength: Infinity }).slice(0, 120);
}
