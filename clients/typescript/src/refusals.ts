/** The server's error replies as errors. */

import {
  CommandRefused,
  type ConditionFailed,
  CorruptRecord,
  EventflowError,
  InvalidArgument,
  NoSuchConsumer,
  NotAuthenticated,
  NotHeld,
  NotPermitted,
  RequestConflict,
  StoreFull,
  TryAgain,
  UnknownRefusal,
  UnlessMatched,
  WrongExpectedVersion,
  WrongPassword,
} from "./errors.js";

type Refusal = new (message: string) => EventflowError;

const CLASS_BY_CODE: ReadonlyMap<string, Refusal> = new Map<string, Refusal>([
  ["INVALIDARG", InvalidArgument],
  ["NOAUTH", NotAuthenticated],
  ["WRONGPASS", WrongPassword],
  ["NOPERM", NotPermitted],
  ["TRYAGAIN", TryAgain],
  ["OOM", StoreFull],
  ["CORRUPT", CorruptRecord],
  ["CONFLICT", RequestConflict],
  ["NOCONSUMER", NoSuchConsumer],
]);
const CODE = /^[A-Z][A-Z0-9_]*$/;
/** How Redis's own sentences begin that say the request is no command of the server. */
const COMMAND_REFUSAL = /^(unknown (sub)?command|wrong number of arguments|syntax error)/;
/** Redis's sentence for this has no code of its own; what it asks for is what TRYAGAIN asks for. */
const TOO_MANY_CLIENTS = "max number of clients reached";

/** The error for an error reply; `text` is the reply as it came, without the leading `-`. */
export function errorOf(text: string): EventflowError {
  const [code, sentence] = partition(text, " ");
  if (code === "CONCURRENCY") {
    return conditionFailed(sentence);
  }
  const known = CLASS_BY_CODE.get(code);
  if (known !== undefined) {
    return new known(sentence);
  }
  if (code === "ERR") {
    return errorWithoutCode(sentence);
  }
  return CODE.test(code) ? new UnknownRefusal(text, code) : new EventflowError(text);
}

function errorWithoutCode(sentence: string): EventflowError {
  if (COMMAND_REFUSAL.test(sentence)) {
    return new CommandRefused(sentence);
  }
  return sentence.startsWith(TOO_MANY_CLIENTS) ? new TryAgain(sentence) : new EventflowError(sentence);
}

/** `key=value ...: sentence`. A value that is not understood, and a key not known here, stay in the text alone. */
function conditionFailed(sentence: string): ConditionFailed {
  const words = partition(sentence, ": ")[0].split(" ");
  const pairs = new Map(words.map((word) => partition(word, "=")));
  if (pairs.get("unless")) {
    return new UnlessMatched(sentence, { unless: findNumber(pairs.get("unless")), event: pairs.get("event") || null });
  }
  if (pairs.get("consumer")) {
    return new NotHeld(sentence, { consumer: pairs.get("consumer")!, event: pairs.get("event") || null });
  }
  return new WrongExpectedVersion(sentence, {
    stream: pairs.get("stream") || null,
    expected: pairs.get("expected") === "exists" ? "exists" : findNumber(pairs.get("expected")),
    actual: findNumber(pairs.get("actual")),
  });
}

function findNumber(text = ""): number | null {
  return /^[0-9]+$/.test(text) ? Number(text) : null;
}

/** A text up to the first separator, and after it. */
function partition(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
