/**
 * A member of a consumer, who is given events and says what became of them.
 *
 * Theory of operation. FETCH goes over a connection of its own, on which it may wait; what became of events goes over
 * the client's. A FETCH whose connection breaks may have been answered with events that the server now counts as held:
 * so it is not repeated under the same name, which would be given the events behind those. The member takes another
 * name, and the lost events come again when their time is over, before those behind them. What was got before is
 * answered for under the name that it was got by.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { isList, refuseNone, refuseUnknownFields } from "./arguments.js";
import { reconnectMs, type Connection } from "./connection.js";
import type { Connections } from "./connections.js";
import { ack, extend, fetch, nack, release, type Checkpoint, type NackOptions } from "./consumers.js";
import { ClientClosed, ConnectionLost, EventflowError, NotConnected } from "./errors.js";
import type { RecordedEvent } from "./events.js";
import type { Exchange } from "./exchanges.js";
import { throwUnlessLost } from "./retries.js";
import { freshUlid } from "./ulids.js";

const LIMIT_DEFAULT = 100;
const WAIT_MS_DEFAULT = 20_000;
const NAME_LENGTH_MAX = 64;

/** Who is given events, and how many at a time. */
export interface MemberOptions {
  /** A name that nobody else uses at the same time: 1 to 64 letters, digits and ._:- Absent: a fresh one. */
  readonly member?: string | undefined;
  /** The most events to get, and hold, at a time, up to 1000. Default: 100 */
  readonly limit?: number | undefined;
  /** How long the server keeps one request when nothing comes. Default: 20 s */
  readonly waitMs?: number | undefined;
}

/** One event or several, or their ids. */
export type Fetched = RecordedEvent | string | readonly (RecordedEvent | string)[];

/**
 * A member of a consumer, made by `EventflowClient.consumer`. Iterated, it gives the events that the consumer gives to
 * this member, and does not end: say of each `ack` or `nack`, or it comes again. Break out of the loop, or `close`, to
 * end it and to give back what was not settled.
 *
 * A connection that is lost is made anew, for ever. An event may then come again, as it may after its time is over.
 */
export class Consumer implements AsyncIterable<RecordedEvent> {
  /** The consumer's name. */
  readonly name: string;
  readonly #connections: Connections;
  readonly #limit: number;
  readonly #waitMs: number;
  readonly #closing = new AbortController();
  /** By event: the name under which it was got. */
  readonly #members = new WeakMap<RecordedEvent, string>();
  #member: string;
  #connection: Connection | undefined;

  constructor(connections: Connections, name: string, options: MemberOptions) {
    refuseUnknownFields("", options, ["member", "limit", "waitMs"]);
    const { member = freshUlid(), limit = LIMIT_DEFAULT, waitMs = WAIT_MS_DEFAULT } = options;
    refuseNone("limit", limit);
    refuseNone("waitMs", waitMs);
    this.name = name;
    this.#connections = connections;
    this.#limit = limit;
    this.#waitMs = waitMs;
    this.#member = member;
  }

  /** The name of this member. It changes when it is not known whether a request for events was answered. */
  get member(): string {
    return this.#member;
  }

  /** The events one by one. Throws what the server refuses, such as NoSuchConsumer, and ClientClosed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RecordedEvent, void, void> {
    for await (const page of this.pages()) {
      for (const event of page) {
        if (this.#isClosed) {
          return;
        }
        yield event;
      }
    }
  }

  /** The events as they are got, at least one and up to `limit` at a time; to be settled by one `ack`. */
  async *pages(): AsyncGenerator<RecordedEvent[], void, void> {
    try {
      for (let page = await this.#next(); page !== undefined; page = await this.#next()) {
        yield page;
      }
    } finally {
      await this.close();
    }
  }

  /** These are done. Resolves to how many had not been acked; rejects with NotHeld if another member holds one. */
  async ack(fetched: Fetched): Promise<number> {
    return this.#settle(fetched, (member, ids) => ack(this.name, member, ids));
  }

