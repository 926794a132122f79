/** What a subscription was sent, until the program takes it. */

import type { RecordedEvent } from "./events.js";

/** Of JSON, in characters. */
const FULL_SIZE = 4 << 20;

/** Events in the order they came: one side puts, the other takes. */
export class Inbox {
  #events: RecordedEvent[] = [];
  #size = 0;
  #isEnded = false;
  #error: unknown;
  #waiting: (() => void)[] = [];

  /** How many events there are. */
  get count(): number {
    return this.#events.length;
  }

  /** Whether there is so much that no more should come. */
  get isFull(): boolean {
    return this.#size >= FULL_SIZE;
  }

  /** Whether all was taken. */
  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  /** Whether nothing more will come. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** `size`: that of its JSON. Left out if nothing more was to come. */
  put(event: RecordedEvent, size: number): void {
    if (this.#isEnded) {
      return;
    }
    this.#events.push(event);
    this.#size += size;
    this.wake();
  }

  /** Nothing more will come: `take` says so, or throws the error, when it has given what is there. */
  end(error?: unknown): void {
    if (!this.#isEnded) {
      this.#isEnded = true;
      this.#error = error;
      this.wake();
    }
  }

  /** All that is there, at least one event; undefined: nothing more will come. */
  async take(): Promise<RecordedEvent[] | undefined> {
    while (this.isEmpty) {
      if (this.#error !== undefined) {
        throw this.#error;
      }
      if (this.#isEnded) {
        return undefined;
      }
      await this.change();
    }
    const events = this.#events;
    this.#events = [];
    this.#size = 0;
    this.wake();
    return events;
  }

  /** Resolves when something has changed. */
  change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** As if something had changed. */
  wake(): void {
    const waiting = this.#waiting;
    if (waiting.length > 0) {
      this.#waiting = [];
      waiting.forEach((resolve) => resolve());
    }
  }
}
