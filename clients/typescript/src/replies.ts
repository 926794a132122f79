/** Replies read into typed values. All throw UnexpectedReply for what is something else. */

import { inspect } from "node:util";

import { UnexpectedReply } from "./errors.js";
import type { RecordedEvent } from "./events.js";
import { errorOf } from "./refusals.js";

/** A JSON object that the server sent, as a string or within another, and what it is, for people. */
export class JsonObject {
  readonly #what: string;
  readonly #fields: Record<string, unknown>;

  constructor(what: string, reply: unknown) {
    this.#what = what;
    this.#fields = typeof reply === "object" ? object(what, reply) : parsed(what, text(reply));
  }

  get entries(): [string, unknown][] {
    return Object.entries(this.#fields);
  }

  /** Throws UnexpectedReply, with the field's name, if it is absent or `decode` throws. */
  get<T>(name: string, decode: (value: unknown) => T): T {
    try {
      return decode(this.#fields[name]);
    } catch (error) {
      throw new UnexpectedReply(`${name} of ${this.#what}: ${(error as Error).message}`);
    }
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined;
  }
}

export function recordedEvents(reply: unknown): RecordedEvent[] {
  return array(reply).map(recordedEvent);
}

export function recordedEvent(item: unknown): RecordedEvent {
  const record = new JsonObject("an event", item);
  return {
    id: record.get("id", text),
    stream: record.get("stream", text),
    version: record.get("version", integer),
    position: record.get("position", integer),
    type: record.get("type", text),
    data: record.get("data", text),
    metadata: record.get("metadata", textOrNull),
    causationId: record.get("causation_id", text),
    correlationId: record.get("correlation_id", text),
    addedAt: record.get("added_at", text),
    tags: record.has("tags") ? record.get("tags", texts) : [],
  };
}

export function array(reply: unknown): unknown[] {
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

export function pair(reply: unknown): [unknown, unknown] {
  const items = array(reply);
  if (items.length !== 2) {
    throw unexpected("an array of two", reply);
  }
  return [items[0], items[1]];
}

export function text(reply: unknown): string {
  if (typeof reply !== "string") {
    throw unexpected("a string", reply);
  }
  return reply;
}

export function texts(value: unknown): string[] {
  return array(value).map(text);
}

export function textOrNull(value: unknown): string | null {
  return value === null ? null : text(value);
}

export function integer(reply: unknown): number {
  if (!Number.isSafeInteger(reply)) {
    throw unexpected("an integer", reply);
  }
  return reply as number;
}

export function isTrue(value: unknown): boolean {
  if (typeof value !== "boolean") {
    throw unexpected("true or false", value);
  }
  return value;
}

function parsed(what: string, record: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(record);
  } catch (error) {
    throw new UnexpectedReply(`the server sent something else than ${what}: ${shown(record)}`, { cause: error });
  }
  return object(what, value);
}

function object(what: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw unexpected(what, value);
  }
  return value as Record<string, unknown>;
}

function unexpected(wanted: string, reply: unknown): UnexpectedReply {
  return new UnexpectedReply(`expected ${wanted} from the server, got ${shown(reply)}`);
}

/** A value in a few words. */
function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 60, breakLength: Infinity }).slice(0, 120);
}