  /**
   * These failed: they come again, after a delay, and those behind them in their streams only then; after so many
   * failures they are parked. Resolves to how many this member held.
   */
  async nack(fetched: Fetched, options?: NackOptions): Promise<number> {
    return this.#settle(fetched, (member, ids) => nack(this.name, member, ids, options));
  }

  /** These are still worked at: their time begins anew. Rejects with NotHeld if this member does not hold one. */
  async extend(fetched: Fetched): Promise<void> {
    await this.#settle(fetched, (member, ids) => extend(this.name, member, ids));
  }

  /** Give these back, as if they had not been given out. Resolves to how many this member held. */
  async release(fetched: Fetched): Promise<number> {
    return this.#settle(fetched, (member, ids) => release(this.name, member, ids));
  }

  /** For `add` and `addMany`: the append acks the event in the same step, or is refused with NotHeld. */
  checkpoint(event: RecordedEvent): Checkpoint {
    return { consumer: this.name, member: this.#memberOf(event), id: event.id };
  }

  /** End it: the iteration ends without an error, and what this member holds is given back. */
  async close(): Promise<void> {
    const hadConnection = this.#connection !== undefined;
    this.#closing.abort();
    this.#connection?.abort();
    this.#connection = undefined;
    if (hadConnection) {
      await this.#giveBack();
    }
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** What it holds comes again after its time anyway, so that it does no harm when this fails. */
  async #giveBack(): Promise<void> {
    try {
      await this.#connections.exchange(release(this.name, this.#member));
    } catch (error) {
      if (!(error instanceof EventflowError)) {
        throw error;
      }
    }
  }

  /** The next events, at least one; undefined: it was closed. */
  async #next(): Promise<RecordedEvent[] | undefined> {
    let attempts = 0;
    while (!this.#isClosed) {
      try {
        const events = await this.#fetch();
        if (events.length > 0) {
          return events;
        }
        attempts = 0;
      } catch (error) {
        if (!this.#isClosed) {
          throwUnlessLost(error);
          await this.#pause(reconnectMs(attempts));
        }
        attempts += 1;
      }
    }
    return undefined;
  }

  async #fetch(): Promise<RecordedEvent[]> {
    const connection = await this.#connected();
    const member = this.#member;
    const { words, decode } = fetch(this.name, member, this.#limit, this.#waitMs);
    try {
      const events = decode(await connection.request(words));
      events.forEach((event) => this.#members.set(event, member));
      return events;
    } catch (error) {
      if (error instanceof ConnectionLost && !(error instanceof NotConnected) && this.#member === member) {
        const ulid = freshUlid();
        this.#member = `${member.slice(0, NAME_LENGTH_MAX - ulid.length - 1)}:${ulid}`;
      }
      throw error;
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#connection === undefined || this.#connection.isEnded) {
      const connection = await this.#connections.open(this.#waitMs);
      if (this.#isClosed) {
        connection.abort();
        throw ClientClosed.because("the consumer was closed");
      }
      this.#connection = connection;
    }
    return this.#connection;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => {});
  }

  /** Answer for events, each under the name it was got by. Resolves to the sum of the replies. */
  async #settle(fetched: Fetched, say: (member: string, ids: string[]) => Exchange<number>): Promise<number> {
    const idsByMember = new Map<string, string[]>();
    for (const item of isList(fetched) ? fetched : [fetched]) {
      const [member, id] = typeof item === "string" ? [this.#member, item] : [this.#memberOf(item), item.id];
      const ids = idsByMember.get(member) ?? [];
      ids.push(id);
      idsByMember.set(member, ids);
    }
    const said = [...idsByMember].map(([member, ids]) => this.#connections.exchange(say(member, ids)));
    return (await Promise.all(said)).reduce((sum, count) => sum + count, 0);
  }

  #memberOf(event: RecordedEvent): string {
    return this.#members.get(event) ?? this.#member;
  }
}
