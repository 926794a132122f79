/**
 * All connections of one client: the one for its requests, one more for each request that waits at the moment, and
 * those of its subscriptions.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { Connection, type ConnectionOptions } from "./connection.js";
import { ClientClosed } from "./errors.js";
import type { Exchange } from "./exchanges.js";
import { Attempts } from "./retries.js";

/** A connection for requests that the server may keep for so long. */
interface Waiting {
  readonly waitMs: number;
  readonly connection: Connection;
}

/**
 * On the client's own connection a request that waits would keep what is behind it waiting as well, the PINGs too. Its
 * connection is made when it is needed, and kept for the next one.
 */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #own: Connection;
  readonly #waiting = new Set<Waiting>();
  readonly #idle: Waiting[] = [];
  readonly #apart = new Set<Connection>();
  #isClosed = false;

  constructor(own: Connection, options: ConnectionOptions) {
    this.#own = own;
    this.#options = options;
  }

  /** Have a request carried out, and repeat it where that can do no harm; see retries.ts. */
  async exchange<T>(exchange: Exchange<T>): Promise<T> {
    let attempts: Attempts | undefined;
    for (;;) {
      try {
        return exchange.decode(await this.#request(exchange.words, exchange.waitMs ?? 0));
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

  /**
   * A connection to be used apart from the others, on which the server may wait for `waitMs` before it replies. It is
   * not made anew when it is lost; the caller aborts it.
   */
  async open(waitMs = 0): Promise<Connection> {
    const connection = await this.#open(waitMs, true);
    this.#apart.add(connection);
    void connection.ended.then(() => this.#apart.delete(connection));
    return connection;
  }

  /** See Connection.close; requests that wait do not wait on, and subscriptions end. */
  async close(): Promise<void> {
    this.#abortOthers();
    await this.#own.close();
  }

  /** See Connection.abort. */
  abort(): void {
    this.#abortOthers();
    this.#own.abort();
  }

  /** See Connection.request. The server may wait for `waitMs` before it replies. */
  #request(words: readonly string[], waitMs: number): Promise<unknown> {
    return waitMs === 0 || this.#isClosed ? this.#own.request(words) : this.#requestAndWait(words, waitMs);
  }

  async #requestAndWait(words: readonly string[], waitMs: number): Promise<unknown> {
    const waiting = await this.#take(waitMs);
    try {
      return await waiting.connection.request(words);
    } finally {
      if (waiting.connection.isEnded) {
        this.#waiting.delete(waiting);
      } else {
        this.#idle.push(waiting);
      }
    }
  }

  async #take(waitMs: number): Promise<Waiting> {
    const idle = this.#idle.pop();
    if (idle !== undefined && idle.waitMs >= waitMs) {
      return idle;
    }
    if (idle !== undefined) {
      this.#waiting.delete(idle);
      idle.connection.abort();
    }
    const connection = await this.#open(waitMs);
    const waiting = { waitMs, connection };
    this.#waiting.add(waiting);
    return waiting;
  }

  async #open(waitMs: number, isForOnce = false): Promise<Connection> {
    const replyTimeoutMs = this.#options.replyTimeoutMs + waitMs;
    const connection = await Connection.open({ ...this.#options, replyTimeoutMs }, isForOnce);
    if (this.#isClosed) {
      connection.abort();
      throw ClientClosed.because("the client was closed");
    }
    return connection;
  }

  #abortOthers(): void {
    this.#isClosed = true;
    this.#waiting.forEach(({ connection }) => connection.abort());
    this.#waiting.clear();
    this.#apart.forEach((connection) => connection.abort());
  }
}
