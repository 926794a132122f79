/** The client: one method per command, each a promise of typed values. */

import * as appending from "./appends.js";
import type { AppendOptions, ExpectedVersion, StreamAppend } from "./appends.js";
import { refuseUnknownFields } from "./arguments.js";
import { Connection } from "./connection.js";
import { Connections } from "./connections.js";
import { Consumer, type MemberOptions } from "./consumer.js";
import * as consuming from "./consumers.js";
import type { ConsumerOptions, ConsumerStatus, ConsumerSummary, ParkedEvent, ParkedOptions } from "./consumers.js";
import type { NewEvent, RecordedEvent } from "./events.js";
import * as exchanges from "./exchanges.js";
import type { Checksum, Exchange, Size } from "./exchanges.js";
import * as paging from "./paging.js";
import type { FollowOptions, ReadAllOptions, ReadStreamOptions } from "./paging.js";
import * as reads from "./reads.js";
import type {
  GetAllOptions,
  GetOptions,
  Page,
  StreamsOptions,
  StreamSummary,
  SubscribeOptions,
  TypesOptions,
  TypeSummary,
} from "./reads.js";
import { Subscription } from "./subscription.js";

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
    refuseUnknownFields("", options, Object.keys(OPTION_DEFAULTS));
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
   * Rejects with WrongExpectedVersion or UnlessMatched if a condition does not hold; with RequestConflict if the
   * request id was given to another append; with ConnectionLost when it is unknown whether they were stored.
   */
  async add(
    stream: string,
    version: ExpectedVersion,
    events: readonly NewEvent[],
    options?: AppendOptions,
  ): Promise<RecordedEvent[]> {
    return this.#exchange(appending.add(stream, version, events, options));
  }

  /**
   * Store events at the ends of several streams, all or none; otherwise as `add`. Resolves to all of them in order.
   * An append without events checks its stream and leaves it alone.
   */
  async addMany(appends: readonly StreamAppend[], options?: AppendOptions): Promise<RecordedEvent[]> {
    return this.#exchange(appending.addMany(appends, options));
  }

  /**
   * Events of a stream that meet all that the options say, in order or backwards; all of them, with a filter 100 unless
   * `limit` says otherwise. An empty array where there are none, also for a stream that does not exist.
   *
   * With `cursor` the server may stop its search before there are `limit`, and the page says where to go on.
   */
  get(stream: string, options: GetOptions & { readonly cursor: true }): Promise<Page>;
  get(stream: string, options?: GetOptions & { readonly cursor?: false | null | undefined }): Promise<RecordedEvent[]>;
  async get(stream: string, options?: GetOptions): Promise<RecordedEvent[] | Page> {
    return this.#exchange(reads.get(stream, options));
  }

  /**
   * Events of the log that meet all that the options say, in order or backwards, at most `limit` (absent or 0: 100).
   * They begin with the event whose id is `offset`, or behind the one whose id is `after`. Fewer than `limit` means
   * that there are no more. `cursor`: as in `get`.
   */
  getAll(options: GetAllOptions & { readonly cursor: true }): Promise<Page>;
  getAll(options?: GetAllOptions & { readonly cursor?: false | null | undefined }): Promise<RecordedEvent[]>;
  async getAll(options?: GetAllOptions): Promise<RecordedEvent[] | Page> {
    return this.#exchange(reads.getAll(options));
  }

  /** The event of an id; null if there is none. */
  async event(id: string): Promise<RecordedEvent | null> {
    return this.#exchange(reads.event(id));
  }

  /** What can be told of a stream without reading it; null if it holds no events. */
  async stream(id: string): Promise<StreamSummary | null> {
    return this.#exchange(reads.stream(id));
  }

  /** Streams in the order of their first events; with terms those with events that meet them, by their first such. */
  async streams(options?: StreamsOptions): Promise<StreamSummary[]> {
    return this.#exchange(reads.streams(options));
  }

  /** Event types in the order of their names. */
  async types(options?: TypesOptions): Promise<TypeSummary[]> {
    return this.#exchange(reads.types(options));
  }

  /**
   * Every event of the log that meets all that the options say, in order or backwards, up to where the log ends when it
   * gets there; a page at a time.
   *
   * To go on later, keep the id of the last event you are done with. Throws what `getAll` rejects with.
   */
  readAll(options: ReadAllOptions = {}): AsyncGenerator<RecordedEvent, void, void> {
    return paging.readAll(this.#connections, options);
  }

  /** As `readAll`, of one stream. */
  readStream(stream: string, options: ReadStreamOptions = {}): AsyncGenerator<RecordedEvent, void, void> {
    return paging.readStream(this.#connections, stream, options);
  }

  /**
   * As `readAll`, but it does not end: where the log ends it waits for more, and gives each event as it comes, by one
   * request after the other. Break out of the loop to end it, or close the client. See also `subscribe`.
   */
  follow(options: FollowOptions = {}): AsyncGenerator<RecordedEvent, never, void> {
    return paging.follow(this.#connections, options);
  }

  /**
   * Have events sent as they are stored: those that meet all that the options say, from a place on (`after`, `offset`,
   * `since`, or `version` of a stream), or else from now on. Resolves to an async iterable of them when the server has
   * taken it: none is missing of those that are stored then.
   *
   * Rejects, or throws while it is iterated, with what the server refuses. A connection that is lost is made anew, for
   * ever, and the iteration goes on behind the last event that came: in order, none missing, and none twice. Whoever
   * iterates slowly is sent no more than he takes. It has a connection of its own.
   */
  async subscribe(options: SubscribeOptions = {}): Promise<Subscription> {
    return Subscription.begin(this.#connections, options);
  }

  /**
   * A member of a consumer, to be iterated: `for await (const event of client.consumer("send-mail"))`.
   *
   * The consumer has to be there: see `createConsumer`. The member has a connection of its own.
   */
  consumer(name: string, options: MemberOptions = {}): Consumer {
    return new Consumer(this.#connections, name, options);
  }

  /**
   * Make a consumer, of which the server remembers how far it has come. The same once more changes nothing; with
   * another query or other options it rejects with InvalidArgument.
   */
  async createConsumer(name: string, options?: ConsumerOptions): Promise<ConsumerSummary> {
    return this.#exchange(consuming.createConsumer(name, options));
  }

  /** All consumers, and how they are getting on. */
  async consumers(): Promise<ConsumerStatus[]> {
    return this.#exchange(consuming.listConsumers);
  }

  /** Forget a consumer. Rejects with NoSuchConsumer if there is none. */
  async deleteConsumer(name: string): Promise<void> {
    await this.#exchange(consuming.deleteConsumer(name));
  }

  /** Have a consumer begin anew: at the "beginning" of the log (the default), its "end", or behind an event's id. */
  async resetConsumer(name: string, after?: string): Promise<ConsumerSummary> {
    return this.#exchange(consuming.resetConsumer(name, after));
  }

  /** The events of a consumer that failed too often. */
  async parkedEvents(name: string, options?: ParkedOptions): Promise<ParkedEvent[]> {
    return this.#exchange(consuming.parked(name, options));
  }

  /** Have parked events given out again, those of these ids or all. Resolves to how many. */
  async replayParked(name: string, ids?: readonly string[]): Promise<number> {
    return this.#exchange(consuming.replay(name, ids));
  }

  /**
   * Close: requests already sent are still answered, but for those that wait, others fail with NotConnected. Resolves
   * when all is closed. Close consumers before, so that what they hold is given back.
   */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  /** Close at once: requests under way fail with ConnectionLost. */
  abort(): void {
    this.#connections.abort();
  }

  #exchange<T>(exchange: Exchange<T>): Promise<T> {
    return this.#connections.exchange(exchange);
  }
}
