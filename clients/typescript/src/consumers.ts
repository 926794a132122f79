/** The commands about consumers, which remember their place in the log: CONSUMER, FETCH, ACK, NACK. */

import { absent, json, refuseNoInteger, refuseUnknownFields } from "./arguments.js";
import type { RecordedEvent } from "./events.js";
import type { Exchange } from "./exchanges.js";
import { TERMS_FIELDS, termsFields, type Terms } from "./reads.js";
import { array, integer, isTrue, JsonObject, recordedEvent, recordedEvents, text } from "./replies.js";

/** Which events a consumer is for: those that meet all that is given. */
export interface ConsumerQuery extends Terms {
  /** UUID; absent: all streams. */
  readonly stream?: string | null | undefined;
}

/** What a consumer is for, where it begins, and how long and how often its events are tried. */
export interface ConsumerOptions {
  /** Absent: every event. */
  readonly query?: ConsumerQuery | null | undefined;
  /** "beginning" of the log (the default), "end", or the ULID of an event to begin behind. */
  readonly after?: string | null | undefined;
  /** How long a member may hold an event without a word. Default: 30 s */
  readonly timeoutMs?: number | null | undefined;
  /** After how long an event that failed is tried again. */
  readonly retryMs?: number | null | undefined;
  /** After how many failures an event is parked; 0: never. Default: 10 */
  readonly triesMax?: number | null | undefined;
}

/** A consumer as it was made, and how far it has come. */
export interface ConsumerSummary {
  readonly name: string;
  readonly query: ConsumerQuery;
  readonly timeoutMs: number;
  readonly retryMs: number;
  readonly triesMax: number;
  /** ULID of the last event with nothing unsettled before it; zeros at the beginning. */
  readonly checkpoint: string;
}

/** A consumer, and how it is getting on. */
export interface ConsumerStatus extends ConsumerSummary {
  /** How many events are not settled. */
  readonly lag: number;
  /** Whether that is all; behind a filter they are counted only so far. */
  readonly isLagWhole: boolean;
  /** For how long the oldest of them has been waiting. */
  readonly lagMs: number;
  /** How many events are given out, and to how many members. */
  readonly inFlight: number;
  readonly members: number;
  /** How many events failed too often. */
  readonly parked: number;
}

/** An event that failed too often. */
export interface ParkedEvent {
  readonly event: RecordedEvent;
  readonly tries: number;
  /** RFC 3339, UTC, microseconds. */
  readonly parkedAt: string;
  /** What NACK said; empty if nothing. */
  readonly reason: string;
}

/** Which parked events. */
export interface ParkedOptions {
  /** ULID of the last event of the page before. */
  readonly after?: string | null | undefined;
  /** The most events to return, up to 1000; absent or 0: 100. */
  readonly limit?: number | null | undefined;
}

/** An event that an append acks, and who holds it; see `Consumer.checkpoint`. */
export interface Checkpoint {
  readonly consumer: string;
  readonly member: string;
  /** ULID of the event. */
  readonly id: string;
}

/** What is to become of events that failed. */
export interface NackOptions {
  /** After how long they are tried again. Default: as the consumer has it. */
  readonly delayMs?: number | null | undefined;
  /** Why, for the list of parked events: up to 1000 bytes. */
  readonly reason?: string | null | undefined;
  /** Park them at once: do not try them again. */
  readonly park?: boolean | null | undefined;
}

const QUERY_FIELDS = ["stream", ...TERMS_FIELDS];
const CONSUMER_FIELDS = ["query", "after", "timeoutMs", "retryMs", "triesMax"];
const PARKED_FIELDS = ["after", "limit"];
const NACK_FIELDS = ["delayMs", "reason", "park"];

export function createConsumer(name: string, options: ConsumerOptions = {}): Exchange<ConsumerSummary> {
  refuseUnknownFields("", options, CONSUMER_FIELDS);
  const { query, after, timeoutMs, retryMs, triesMax } = options;
  refuseNoInteger("timeoutMs", timeoutMs);
  refuseNoInteger("retryMs", retryMs);
  refuseNoInteger("triesMax", triesMax);
  const argument = {
    create: name,
    query: query ? queryFields(query) : undefined,
    after: absent(after),
    timeout_ms: absent(timeoutMs),
    retry_ms: absent(retryMs),
    tries_max: absent(triesMax),
  };
  return { words: ["CONSUMER", json(argument)], decode: summary };
}

