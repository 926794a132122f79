/** The test vectors that all clients share, clients/vectors.json. */

import { readFileSync } from "node:fs";

import type { ExpectedVersion, NewEvent, RecordedEvent, Unless } from "../src/index.js";

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
  }[];
  requests: {
    name: string;
    command: string;
    argument: unknown;
    call: {
      method: "add" | "add_many" | "get" | "get_all";
      stream?: string;
      version?: ExpectedVersion;
      limit?: number;
      offset?: string;
      after?: string;
      wait_ms?: number;
      events?: EventFields[];
      appends?: AppendFields[];
      unless?: Unless[];
      request_id?: string | null;
    };
  }[];
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
