/** The test vectors that all clients share, clients/vectors.json. */

import { readFileSync } from "node:fs";

import type { NewEvent, RecordedEvent } from "../src/index.js";

interface EventFields {
  type: string;
  data: string;
  metadata?: string | null;
  causation_id?: string;
  correlation_id?: string;
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
}

interface Vectors {
  events: { name: string; json: string; event: RecordFields }[];
  errors: {
    name: string;
    text: string;
    kind: string;
    stream: string | null;
    expected: number | null;
    actual: number | null;
  }[];
  requests: {
    name: string;
    command: string;
    argument: unknown;
    call: {
      method: "add" | "get" | "get_all";
      stream?: string;
      version?: number;
      limit?: number;
      offset?: string;
      after?: string;
      events?: EventFields[];
    };
  }[];
}

// From build/tests, where this runs.
export const vectors = JSON.parse(readFileSync(new URL("../../../vectors.json", import.meta.url), "utf8")) as Vectors;

export function recordedEvent(fields: RecordFields): RecordedEvent {
  const { causation_id: causationId, correlation_id: correlationId, added_at: addedAt, ...same } = fields;
  return { ...same, causationId, correlationId, addedAt };
}

export function newEvent(fields: EventFields): NewEvent {
  const { causation_id: causationId, correlation_id: correlationId, ...same } = fields;
  return { ...same, causationId, correlationId };
}
