/** The client: one method per command, each a promise of typed values. */

import { setTimeout as sleep } from "node:timers/promises";

import type { AppendOptions, ExpectedVersion, StreamAppend } from "./appends.js";
import { Connection } from "./connection.js";
import { Connections } from "./connections.js";
import { InvalidArgument } from "./errors.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import * as exchanges from "./exchanges.js";
import type { Checksum, Exchange, GetAllOptions, GetOptions, Size } from "./exchanges.js";
import { Attempts } from "./retries.js";

const PAGE_DEFAULT = 1000;
const FOLLOW_WAIT_MS_DEFAULT = 20_000;
const OPTION_DEFAULTS = {
  host: "127.0.0.1",
  port: 6543,
  user: undefined,
  password: undefined,
  connectTimeoutMs: 10_000,
  replyTimeoutMs: 30_000,
  sendTimeoutMs: 30_000,
};

/** Where the server is, who asks, and how long to wait. */
export interface ConnectOptions {
  /** Default: 127.0.0.1 */
  readonly host?: string | undefined;
  /** Default: 6543 */
  readonly port?: number | undefined;
  /** Default: the server's `default` user. */
  readonly user?: string | undefined;
  /** Absent if the server asks for none. It is sent anew on every connection. */
  readonly password?: string | undefined;
  /** For one attempt. Default: 10 s */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * When nothing has come from the server for so long, not even the answer to a PING, the connection is closed and
   * what is under way fails with ConnectionLost. Default: 30 s
   */
  readonly replyTimeoutMs?: number | undefined;
  /** A request that could not be sent for so long, for want of a connection, fails with NotConnected. Default: 30 s */
  readonly sendTimeoutMs?: number | undefined;
}

/** Which part of the log, and how much of it at a time. */
export interface ReadAllOptions {
  /** ULID of the last event already seen; absent: from the beginning. */
  readonly after?: string | null | undefined;
  /** Events asked for, and held in memory, at a time. Default: 1000 */
  readonly page?: number | undefined;
}

/** Which part of the log, how much of it at a time, and how long one request waits for more. */
export interface FollowOptions extends ReadAllOptions {
  /** How long the server keeps one request when nothing comes. Default: 20 s */
  readonly waitMs?: number | undefined;
}

/**
 * A client of one server, on one connection. Made by `EventflowClient.connect`.
 *
 * Every promise may reject with: what the server refused, by its class, UnknownRefusal for a code that has none;
 * ConnectionLost if the connection went away before the reply came, so that nobody knows whether the request was
 * carried out; NotConnected if it was never sent; UnexpectedReply if the server does not answer as an EventflowDB
 * does; InvalidArgument already here for what JSON would change.
 *
 * What can do no harm is repeated, up to three times: when the server answers TRYAGAIN, and when the connection breaks
 * before the reply, a read and an append with a request id. Every append has one unless it is turned off: it is stored
 * once, and answered with what was stored.
 *
 * Requests are carried out in the order they were made; there is no need to wait for replies in between. Only one that
 * is repeated after a pause can be overtaken, and a read with `waitMs` has a connection to itself while it waits.
 */
export class EventflowClient {
  readonly #connections: Connections;

  /**
   * Resolves to a client that is connected, or rejects at once: with NotConnected if the server cannot be reached,
   * with WrongPassword or NotAuthenticated if it wants another password, with UnexpectedReply if it is none.
   *
   * A connection that is lost is made anew, for ever: after 0.1 s, then after pauses that grow to 2 s. What was under
   * way on it fails with ConnectionLost; what is asked meanwhile waits, up to `sendTimeoutMs`, and is then sent. If
   * the server no longer takes the password, or does not answer as an EventflowDB does, the client gives up, and all
   * requests fail with that.
   */
  static async connect(options: ConnectOptions = {}): Promise<EventflowClient> {
    exchanges.refuseUnknownFields("", options, Object.keys(OPTION_DEFAULTS));
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const all = { ...OPTION_DEFAULTS, ...Object.fromEntries(given) };
    return new EventflowClient(new Connections(await Connection.open(all), all));
  }

  private constructor(connections: Connections) {
    this.#connections = connections;
  }

  /** The message, or "PONG". */
  async ping(message?: string): Promise<string> {
    return this.#exchange(exchanges.ping(message));
  }

  /** The server's version, SemVer. */
  async version(): Promise<string> {
    return this.#exchange(exchanges.version);
  }

  /** How long the server has been running, in words. */
  async uptime(): Promise<string> {
    return this.#exchange(exchanges.uptime);
  }

  /** The size of the database: bytes, and the same in words. */
  async size(): Promise<Size> {
    return this.#exchange(exchanges.size);
  }

