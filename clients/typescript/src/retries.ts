/**
 * Whether a request that failed is sent again, and when.
 *
 * Only what cannot do harm is repeated: a read, what comes to the same when it is done twice, an append with a request
 * id, and whatever the server answered TRYAGAIN, which says that nothing was stored.
 */

import {
  ClientClosed,
  CommandRefused,
  ConditionFailed,
  ConnectionLost,
  EventflowError,
  InvalidArgument,
  NotConnected,
  RequestConflict,
  TryAgain,
} from "./errors.js";
import type { Exchange } from "./exchanges.js";

/** Before each attempt after the first. The first one waits for a connection by itself. */
const PAUSES_MS = [0, 500, 1500];
const TRYAGAIN_MS_MIN = 200;
/** Refusals that an append gets only after its request id was looked up, or whatever happened to an earlier attempt. */
const SETTLING = [ConditionFailed, RequestConflict, InvalidArgument, CommandRefused];

/** The attempts at one exchange. `pauseAfter` is told of each that failed. */
export class Attempts {
  readonly #exchange: Exchange<unknown>;
  #failed = 0;
  #lost: ConnectionLost | undefined;

  constructor(exchange: Exchange<unknown>) {
    this.#exchange = exchange;
  }

  /** Milliseconds until the next attempt. Throws what the request fails with if there is to be none. */
  pauseAfter(error: unknown): number {
    if (error instanceof ConnectionLost && !(error instanceof NotConnected)) {
      this.#lost = error;
    }
    const pause = this.#mayBeRepeated(error) ? PAUSES_MS[this.#failed] : undefined;
    this.#failed += 1;
    if (pause === undefined) {
      throw this.#outcome(error);
    }
    return error instanceof TryAgain ? Math.max(pause, TRYAGAIN_MS_MIN) : pause;
  }

  #mayBeRepeated(error: unknown): boolean {
    if (error instanceof NotConnected) {
      // It has waited for a connection already.
      return false;
    }
    if (error instanceof ConnectionLost) {
      const { isAppend, requestId, isOnce } = this.#exchange;
      return !error.isOverdue && !isOnce && (!isAppend || requestId !== undefined);
    }
    return error instanceof TryAgain;
  }

  /** An append that may have been stored by an earlier attempt is not said not to be. */
  #outcome(error: unknown): unknown {
    const lost = this.#lost;
    if (lost === undefined || !this.#exchange.isAppend || SETTLING.some((kind) => error instanceof kind)) {
      return error;
    }
    lost.requestId = this.#exchange.requestId ?? null;
    return lost;
  }
}

/** Throws what another connection would not mend either: all but a lost one, and a server that has no time. */
export function throwUnlessLost(error: unknown): void {
  const isLost = error instanceof ConnectionLost && !(error instanceof ClientClosed);
  if (!isLost && !(error instanceof EventflowError && error.retryCanHelp)) {
    throw error;
  }
}
