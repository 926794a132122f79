/**
 * A subscription that outlives its connections.
 *
 * Theory of operation. It has a connection to itself, on which it subscribes to one channel. When that is lost it makes
 * another, and subscribes behind the last event that came: which is what the server promises to go on from. A
 * subscription to what comes "from now on" begins behind the event that was the last one then, so that it has such a
 * place from the beginning. node-redis cannot be told to read more slowly; so when a program is slow it unsubscribes,
 * and subscribes again where it was when all that has come is taken.
 *
 * A server that cannot read an event closes the connection, and node-redis does not tell what it said before. So where
 * a connection has given nothing, some events are read by an ordinary request: it gives them, or says what is wrong.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { reconnectMs, type Connection } from "./connection.js";
import type { Connections } from "./connections.js";
import { ClientClosed } from "./errors.js";
import type { RecordedEvent } from "./events.js";
import { checksum } from "./exchanges.js";
import { Inbox } from "./inbox.js";
import { get, getAll, subscriptionQuery, type SubscribeOptions } from "./reads.js";
import { recordedEvent } from "./replies.js";
import { throwUnlessLost } from "./retries.js";
import { ulidBefore } from "./ulids.js";

/** Each may be as large as a request. */
const READ_LIMIT = 20;

/**
 * Events as they come, made by `EventflowClient.subscribe`: in the order of the log, none missing and none twice,
 * however often the connection is lost. To be iterated once; it begins when it is made, and ends when the iteration
 * does.
 *
 * The iteration throws, after what has come before, ClientClosed when the client is closed, CorruptRecord at an event
 * that the server cannot read, and what it refuses otherwise, such as the password.
 */
export class Subscription implements AsyncIterable<RecordedEvent> {
  readonly #connections: Connections;
  /** What is asked for as long as nothing has come. */
  readonly #options: SubscribeOptions;
  readonly #inbox = new Inbox();
  readonly #closing = new AbortController();
  readonly #events: AsyncGenerator<RecordedEvent, void, void>;
  #connection: Connection | undefined;
  #channel = "";
  #lastId: string | undefined;
  /** When the connection was made. */
  #lastIdBefore: string | undefined;

  /** Resolves when the server sends what comes; rejects if it does not take the query, or cannot be reached. */
  static async begin(connections: Connections, options: SubscribeOptions): Promise<Subscription> {
    const subscription = new Subscription(connections, await withPlace(connections, options));
    const connection = await subscription.#connect();
    void subscription.#run(connection);
    return subscription;
  }

  private constructor(connections: Connections, options: SubscribeOptions) {
    this.#connections = connections;
    this.#options = options;
    this.#events = this.#take();
  }

  [Symbol.asyncIterator](): AsyncGenerator<RecordedEvent, void, void> {
    return this.#events;
  }

  /** How many events have come that were not iterated yet. */
  get held(): number {
    return this.#inbox.count;
  }

  /** End it: the iteration ends without an error, and leaves out what has come but was not iterated. */
  close(): void {
    this.#closing.abort();
    this.#inbox.end();
    this.#connection?.abort();
  }

  async *#take(): AsyncGenerator<RecordedEvent, void, void> {
    try {
      for (let events = await this.#inbox.take(); events !== undefined; events = await this.#inbox.take()) {
        for (const event of events) {
          if (this.#closing.signal.aborted) {
            return;
          }
          yield event;
        }
      }
    } finally {
      this.close();
    }
  }

  /** Have events come until it is closed, or cannot go on. */
  async #run(connection: Connection): Promise<void> {
    try {
      for (;;) {
        throwUnlessLost(await this.#stay(connection));
        connection.abort();
        connection = await this.#connectAgain();
      }
    } catch (error) {
      this.#inbox.end(error);
    } finally {
      this.#connection?.abort();
    }
  }

  /** Let events come as fast as they are taken. Resolves to why no more come over this connection. */
  async #stay(connection: Connection): Promise<unknown> {
    void connection.ended.then(() => this.#inbox.wake());
    try {
      for (;;) {
        await this.#until(connection, () => this.#inbox.isFull);
        await connection.unsubscribe(this.#channel);
        await this.#until(connection, () => this.#inbox.isEmpty);
        await this.#subscribe(connection);
      }
    } catch (error) {
      return error;
    }
  }

  async #until(connection: Connection, holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (connection.isEnded) {
        throw await connection.ended;
      }
      if (this.#inbox.isEnded) {
        throw ClientClosed.because("the subscription has ended");
      }
      await this.#inbox.change();
    }
  }

  async #connectAgain(): Promise<Connection> {
    for (let attempts = 0; ; attempts += 1) {
      await sleep(reconnectMs(attempts), undefined, { signal: this.#closing.signal });
      try {
        if (this.#lastId === this.#lastIdBefore) {
          await this.#read();
        }
        return await this.#connect();
      } catch (error) {
        throwUnlessLost(error);
      }
    }
  }

  async #connect(): Promise<Connection> {
    const connection = await this.#connections.open();
    try {
      this.#closing.signal.throwIfAborted();
      this.#connection = connection;
      this.#lastIdBefore = this.#lastId;
      await this.#subscribe(connection);
    } catch (error) {
      connection.abort();
      throw error;
    }
    return connection;
  }

  async #subscribe(connection: Connection): Promise<void> {
    this.#channel = subscriptionQuery(this.#query);
    await connection.subscribe(this.#channel, (message) => this.#put(message));
  }

  /** Nothing may be thrown or closed here: node-redis is in the middle of what it has received. */
  #put(message: string): void {
    try {
      const event = recordedEvent(message);
      this.#inbox.put(event, message.length);
      this.#lastId = event.id;
    } catch (error) {
      this.#inbox.end(error);
    }
  }

  /** Get the next events by an ordinary request. */
  async #read(): Promise<void> {
    const { stream, version, offset, ...filter } = this.#query;
    const read = stream
      ? get(stream, { ...filter, version, limit: READ_LIMIT })
      : getAll({ ...filter, offset, limit: READ_LIMIT });
    for (const event of (await this.#connections.exchange(read)) as RecordedEvent[]) {
      this.#inbox.put(event, event.data.length);
      this.#lastId = event.id;
    }
  }

  /** What is asked for now. */
  get #query(): SubscribeOptions {
    const { version, offset, ...others } = this.#options;
    return this.#lastId === undefined ? this.#options : { ...others, after: this.#lastId };
  }
}

/** The options, with a place from which events can be read more than once, also by GET. */
async function withPlace(connections: Connections, options: SubscribeOptions): Promise<SubscribeOptions> {
  subscriptionQuery(options);
  const { stream, version, offset, after, since } = options;
  // Asked for in any case: it waits for a connection as other requests do.
  const { eventId } = await connections.exchange(checksum);
  if ((version ?? offset ?? after ?? since ?? null) === null) {
    return { ...options, after: eventId };
  }
  const before = stream && offset && !after ? ulidBefore(offset) : undefined;
  return before === undefined ? options : { ...options, offset: undefined, after: before };
}
