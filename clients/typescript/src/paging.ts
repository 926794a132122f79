/** Reads of any length, a page at a time. */

import { refuseNone, refuseUnknownFields } from "./arguments.js";
import type { Connections } from "./connections.js";
import type { RecordedEvent } from "./events.js";
import type { Exchange } from "./exchanges.js";
import {
  FILTER_FIELDS,
  get,
  getAll,
  hasFilter,
  type Filter,
  type GetAllOptions,
  type GetOptions,
  type Page,
} from "./reads.js";

const PAGE_DEFAULT = 1000;
const FOLLOW_WAIT_MS_DEFAULT = 20_000;

/** Which events, in which order, and how many of them at a time. */
interface PagedOptions extends Filter {
  /** The last one first. Which events are meant is said in the order of the log nonetheless. */
  readonly backwards?: boolean | null | undefined;
  /** Events asked for, and held in memory, at a time. Default: 1000 */
  readonly page?: number | undefined;
}

/** Which part of the log. */
export interface ReadAllOptions extends PagedOptions {
  /** ULID of the event to begin with; absent: from the beginning, or behind `after`. */
  readonly offset?: string | null | undefined;
}

/** Which part of a stream. */
export interface ReadStreamOptions extends PagedOptions {
  /** How many events of the stream to skip; absent: none. */
  readonly version?: number | null | undefined;
}

/** Which events, how many of them at a time, and how long one request waits for more. */
export interface FollowOptions extends Filter {
  /** Events asked for, and held in memory, at a time. Default: 1000 */
  readonly page?: number | undefined;
  /** How long the server keeps one request when nothing comes. Default: 20 s */
  readonly waitMs?: number | undefined;
}

/** What one request asks for. */
type Part = GetAllOptions & GetOptions & { readonly cursor?: boolean | undefined };

/** See EventflowClient.readAll. */
export async function* readAll(
  connections: Connections,
  options: ReadAllOptions,
): AsyncGenerator<RecordedEvent, void, void> {
  refuseUnknownFields("", options, ["offset", "backwards", "page", ...FILTER_FIELDS]);
  yield* pages(connections, getAll, options, ({ id }) => ({ after: id }));
}

/** See EventflowClient.readStream. */
export async function* readStream(
  connections: Connections,
  stream: string,
  options: ReadStreamOptions,
): AsyncGenerator<RecordedEvent, void, void> {
  refuseUnknownFields("", options, ["version", "backwards", "page", ...FILTER_FIELDS]);
  // By versions, which the server finds at once.
  const behind = ({ version }: RecordedEvent): Part => ({ version: version + 1 });
  yield* pages(connections, (part) => get(stream, part), options, behind);
}

/** See EventflowClient.follow. */
export async function* follow(
  connections: Connections,
  options: FollowOptions,
): AsyncGenerator<RecordedEvent, never, void> {
  refuseUnknownFields("", options, ["page", "waitMs", ...FILTER_FIELDS]);
  const { page = PAGE_DEFAULT, waitMs = FOLLOW_WAIT_MS_DEFAULT, ...filter } = options;
  refuseNone("page", page);
  refuseNone("waitMs", waitMs);
  let { after } = filter;
  for (;;) {
    const read = getAll({ ...filter, after, limit: page, waitMs });
    const events = (await connections.exchange(read)) as RecordedEvent[];
    yield* events;
    after = events.at(-1)?.id ?? after;
  }
}

async function* pages(
  connections: Connections,
  read: (part: Part) => Exchange<RecordedEvent[] | Page>,
  options: ReadAllOptions & ReadStreamOptions,
  behind: (event: RecordedEvent) => Part,
): AsyncGenerator<RecordedEvent, void, void> {
  const { page: limit = PAGE_DEFAULT, ...range } = options;
  refuseNone("page", limit);
  const { offset, ...others } = range;
  // A search for few events can be long, and is told of in between; other reads are faster without a cursor.
  const isSearch = hasFilter(range) || Boolean(range.backwards);
  let part: Part = range;
  for (;;) {
    const reply = await connections.exchange(read({ ...part, limit, cursor: isSearch || undefined }));
    const { events, cursor } = Array.isArray(reply) ? { events: reply, cursor: null } : reply;
    yield* events;
    if (cursor !== null) {
      part = range.backwards ? { ...range, before: cursor } : { ...others, after: cursor };
    } else if (!isSearch && events.length === limit) {
      part = { ...others, ...behind(events.at(-1)!) };
    } else {
      return;
    }
  }
}
