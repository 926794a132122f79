/** All connections of one client: the one for its requests, and one more for each read that waits at the moment. */

import { Connection, type ConnectionOptions } from "./connection.js";
import { ClientClosed } from "./errors.js";

/** A connection for reads that the server may keep for so long. */
interface Waiting {
  readonly waitMs: number;
  readonly connection: Connection;
}

/**
 * On the client's own connection a read that waits would keep what is behind it waiting as well, the PINGs too. Its
 * connection is made when it is needed, and kept for the next one.
 */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #own: Connection;
  readonly #waiting = new Set<Waiting>();
  readonly #idle: Waiting[] = [];
  #isClosed = false;

  constructor(own: Connection, options: ConnectionOptions) {
    this.#own = own;
    this.#options = options;
  }

  /** See Connection.request. The server may wait for `waitMs` before it replies. */
  request(words: readonly string[], waitMs = 0): Promise<unknown> {
    return waitMs === 0 || this.#isClosed ? this.#own.request(words) : this.#requestAndWait(words, waitMs);
  }

  /** See Connection.close; reads that wait do not wait on. */
  async close(): Promise<void> {
    this.#abortWaiting();
    await this.#own.close();
  }

  /** See Connection.abort. */
  abort(): void {
    this.#abortWaiting();
    this.#own.abort();
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
    const replyTimeoutMs = this.#options.replyTimeoutMs + waitMs;
    const connection = await Connection.open({ ...this.#options, replyTimeoutMs });
    if (this.#isClosed) {
      connection.abort();
      throw ClientClosed.because("the client was closed");
    }
    const waiting = { waitMs, connection };
    this.#waiting.add(waiting);
    return waiting;
  }

  #abortWaiting(): void {
    this.#isClosed = true;
    this.#waiting.forEach(({ connection }) => connection.abort());
    this.#waiting.clear();
  }
}
