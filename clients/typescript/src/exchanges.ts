/**
 * Each command as an exchange: the words a client sends, and how it reads the reply.
 * Nothing here may know the Redis library.
 */

import { inspect } from "node:util";

import { InvalidArgument, UnexpectedReply } from "./errors.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import { errorOf } from "./refusals.js";

/** One request and its reply. `decode` throws UnexpectedReply, or what error the reply holds. */
export interface Exchange<T> {
  readonly words: readonly string[];
  readonly decode: (reply: unknown) => T;
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
}

/** Which part of the log. `offset` and `after` exclude each other. */
export interface GetAllOptions {
  /** ULID of the event to begin with. */
  readonly offset?: string | null | undefined;
  /** ULID of the event to begin behind. */
  readonly after?: string | null | undefined;
  /** The most events to return; absent or 0: 100. */
  readonly limit?: number | null | undefined;
}

const EVENT_FIELDS = ["type", "data", "metadata", "causationId", "correlationId"];
const GET_FIELDS = ["version", "limit"];
const GET_ALL_FIELDS = ["offset", "after", "limit"];

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

export function add(stream: string, version: number, events: readonly NewEvent[]): Exchange<RecordedEvent[]> {
  refuseNoInteger("version", version);
  return { words: ["ADD", json({ stream, version, events: events.map(given) })], decode: recordedEvents };
}

export function get(stream: string, options: GetOptions = {}): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, GET_FIELDS);
  const { version, limit } = options;
  refuseNoInteger("version", version);
  refuseNoInteger("limit", limit);
  return { words: ["GET", json({ stream, version: absent(version), limit: absent(limit) })], decode: recordedEvents };
}

export function getAll(options: GetAllOptions = {}): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, GET_ALL_FIELDS);
  const { offset, after, limit } = options;
  refuseNoInteger("limit", limit);
  const argument = json({ offset: absent(offset), after: absent(after), limit: absent(limit) });
  return { words: argument === "{}" ? ["GETALL"] : ["GETALL", argument], decode: recordedEvents };
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

function given(event: NewEvent, index: number): object {
  refuseUnknownFields(`events[${index}].`, event, EVENT_FIELDS);
  const { type, data, metadata, causationId, correlationId } = event;
  return {
    type,
    data,
    metadata: absent(metadata),
    causation_id: absent(causationId),
    correlation_id: absent(correlationId),
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
