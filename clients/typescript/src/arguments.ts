/** Arguments as they are sent: JSON without what is absent, and without what the server would never see. */

import { inspect } from "node:util";

import { InvalidArgument } from "./errors.js";

/** Throws InvalidArgument for a field that the server would never see, so that a typing error shows. */
export function refuseUnknownFields(path: string, object: object, known: readonly string[]): void {
  for (const field of Object.keys(object)) {
    if (!known.includes(field)) {
      throw new InvalidArgument(`${path}${field}: unknown field; known are ${known.join(", ")}`);
    }
  }
}

/** JSON would make null, and so "absent", of NaN and the infinities; the rest the server would refuse too. */
export function refuseNoInteger(path: string, number: number | null | undefined): void {
  if (number !== null && number !== undefined && !(Number.isSafeInteger(number) && number >= 0)) {
    throw new InvalidArgument(
      `${path}: expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${inspect(number)}`,
    );
  }
}

/** Throws InvalidArgument for what would ask for nothing, again and again. */
export function refuseNone(path: string, number: number): void {
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new InvalidArgument(`${path}: expected an integer of at least 1, got ${number}`);
  }
}

/** JSON leaves out what is undefined, and to the server null means just that. */
export function absent<T>(value: T | null | undefined): T | undefined {
  return value ?? undefined;
}

/** Half a surrogate pair is written as an escape, and the server refuses it with the path. */
export function json(argument: object): string {
  try {
    return JSON.stringify(argument);
  } catch (error) {
    throw new InvalidArgument(`the argument cannot be written as JSON: ${String(error)}`, { cause: error });
  }
}

/** A command whose argument may be left out. */
export function wordsOf(command: string, argument: object): string[] {
  const text = json(argument);
  return text === "{}" ? [command] : [command, text];
}

/** Array.isArray does not see a readonly array. */
export function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}