export const listConsumers: Exchange<ConsumerStatus[]> = {
  words: ["CONSUMER", "LIST"],
  decode: (reply) => array(reply).map(status),
};

/** Once: a second time there would be none. */
export function deleteConsumer(name: string): Exchange<void> {
  return { words: ["CONSUMER", json({ delete: name })], decode: (reply) => void integer(reply), isOnce: true };
}

/** Once: what was done meanwhile would be forgotten. */
export function resetConsumer(name: string, after?: string): Exchange<ConsumerSummary> {
  return { words: ["CONSUMER", json({ reset: name, after })], decode: summary, isOnce: true };
}

export function parked(name: string, options: ParkedOptions = {}): Exchange<ParkedEvent[]> {
  refuseUnknownFields("", options, PARKED_FIELDS);
  refuseNoInteger("limit", options.limit);
  const argument = { parked: name, after: absent(options.after), limit: absent(options.limit) };
  return { words: ["CONSUMER", json(argument)], decode: (reply) => array(reply).map(parkedEvent) };
}

export function replay(name: string, ids?: readonly string[]): Exchange<number> {
  return { words: ["CONSUMER", json({ replay: name, ids })], decode: integer };
}

export function fetch(consumer: string, member: string, limit: number, waitMs: number): Exchange<RecordedEvent[]> {
  const argument = { consumer, member, limit, wait_ms: waitMs };
  return { words: ["FETCH", json(argument)], decode: recordedEvents, waitMs };
}

export function ack(consumer: string, member: string, ids: readonly string[]): Exchange<number> {
  return { words: ["ACK", json({ consumer, member, ids })], decode: integer };
}

export function extend(consumer: string, member: string, ids: readonly string[]): Exchange<number> {
  return { words: ["ACK", json({ consumer, member, extend: ids })], decode: integer };
}

export function nack(
  consumer: string,
  member: string,
  ids: readonly string[],
  options: NackOptions = {},
): Exchange<number> {
  refuseUnknownFields("", options, NACK_FIELDS);
  refuseNoInteger("delayMs", options.delayMs);
  const { delayMs, reason, park } = options;
  const argument = {
    consumer,
    member,
    ids,
    delay_ms: absent(delayMs),
    reason: absent(reason),
    park: absent(park),
  };
  return { words: ["NACK", json(argument)], decode: integer };
}

/** Without ids: all that the member holds. */
export function release(consumer: string, member: string, ids?: readonly string[]): Exchange<number> {
  return { words: ["NACK", json({ consumer, member, ids, release: true })], decode: integer };
}

function queryFields(query: ConsumerQuery): object {
  refuseUnknownFields("query.", query, QUERY_FIELDS);
  return { stream: absent(query.stream), ...termsFields(query) };
}

function summary(reply: unknown): ConsumerSummary {
  return summaryOf(new JsonObject("a consumer", reply));
}

function summaryOf(consumer: JsonObject): ConsumerSummary {
  return {
    name: consumer.get("consumer", text),
    query: consumer.get("query", query),
    timeoutMs: consumer.get("timeout_ms", integer),
    retryMs: consumer.get("retry_ms", integer),
    triesMax: consumer.get("tries_max", integer),
    checkpoint: consumer.get("checkpoint", text),
  };
}

function status(reply: unknown): ConsumerStatus {
  const consumer = new JsonObject("a consumer", reply);
  return {
    ...summaryOf(consumer),
    lag: consumer.get("lag", integer),
    isLagWhole: consumer.get("lag_is_whole", isTrue),
    lagMs: consumer.get("lag_ms", integer),
    inFlight: consumer.get("in_flight", integer),
    members: consumer.get("members", integer),
    parked: consumer.get("parked", integer),
  };
}

function query(value: unknown): ConsumerQuery {
  const fields = new JsonObject("a query", value);
  const names: Record<string, string> = { correlation_id: "correlationId", causation_id: "causationId" };
  return Object.fromEntries(fields.entries.map(([name, field]) => [names[name] ?? name, field]));
}

function parkedEvent(reply: unknown): ParkedEvent {
  const item = new JsonObject("a parked event", reply);
  return {
    event: item.get("event", recordedEvent),
    tries: item.get("tries", integer),
    parkedAt: item.get("parked_at", text),
    reason: item.get("reason", text),
  };
}
