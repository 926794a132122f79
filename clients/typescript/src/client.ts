/** The client: one method per command, each a promise of typed values. */

import { Connection } from "./connection.js";
import { InvalidArgument } from "./errors.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import * as exchanges from "./exchanges.js";
import type { Checksum, Exchange, GetAllOptions, GetOptions, Size } from "./exchanges.js";

const PAGE_DEFAULT = 1000;
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

/**
 * A client of one server, on one connection. Made by `EventflowClient.connect`.
 *
 * Every promise may reject with: what the server refused, by its class, UnknownRefusal for a code that has none;
 * ConnectionLost if the connection went away before the reply came, so that nobody knows whether the request was
 * carried out; NotConnected if it was never sent; UnexpectedReply if the server does not answer as an EventflowDB
 * does; InvalidArgument already here for what JSON would change. Nothing is ever sent a second time.
 *
 * Requests are carried out in the order they were made; there is no need to wait for replies in between.
 */
export class EventflowClient {
  readonly #connection: Connection;

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
    return new EventflowClient(await Connection.open({ ...OPTION_DEFAULTS, ...Object.fromEntries(given) }));
  }

  private constructor(connection: Connection) {
    this.#connection = connection;
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
   * `version` is how many events the stream holds already, 0 for a new one. Rejects with WrongExpectedVersion if it
   * holds another number; with ConnectionLost when it is unknown whether they were stored.
   */
  async add(stream: string, version: number, events: readonly NewEvent[]): Promise<RecordedEvent[]> {
    return this.#exchange(exchanges.add(stream, version, events));
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
    if (!Number.isSafeInteger(page) || page < 1) {
      throw new InvalidArgument(`page: expected an integer of at least 1, got ${page}`);
    }
    let after = options.after;
    let events: RecordedEvent[];
    do {
      events = await this.getAll({ after, limit: page });
      yield* events;
      after = events.at(-1)?.id;
    } while (events.length === page);
  }

  /** Close: requests already sent are still answered, others fail with NotConnected. Resolves when all is closed. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** Close at once: requests under way fail with ConnectionLost. */
  abort(): void {
    this.#connection.abort();
  }

  async #exchange<T>(exchange: Exchange<T>): Promise<T> {
    return exchange.decode(await this.#connection.request(exchange.words));
  }
}
