/**
 * Each command as an exchange: the words a client sends, and how it reads the reply. Here those about the server;
 * appends.ts, reads.ts and consumers.ts have the others. None of them may know the Redis library.
 */

import { InvalidArgument } from "./errors.js";
import { integer, pair, text } from "./replies.js";

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
  /** It may do harm to repeat it when it may have been carried out. */
  readonly isOnce?: boolean;
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
