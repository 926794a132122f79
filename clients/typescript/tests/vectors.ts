/** The test vectors that all clients share, clients/vectors.json. */

import { readFileSync } from "node:fs";

import type {
  Checkpoint,
  ConsumerQuery,
  ConsumerStatus,
  ExpectedVersion,
  NewEvent,
  ParkedEvent,
  RecordedEvent,
  Terms,
  Unless,
} from "../src/index.js";

interface EventFields {
  type: string;
  data: string;
  metadata?: string | null;
  causation_id?: string;
  correlation_id?: string;
  tags?: string[];
}

interface RecordFields {
  id: string;
  stream: string;
  version: number;
  position: number;
  type: string;
  data: string;
  metadata: string | null;
  causation_id: string;
  correlation_id: string;
  added_at: string;
  tags?: string[];
}

interface AppendFields {
  stream: string;
  version: ExpectedVersion;
  events: EventFields[];
}

interface TermsFields {
  types?: string[];
  tags?: string[];
  correlation_id?: string;
  causation_id?: string;
}

interface QueryFields extends TermsFields {
  stream?: string;
}

interface ConsumerFields {
  consumer: string;
  query: QueryFields;
  timeout_ms: number;
  retry_ms: number;
  tries_max: number;
  checkpoint: string;
  lag: number;
  lag_is_whole: boolean;
  lag_ms: number;
  in_flight: number;
  members: number;
  parked: number;
}

interface ParkedFields {
  event: RecordFields;
  tries: number;
  parked_at: string;
  reason: string;
}

interface RequestVector<Call> {
  name: string;
  command: string;
  argument: unknown;
  call: Call;
}

interface AppendCall extends TermsFields {
  stream?: string;
  version?: ExpectedVersion;
  events?: EventFields[];
  appends?: AppendFields[];
  unless?: Unless[];
  request_id?: string | null;
  checkpoint?: Checkpoint;
}

interface Call extends AppendCall {
  method: "add" | "add_many" | "get" | "get_all" | "event" | "stream" | "streams" | "types";
  id?: string;
  limit?: number;
  offset?: string;
  after?: string;
  since?: string;
  until?: string;
  before?: string;
  backwards?: boolean;
  wait_ms?: number;
}

interface ConsumerCall extends AppendCall {
  method:
    | "create_consumer"
    | "delete_consumer"
    | "reset_consumer"
    | "consumers"
    | "parked"
    | "replay"
    | "replay_all"
    | "fetch"
    | "ack"
    | "extend"
    | "nack"
    | "release"
    | "add"
    | "add_many";
  consumer?: string;
  member?: string;
  query?: QueryFields;
  after?: string;
  timeout_ms?: number;
  retry_ms?: number;
  tries_max?: number;
  limit?: number;
  wait_ms?: number;
  ids?: string[];
  delay_ms?: number;
  reason?: string;
  park?: boolean;
}

interface Vectors {
  events: { name: string; json: string; event: RecordFields }[];
  errors: {
    name: string;
    text: string;
    kind: string;
    stream: string | null;
    expected: number | "exists" | null;
    actual: number | null;
    unless?: number | null;
    event?: string | null;
    consumer?: string;
  }[];
  requests: RequestVector<Call>[];
  consumer_requests: RequestVector<ConsumerCall>[];
  consumers: { name: string; json: string; consumer: ConsumerFields }[];
  parked: { name: string; json: string; parked: ParkedFields }[];
}

/** What stands in the vectors for a request id that the client makes. */
export const FRESH_ULID = "<a fresh ULID>";
export const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

// From build/tests, where this runs.
export const vectors = JSON.parse(readFileSync(new URL("../../../vectors.json", import.meta.url), "utf8")) as Vectors;

export function recordedEvent(fields: RecordFields): RecordedEvent {
  const { causation_id: causationId, correlation_id: correlationId, added_at: addedAt, tags = [], ...same } = fields;
  return { ...same, causationId, correlationId, addedAt, tags };
}

export function newEvent(fields: EventFields): NewEvent {
  const { causation_id: causationId, correlation_id: correlationId, ...same } = fields;
  return { ...same, causationId, correlationId };
}

export function terms(fields: TermsFields): Terms {
  const { types, tags, correlation_id: correlationId, causation_id: causationId } = fields;
  return { types, tags, correlationId, causationId };
}

export function consumerQuery(fields: QueryFields): ConsumerQuery {
  return given({ stream: fields.stream, ...terms(fields) });
}

export function consumerStatus(fields: ConsumerFields): ConsumerStatus {
  return {
    name: fields.consumer,
    query: consumerQuery(fields.query),
    timeoutMs: fields.timeout_ms,
    retryMs: fields.retry_ms,
    triesMax: fields.tries_max,
    checkpoint: fields.checkpoint,
    lag: fields.lag,
    isLagWhole: fields.lag_is_whole,
    lagMs: fields.lag_ms,
    inFlight: fields.in_flight,
    members: fields.members,
    parked: fields.parked,
  };
}

export function parkedEvent(fields: ParkedFields): ParkedEvent {
  const { event, tries, parked_at: parkedAt, reason } = fields;
  return { event: recordedEvent(event), tries, parkedAt, reason };
}

/** An object without what is undefined. */
function given<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}