  /** How many events the log holds. */
  async eventCount(): Promise<number> {
    return this.#exchange(exchanges.eventCount);
  }

  /** How many streams there are. */
  async streamCount(): Promise<number> {
    return this.#exchange(exchanges.streamCount);
  }

  /** How many events the log held when the server last looked, about a second ago. */
  async eventCountEstimate(): Promise<number> {
    return this.#exchange(exchanges.eventCountEstimate);
  }

  /** How many streams there were when the server last looked, about a second ago. */
  async streamCountEstimate(): Promise<number> {
    return this.#exchange(exchanges.streamCountEstimate);
  }

  /** The latest event's id and the checksum of the log up to it; of an empty log, all zeros. */
  async checksum(): Promise<Checksum> {
    return this.#exchange(exchanges.checksum);
  }

  /**
   * Store events at the end of a stream, all or none. Resolves to them as stored, once they are on disk.
   *
   * `version` is how many events the stream holds already, 0 for a new one; "any", or "exists" for at least one.
   * Rejects with WrongExpectedVersion or UnlessMatched if a condition does not hold; with RequestConflict if the request
   * id was given to another append; with ConnectionLost when it is unknown whether they were stored.
   */
  async add(
    stream: string,
    version: ExpectedVersion,
    events: readonly NewEvent[],
    options?: AppendOptions,
  ): Promise<RecordedEvent[]> {
    return this.#exchange(exchanges.add(stream, version, events, options));
  }

  /**
   * Store events at the ends of several streams, all or none; otherwise as `add`. Resolves to all of them in order.
   * An append without events checks its stream and leaves it alone.
   */
  async addMany(appends: readonly StreamAppend[], options?: AppendOptions): Promise<RecordedEvent[]> {
    return this.#exchange(exchanges.addMany(appends, options));
  }

  /**
   * A stream's events after its first `version`, at most `limit`; absent or 0: all.
   * An empty array where there are none, also for a stream that does not exist.
   */
  async get(stream: string, options?: GetOptions): Promise<RecordedEvent[]> {
    return this.#exchange(exchanges.get(stream, options));
  }

  /**
   * Events in the order of the log, at most `limit` (absent or 0: 100). They begin with the event whose id is
   * `offset`, or behind the one whose id is `after`. Fewer than `limit` means that the log ended there.
   */
  async getAll(options?: GetAllOptions): Promise<RecordedEvent[]> {
    return this.#exchange(exchanges.getAll(options));
  }

  /**
   * Every event of the log behind the id `after`, in order, up to where the log ends when it gets there.
   *
   * To go on later, keep the id of the last event you are done with. Throws what `getAll` rejects with.
   */
  async *readAll(options: ReadAllOptions = {}): AsyncGenerator<RecordedEvent, void, void> {
    exchanges.refuseUnknownFields("", options, ["after", "page"]);
    const { page = PAGE_DEFAULT } = options;
    refuseNone("page", page);
    let after = options.after;
    let events: RecordedEvent[];
    do {
      events = await this.getAll({ after, limit: page });
      yield* events;
      after = events.at(-1)?.id;
    } while (events.length === page);
  }

  /**
   * As `readAll`, but it does not end: where the log ends it waits for more, and gives each event as it comes. Break
   * out of the loop to end it, or close the client.
   */
  async *follow(options: FollowOptions = {}): AsyncGenerator<RecordedEvent, never, void> {
    exchanges.refuseUnknownFields("", options, ["after", "page", "waitMs"]);
    const { page = PAGE_DEFAULT, waitMs = FOLLOW_WAIT_MS_DEFAULT } = options;
    refuseNone("page", page);
    refuseNone("waitMs", waitMs);
    let after = options.after;
    for (;;) {
      const events = await this.getAll({ after, limit: page, waitMs });
      yield* events;
      after = events.at(-1)?.id ?? after;
    }
  }

  /**
   * Close: requests already sent are still answered, but for reads that wait, others fail with NotConnected. Resolves
   * when all is closed.
   */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  /** Close at once: requests under way fail with ConnectionLost. */
  abort(): void {
    this.#connections.abort();
  }

  async #exchange<T>(exchange: Exchange<T>): Promise<T> {
    let attempts: Attempts | undefined;
    for (;;) {
      try {
        return exchange.decode(await this.#connections.request(exchange.words, exchange.waitMs));
      } catch (error) {
        attempts ??= new Attempts(exchange);
        const pause = attempts.pauseAfter(error);
        // Without a pause at once, and so in the order the requests were made.
        if (pause > 0) {
          await sleep(pause);
        }
      }
    }
  }
}

/** Throws InvalidArgument for what would ask for nothing, again and again. */
function refuseNone(path: string, number: number): void {
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new InvalidArgument(`${path}: expected an integer of at least 1, got ${number}`);
  }
}
