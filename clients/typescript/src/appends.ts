/** ADD and ADDMANY: events with conditions, in one stream or several, under a request id. */

import { absent, isList, json, refuseNoInteger, refuseUnknownFields } from "./arguments.js";
import type { Checkpoint } from "./consumers.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import type { Exchange } from "./exchanges.js";
import { recordedEvents } from "./replies.js";
import { freshUlid } from "./ulids.js";

/** How many events a stream holds already, 0 for a new one; "any" number, or "exists" for at least one. */
export type ExpectedVersion = number | "any" | "exists";

/** What must not be in the log: an event of one of `types`, if given, that carries all of `tags`, if given. */
export interface Unless {
  readonly types?: readonly string[] | null | undefined;
  readonly tags?: readonly string[] | null | undefined;
  /** ULID of the last event you had seen when you decided, only events behind it count; absent: the whole log. */
  readonly after?: string | null | undefined;
}

/** One stream's part of `addMany`; without events it is a check alone. */
export interface StreamAppend {
  readonly stream: string;
  readonly version: ExpectedVersion;
  readonly events?: readonly NewEvent[] | null | undefined;
}

/** Conditions of an append beyond versions, and how it may be repeated. */
export interface AppendOptions {
  /** Refuses the append if an event in the log matches it, or any of them. */
  readonly unless?: Unless | readonly Unless[] | null | undefined;
  /**
   * 1 to 128 bytes: the server stores an append with it once, and answers it the same for ever. Absent: a fresh ULID;
   * null or "": none, and so no repeating when the connection breaks.
   */
  readonly requestId?: string | null | undefined;
  /** An event of a consumer that the append acks in the same step, if the member still holds it. */
  readonly checkpoint?: Checkpoint | null | undefined;
}

const EVENT_FIELDS = ["type", "data", "metadata", "causationId", "correlationId", "tags"];
const UNLESS_FIELDS = ["types", "tags", "after"];
const STREAM_APPEND_FIELDS = ["stream", "version", "events"];
const APPEND_FIELDS = ["unless", "requestId", "checkpoint"];
const CHECKPOINT_FIELDS = ["consumer", "member", "id"];

export function add(
  stream: string,
  version: ExpectedVersion,
  events: readonly NewEvent[],
  options: AppendOptions = {},
): Exchange<RecordedEvent[]> {
  refuseNoVersion("version", version);
  return append("ADD", { stream, version, events: events.map((event, at) => given(event, `events[${at}].`)) }, options);
}

export function addMany(appends: readonly StreamAppend[], options: AppendOptions = {}): Exchange<RecordedEvent[]> {
  const parts = appends.map((part, index) => {
    const path = `appends[${index}].`;
    refuseUnknownFields(path, part, STREAM_APPEND_FIELDS);
    const { stream, version, events } = part;
    refuseNoVersion(`${path}version`, version);
    return { stream, version, events: (events ?? []).map((event, at) => given(event, `${path}events[${at}].`)) };
  });
  return append("ADDMANY", { appends: parts }, options);
}

function append(command: string, argument: object, options: AppendOptions): Exchange<RecordedEvent[]> {
  refuseUnknownFields("", options, APPEND_FIELDS);
  const requestId = options.requestId === undefined ? freshUlid() : options.requestId || undefined;
  const unless = givenUnless(options.unless);
  const checkpoint = absent(options.checkpoint);
  refuseUnknownFields("checkpoint.", checkpoint ?? {}, CHECKPOINT_FIELDS);
  const words = [command, json({ ...argument, unless, request_id: requestId, checkpoint })];
  return { words, decode: recordedEvents, isAppend: true, requestId };
}

function givenUnless(unless: AppendOptions["unless"]): object | undefined {
  if (unless === null || unless === undefined) {
    return undefined;
  }
  return isList(unless)
    ? unless.map((item, index) => givenItem(item, `unless[${index}].`))
    : givenItem(unless, "unless.");
}

function givenItem(item: Unless, path: string): object {
  refuseUnknownFields(path, item, UNLESS_FIELDS);
  return { types: absent(item.types), tags: absent(item.tags), after: absent(item.after) };
}

function refuseNoVersion(path: string, version: ExpectedVersion): void {
  if (version !== "any" && version !== "exists") {
    refuseNoInteger(path, version);
  }
}

function given(event: NewEvent, path: string): object {
  refuseUnknownFields(path, event, EVENT_FIELDS);
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
