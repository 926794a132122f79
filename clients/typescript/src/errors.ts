/**
 * The one tree of errors: what the server refuses, each class with its wire code, and a client's own conditions.
 * The names are those of the Python client.
 */

/** Anything EventflowDB refuses or fails at. `message` is the sentence without the code. */
export class EventflowError extends Error {
  static {
    this.prototype.name = "EventflowError";
  }
  readonly code: string = "ERR";
  /** Whether the same request, sent once more, can succeed without harm. */
  readonly retryCanHelp: boolean = false;
}

/** The request is not a command as the server has it: unknown, or with the wrong arguments. */
export class CommandRefused extends EventflowError {
  static {
    this.prototype.name = "CommandRefused";
  }
}

/** The argument does not parse, or a field of it is wrong; the text names the path. */
export class InvalidArgument extends EventflowError {
  static {
    this.prototype.name = "InvalidArgument";
  }
  override readonly code = "INVALIDARG";
}

/** A condition of an append does not hold; nothing of it was stored. */
export class ConditionFailed extends EventflowError {
  static {
    this.prototype.name = "ConditionFailed";
  }
  override readonly code = "CONCURRENCY";
}

/** What a WrongExpectedVersion says; null where the reply did not say it. */
export interface VersionConflict {
  readonly stream: string | null;
  readonly expected: number | "exists" | null;
  readonly actual: number | null;
}

/** The stream does not hold as many events as the append expected. Nothing was stored. */
export class WrongExpectedVersion extends ConditionFailed {
  static {
    this.prototype.name = "WrongExpectedVersion";
  }
  /** UUID, lower case. */
  readonly stream: string | null;
  /** The number of events that the append expected; "exists": at least one. */
  readonly expected: number | "exists" | null;
  /** The number of events that the stream holds. */
  readonly actual: number | null;

  constructor(message: string, conflict: VersionConflict) {
    super(message);
    this.stream = conflict.stream;
    this.expected = conflict.expected;
    this.actual = conflict.actual;
  }
}

/** What an UnlessMatched says; null where the reply did not say it. */
export interface UnlessMatch {
  readonly unless: number | null;
  readonly event: string | null;
}

/** The log holds an event that the append's `unless` rules out. Nothing was stored. */
export class UnlessMatched extends ConditionFailed {
  static {
    this.prototype.name = "UnlessMatched";
  }
  /** The index of the item that matches. */
  readonly unless: number | null;
  /** ULID of the first such event. */
  readonly event: string | null;

  constructor(message: string, match: UnlessMatch) {
    super(message);
    this.unless = match.unless;
    this.event = match.event;
  }
}

/** What a NotHeld says; null where the reply did not say it. */
export interface Missed {
  readonly consumer: string | null;
  readonly event: string | null;
}

/** The member of a consumer does not hold the event that it would ack, or not any more. Nothing was stored. */
export class NotHeld extends ConditionFailed {
  static {
    this.prototype.name = "NotHeld";
  }
  /** The consumer's name. */
  readonly consumer: string | null;
  /** ULID of the event. */
  readonly event: string | null;

  constructor(message: string, missed: Missed) {
    super(message);
    this.consumer = missed.consumer;
    this.event = missed.event;
  }
}

/** There is no consumer of this name. */
export class NoSuchConsumer extends EventflowError {
  static {
    this.prototype.name = "NoSuchConsumer";
  }
  override readonly code = "NOCONSUMER";
}

/** The request id was used before, for an append with other content; nothing was stored. */
export class RequestConflict extends EventflowError {
  static {
    this.prototype.name = "RequestConflict";
  }
  override readonly code = "CONFLICT";
}

/** The connection has to authenticate first: give `connect` the password. */
export class NotAuthenticated extends EventflowError {
  static {
    this.prototype.name = "NotAuthenticated";
  }
  override readonly code = "NOAUTH";
}

/** The password is wrong, or the user unknown. */
export class WrongPassword extends EventflowError {
  static {
    this.prototype.name = "WrongPassword";
  }
  override readonly code = "WRONGPASS";
}

/** The user may not run this command. */
export class NotPermitted extends EventflowError {
  static {
    this.prototype.name = "NotPermitted";
  }
  override readonly code = "NOPERM";
}

/** Shutting down or overloaded: nothing was stored, and a retry is safe. */
export class TryAgain extends EventflowError {
  static {
    this.prototype.name = "TryAgain";
  }
  override readonly code = "TRYAGAIN";
  override readonly retryCanHelp = true;
}

/** The disk or the map is full, or free space is under the floor: nothing was stored; reads go on. */
export class StoreFull extends EventflowError {
  static {
    this.prototype.name = "StoreFull";
  }
  override readonly code = "OOM";
}

/** Stored bytes do not match their checksum. */
export class CorruptRecord extends EventflowError {
  static {
    this.prototype.name = "CorruptRecord";
  }
  override readonly code = "CORRUPT";
}

/** An error reply with a code that this client does not know. `message` is the whole text. */
export class UnknownRefusal extends EventflowError {
  static {
    this.prototype.name = "UnknownRefusal";
  }
  override readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The connection went away before the reply came: the request may or may not have been carried out.
 *
 * The client has repeated already what it may. A read can be repeated, and an append with the same request id: it is
 * stored once, and answered the same. An append without one is refused with WrongExpectedVersion if it was stored, or,
 * at "any" version, stored twice: read the stream first.
 */
export class ConnectionLost extends EventflowError {
  static {
    this.prototype.name = "ConnectionLost";
  }
  override readonly code: string = "CONNECTIONLOST";
  /** Whether nothing came from the server in time. */
  isOverdue = false;
  /** Of the append that failed, to repeat it with; null if it had none, or was no append. */
  requestId: string | null = null;

  /** The condition in words, with what it means for the request. */
  static because(reason: string, cause?: unknown): ConnectionLost {
    return new ConnectionLost(
      `${reason}; the request may or may not have been carried out: ` +
        "repeat an append with the same request id, or read its stream and see whether it was stored",
      cause === undefined ? {} : { cause },
    );
  }
}

/** There was no connection to send the request on: it never left, and repeating it is safe. */
export class NotConnected extends ConnectionLost {
  static {
    this.prototype.name = "NotConnected";
  }
  override readonly code: string = "NOTCONNECTED";
  override readonly retryCanHelp: boolean = true;

  /** The condition in words; here the outcome is known. */
  static override because(reason: string, cause?: unknown): NotConnected {
    return new NotConnected(`${reason}; nothing was sent`, cause === undefined ? {} : { cause });
  }
}

/** The program has closed this client before: nothing was sent. */
export class ClientClosed extends NotConnected {
  static {
    this.prototype.name = "ClientClosed";
  }
  override readonly code = "CLIENTCLOSED";
  override readonly retryCanHelp = false;

  static override because(reason: string): ClientClosed {
    return new ClientClosed(`${reason}; nothing was sent`);
  }
}

/** The server's bytes are not RESP, or not the reply that the command has: another server, or another version. */
export class UnexpectedReply extends EventflowError {
  static {
    this.prototype.name = "UnexpectedReply";
  }
  override readonly code = "UNEXPECTEDREPLY";
}
