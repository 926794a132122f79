/** Error replies become the errors of the one tree, with nothing of the text lost. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as errors from "../src/errors.js";
import { errorOf } from "../src/refusals.js";
import { vectors } from "./vectors.js";

const CLASS_BY_KIND: Record<string, abstract new (...args: never[]) => errors.EventflowError> = {
  concurrency: errors.WrongExpectedVersion,
  unless_matched: errors.UnlessMatched,
  not_held: errors.NotHeld,
  no_such_consumer: errors.NoSuchConsumer,
  request_conflict: errors.RequestConflict,
  invalid_argument: errors.InvalidArgument,
  not_authenticated: errors.NotAuthenticated,
  wrong_password: errors.WrongPassword,
  not_permitted: errors.NotPermitted,
  try_again: errors.TryAgain,
  store_full: errors.StoreFull,
  corrupt: errors.CorruptRecord,
};
const OTHERS = [errors.EventflowError, errors.CommandRefused, errors.UnknownRefusal];

for (const { name, text, kind, stream, expected, actual, unless, event, consumer } of vectors.errors) {
  test(`an error reply becomes an error: ${name}`, () => {
    const error = errorOf(text);
    const classes = kind === "other" ? OTHERS : [CLASS_BY_KIND[kind]];
    assert.ok(
      classes.some((known) => error.constructor === known),
      error.name,
    );
    assert.ok(text.endsWith(error.message));
    if (error instanceof errors.WrongExpectedVersion) {
      assert.deepEqual({ ...error }, { ...error, stream, expected, actual });
    }
    if (error instanceof errors.UnlessMatched) {
      assert.deepEqual({ ...error }, { ...error, unless, event });
    }
    if (error instanceof errors.NotHeld) {
      assert.deepEqual({ ...error }, { ...error, consumer, event });
    }
    assert.equal(error instanceof errors.ConditionFailed, text.startsWith("CONCURRENCY"));
  });
}

test("Redis's own sentences for what is no command are told apart from other errors", () => {
  for (const sentence of ["unknown command 'X'", "wrong number of arguments for 'add' command", "syntax error"]) {
    assert.equal(errorOf(`ERR ${sentence}`).constructor, errors.CommandRefused);
  }
  assert.equal(errorOf("ERR Protocol error: invalid bulk length").constructor, errors.EventflowError);
});

test("what consumers are refused is told apart", () => {
  const sentence = "consumer=send-mail event=01KARS6Z4P0000000000000001: this member does not hold the event";
  const error = errorOf(`CONCURRENCY ${sentence}`);
  assert.ok(error instanceof errors.NotHeld && error instanceof errors.ConditionFailed);
  assert.deepEqual([error.consumer, error.event], ["send-mail", "01KARS6Z4P0000000000000001"]);
  assert.equal(error.message, sentence);
  const short = errorOf("CONCURRENCY consumer=c: x");
  assert.ok(short instanceof errors.NotHeld && short.event === null);
  assert.equal(errorOf("NOCONSUMER there is no consumer x").constructor, errors.NoSuchConsumer);
});

test("an unknown code can be read from the error", () => {
  const error = errorOf("READONLY this server follows another");
  assert.equal(error.code, "READONLY");
  assert.equal(error.message, "READONLY this server follows another");
  assert.equal(errorOf("no code at all").code, "ERR");
  assert.equal(errorOf("").message, "");
});

test("every class says its own name, and a code that the others do not have", () => {
  const classes = Object.entries(errors).filter(([, value]) => typeof value === "function");
  const made = classes.map(([name, kind]) => {
    const error = new (kind as new (text: string, more: object) => errors.EventflowError)("text", {});
    assert.equal(error.name, name);
    return error;
  });
  // The two conditions of an append share one.
  const others = made.filter((error) => !(error instanceof errors.ConditionFailed));
  const codes = others.map(({ code }) => code).filter((code) => code !== undefined && code !== "ERR");
  assert.equal(new Set(codes).size, codes.length);
  assert.match(String(errorOf("OOM the disk is full")), /^StoreFull: the disk is full$/);
});

test("a lost connection says that the outcome is unknown, and an unsent request that it is known", () => {
  const lost = errors.ConnectionLost.because("the cable was cut");
  assert.match(lost.message, /may or may not have been carried out/);
  assert.equal(lost.retryCanHelp, false);
  const unsent = errors.NotConnected.because("no server");
  assert.equal(unsent.message, "no server; nothing was sent");
  assert.equal(unsent.retryCanHelp, true);
  assert.ok(unsent instanceof errors.ConnectionLost);
  const closed = errors.ClientClosed.because("the client was closed");
  assert.equal(closed.retryCanHelp, false);
  assert.ok(closed instanceof errors.NotConnected);
});
