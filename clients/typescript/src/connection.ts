/**
 * The connection to the server, from node-redis: its framing of requests and replies, its reconnecting.
 *
 * What is kept from node-redis, and why:
 *
 * - Its offline queue: it writes what waits right behind the HELLO of a new connection, before it is known whether
 *   that was accepted, and when it was not it fails an ADD that the server may have stored with HELLO's refusal.
 *   Requests wait here instead, and go out when the connection is ready; so it is known which of them never left.
 * - Its close(): it waits for ever for replies if the server ends the connection first.
 * - Bytes that are no RESP: it forgets where it was and reads on, so that replies would go to the wrong requests.
 */

import { createClient, ErrorReply, SocketTimeoutError } from "@redis/client";

import { ClientClosed, ConnectionLost, NotConnected, UnexpectedReply, type EventflowError } from "./errors.js";
import { errorOf } from "./refusals.js";

type Redis = ReturnType<typeof openRedis>;

const RECONNECT_MS_FIRST = 100;
const RECONNECT_MS_MAX = 2_000;
const PINGS_PER_TIMEOUT = 3;

/** Where the server is, and how long to wait for it. */
export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly connectTimeoutMs: number;
  readonly replyTimeoutMs: number;
  readonly sendTimeoutMs: number;
}

/** A request that has not been sent yet. */
interface Waiting {
  readonly send: () => void;
  readonly fail: (error: EventflowError) => void;
}

/**
 * One connection, made anew when it is lost, unless it is for once. Requests go out in the order they were made, each
 * at most once.
 *
 * Once it is ended it connects no more, and all requests fail with what it ended by.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #isForOnce: boolean;
  readonly #redis: Redis;
  readonly #waiting = new Set<Waiting>();
  #wasReady = false;
  #ended: (() => EventflowError) | undefined;
  #lostBy: unknown;
  #tellEnded!: (error: EventflowError) => void;
  /** Resolves to what it ended by. */
  readonly ended = new Promise<EventflowError>((resolve) => (this.#tellEnded = resolve));

  /** Resolves when the server has taken the connection; rejects at once if it cannot be made. */
  static async open(options: ConnectionOptions, isForOnce = false): Promise<Connection> {
    const connection = new Connection(options, isForOnce);
    try {
      await connection.#redis.connect();
    } catch (error) {
      connection.#end(() => connection.#failureOf(error));
    }
    if (connection.#ended !== undefined) {
      connection.abort();
      throw connection.#ended();
    }
    return connection;
  }

  private constructor(options: ConnectionOptions, isForOnce: boolean) {
    this.#options = options;
    this.#isForOnce = isForOnce;
    this.#redis = openRedis(options, (retries, cause) => this.#reconnectDelay(retries, cause));
    this.#redis.on("ready", () => this.#ready());
    this.#redis.on("error", (error: unknown) => this.#errorMet(error));
  }

  /** Whether it is of no more use. */
  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** Send one request. Rejects with the error that the reply is, with NotConnected, or with ConnectionLost. */
  request(words: readonly string[]): Promise<unknown> {
    if (this.#ended !== undefined) {
      return Promise.reject(this.#ended());
    }
    return this.#redis.isReady ? this.#send(words) : this.#sendWhenReady(words);
  }

  /** Be told the messages of a channel, the first ones before this resolves. Rejects as `request`. For once only. */
  async subscribe(channel: string, tell: (message: string) => void): Promise<void> {
    await this.#settle(() => this.#redis.subscribe(channel, tell));
  }

  /** Resolves when no more messages of a channel will come: those on their way are told before. */
  async unsubscribe(channel: string): Promise<void> {
    await this.#settle(() => this.#redis.unsubscribe(channel));
  }

  /** Take no more requests, let the server answer those it has, then close. */
  async close(): Promise<void> {
    this.#end(() => ClientClosed.because("the client was closed"));
    if (this.#redis.isReady) {
      // Replies come in the order of requests: when this one is settled, all are.
      await this.#send(["PING"]).catch(() => {});
    }
    this.#redis.destroy();
  }

  /** Close at once: requests under way fail with ConnectionLost. */
  abort(): void {
    this.#end(() => ClientClosed.because("the client was closed"));
    this.#lostBy ??= new Error("the client was closed");
    this.#redis.destroy();
  }

  #send(words: readonly string[]): Promise<unknown> {
    return this.#settle(() => this.#redis.sendCommand(words));
  }

  /** Have node-redis send something, with our errors. */
  async #settle<T>(send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (error instanceof ErrorReply) {
        throw errorOf(error.message);
      }
      const lost = ConnectionLost.because(`the connection was lost: ${sentence(this.#lostBy ?? error)}`, error);
      lost.isOverdue = this.#lostBy instanceof SocketTimeoutError;
      throw lost;
    }
  }

  #sendWhenReady(words: readonly string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(waiting);
        const reason = `no connection to ${this.#where} for ${this.#options.sendTimeoutMs} ms`;
        reject(NotConnected.because(reason, this.#lostBy));
      }, this.#options.sendTimeoutMs);
      const waiting: Waiting = {
        send: () => {
          clearTimeout(timer);
          resolve(this.#send(words));
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiting.add(waiting);
    });
  }

  #ready(): void {
    if (this.#ended !== undefined) {
      // node-redis does not stop an attempt that is under way when it is destroyed.
      this.#redis.destroy();
      return;
    }
    this.#wasReady = true;
    this.#lostBy = undefined;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    // Within this one call, or a request made meanwhile would overtake them.
    waiting.forEach(({ send }) => send());
  }

  /** node-redis asks this after each connection that was lost or could not be made. False: give up. */
  #reconnectDelay(retries: number, cause: Error): number | false {
    this.#lostBy = cause;
    if (this.#ended !== undefined) {
      return false;
    }
    if (!this.#wasReady || (cause instanceof ErrorReply && !errorOf(cause.message).retryCanHelp)) {
      return this.#giveUp(() => this.#failureOf(cause));
    }
    if (this.#isForOnce) {
      return this.#giveUp(() => ConnectionLost.because(`the connection was lost: ${sentence(cause)}`, cause));
    }
    return reconnectMs(retries);
  }

  #giveUp(why: () => EventflowError): false {
    this.#end(why);
    // node-redis leaves its timer for pings running, which would keep the program from ending.
    queueMicrotask(() => this.#redis.destroy());
    return false;
  }

  /** All that is told here is told again to the requests it concerns, but for bytes that are no RESP. */
  #errorMet(error: unknown): void {
    if (isFromDecoder(error)) {
      const reason = `the server sent something that is no RESP: ${sentence(error)}`;
      this.#lostBy = new UnexpectedReply(reason, { cause: error });
      this.#end(() => new UnexpectedReply(reason, { cause: error }));
      this.#redis.destroy();
    }
  }

  /** Take no more requests and connect no more. Those under way are left alone. */
  #end(why: () => EventflowError): void {
    this.#ended ??= why;
    this.#tellEnded(this.#ended());
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    waiting.forEach(({ fail }) => fail(this.#ended!()));
  }

  #failureOf(error: unknown): EventflowError {
    return error instanceof ErrorReply
      ? errorOf(error.message)
      : NotConnected.because(`cannot connect to ${this.#where}: ${sentence(error)}`, error);
  }

  get #where(): string {
    return `${this.#options.host}:${this.#options.port}`;
  }
}

