/** An event before it is stored and after: the two shapes that a program sees. */

/** An event as a writer gives it. `data` and `metadata` are text that the database does not look into. */
export interface NewEvent {
  /** 1 to 255 bytes of UTF-8. */
  readonly type: string;
  /** May be empty. */
  readonly data: string;
  /** Absent or null: none. An empty string is metadata. */
  readonly metadata?: string | null | undefined;
  /** ULID of the event that caused this one; absent: its own id. */
  readonly causationId?: string | null | undefined;
  /** ULID; absent: the correlation id of the event that caused this one, else the causation id. */
  readonly correlationId?: string | null | undefined;
  /** Up to 32, of 1 to 128 bytes of UTF-8, all different: what `unless` can name. */
  readonly tags?: readonly string[] | null | undefined;
}

/** An event as it is stored. Keys that a later server adds to its records are not among these. */
export interface RecordedEvent {
  /** ULID; ids grow strictly in the order of the log. */
  readonly id: string;
  /** UUID, lower case. */
  readonly stream: string;
  /** Place in its stream: 0, 1, 2 ... */
  readonly version: number;
  /** Place in the whole log: 1, 2, 3 ... without gaps. */
  readonly position: number;
  readonly type: string;
  readonly data: string;
  readonly metadata: string | null;
  readonly causationId: string;
  readonly correlationId: string;
  /** RFC 3339, UTC, microseconds. A string, since a Date holds milliseconds only. */
  readonly addedAt: string;
  /** As given; empty where there are none. */
  readonly tags: readonly string[];
}
