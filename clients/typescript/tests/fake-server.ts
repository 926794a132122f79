/** A server that a test scripts, on a TCP port of its own. */

import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

import { EventflowClient, type ConnectOptions } from "../src/index.js";

/** What the server does on a request: the reply to send, or undefined when it has seen to it itself. */
export type Answer = (words: string[], socket: Socket) => string | Buffer | undefined;

export const STREAM = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c";
export const HELLO = "%1\r\n$5\r\nproto\r\n:3\r\n";

export function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

export function array(...replies: string[]): string {
  return `*${replies.length}\r\n${replies.join("")}`;
}

/** The confirmation of SUBSCRIBE or UNSUBSCRIBE. */
export function confirmation(command: string, channel: string): string {
  return `>3\r\n${bulk(command.toLowerCase())}${bulk(channel)}:1\r\n`;
}

/** A message of a channel. */
export function message(channel: string, payload: string): string {
  return `>3\r\n${bulk("message")}${bulk(channel)}${bulk(payload)}`;
}

/** The JSON of one of many events of STREAM, whose id ends in its number. */
export function eventJson(number: number, data = ""): string {
  const id = `01KARS6Z4P${String(number).padStart(16, "0")}`;
  const place = { id, stream: STREAM, version: number - 1, position: number };
  const ids = { causation_id: id, correlation_id: id };
  return JSON.stringify({ ...place, type: "A", data, metadata: null, ...ids, added_at: "2025-11-23T19:23:14.123456Z" });
}

/** Accepts connections, and records what it is asked. */
export class FakeServer {
  /** The requests of all connections in the order they came, but for HELLO, CLIENT and PING. */
  readonly requests: string[][] = [];
  readonly hellos: string[][] = [];
  readonly sockets = new Set<Socket>();
  readonly #server: Server;
  #answer: Answer;

  /** HELLO, CLIENT and PING are answered as a server would, unless `answer` does. */
  static async start(answer: Answer): Promise<FakeServer> {
    const server = new FakeServer(answer);
    await server.listen(0);
    return server;
  }

  private constructor(answer: Answer) {
    this.#answer = answer;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The ADDs that came. */
  get adds(): string[][] {
    return this.requests.filter(([command]) => command === "ADD");
  }

  async listen(port: number): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  /** From now on. */
  answerBy(answer: Answer): void {
    this.#answer = answer;
  }

  connect(options: ConnectOptions = {}): Promise<EventflowClient> {
    return EventflowClient.connect({ host: "127.0.0.1", port: this.port, ...options });
  }

  /** Break all connections, and take no more if `listening` is false. */
  async stop(): Promise<void> {
    this.#server.close();
    this.sockets.forEach((socket) => socket.resetAndDestroy());
    await once(this.#server, "close");
  }

  #accept(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => {});
    let received = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      for (let request = take(received); request !== undefined; request = take(received)) {
        received = received.subarray(request.size);
        this.#requested(request.words, socket);
      }
    });
  }

  #requested([command, ...others]: string[], socket: Socket): void {
    const words = [command!.toUpperCase(), ...others];
    const usual = { HELLO, CLIENT: "+OK\r\n", PING: "+PONG\r\n" }[words[0]!];
    if (words[0] === "HELLO") {
      this.hellos.push(words);
    } else if (usual === undefined) {
      this.requests.push(words);
    }
    const reply = this.#answer(words, socket) ?? (socket.destroyed ? undefined : usual);
    if (reply !== undefined) {
      socket.write(reply);
    }
  }
}

/** The first whole request in the bytes, and how many of them it takes. */
function take(bytes: Buffer): { words: string[]; size: number } | undefined {
  let at = 0;
  const number = (): number | undefined => {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) {
      return undefined;
    }
    const value = Number(bytes.toString("latin1", at + 1, end));
    at = end + 2;
    return value;
  };
  const words: string[] = [];
  for (let left = number(); left !== 0; left -= 1) {
    const length = left === undefined ? undefined : number();
    if (left === undefined || length === undefined || bytes.length < at + length + 2) {
      return undefined;
    }
    words.push(bytes.toString("utf8", at, at + length));
    at += length + 2;
  }
  return { words, size: at };
}
