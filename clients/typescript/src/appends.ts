/** What a program hands to `add` and `addMany` besides events: conditions, several streams, a request id. */

import { randomBytes } from "node:crypto";

import type { NewEvent } from "./events.js";

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
}

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A ULID of now (github.com/ulid/spec): ids that grow make the server's index grow at its end. */
export function freshUlid(): string {
  const number = (BigInt(Date.now()) << 80n) | BigInt(`0x${randomBytes(10).toString("hex")}`);
  let text = "";
  for (let shift = 125n; shift >= 0n; shift -= 5n) {
    text += ALPHABET[Number((number >> shift) & 31n)];
  }
  return text;
}