/** How long to wait before the attempt to connect that comes after so many others. */
export function reconnectMs(attempts: number): number {
  return Math.min(RECONNECT_MS_FIRST * 2 ** attempts, RECONNECT_MS_MAX) + Math.random() * RECONNECT_MS_FIRST;
}

function openRedis(options: ConnectionOptions, reconnectStrategy: (retries: number, cause: Error) => number | false) {
  return createClient({
    RESP: 3,
    socket: {
      host: options.host,
      port: options.port,
      connectTimeout: options.connectTimeoutMs,
      // Of silence; with the pings it is a peer that is gone, or a reply that takes too long.
      socketTimeout: options.replyTimeoutMs,
      reconnectStrategy,
    },
    pingInterval: Math.ceil(options.replyTimeoutMs / PINGS_PER_TIMEOUT),
    ...(options.user === undefined ? {} : { username: options.user }),
    ...(options.password === undefined ? {} : { password: options.password }),
    disableOfflineQueue: true,
    // None: it would bound the time in the offline queue, and cost each request a timer.
    commandOptions: { timeout: 0 },
    clientInfoTag: "eventflowdb",
    maintNotifications: "disabled",
  });
}

/** What node-redis's decoder throws comes as any other error, by the same event. */
function isFromDecoder(error: unknown): boolean {
  return (
    error instanceof TypeError ||
    error instanceof RangeError ||
    (error instanceof Error && error.message.startsWith("Unknown RESP type"))
  );
}

/** What failed, without the full stop: more words follow. Several addresses tried make an error without a message. */
function sentence(error: unknown): string {
  const { message, code } = error as { message?: string; code?: string };
  return (message || code || String(error)).replace(/\.$/, "");
}
