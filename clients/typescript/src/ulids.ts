/** ULIDs in their text form, github.com/ulid/spec. */

import { randomBytes } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;

/** A ULID of now: ids that grow make the server's index grow at its end. */
export function freshUlid(): string {
  return ulidOf((BigInt(Date.now()) << 80n) | BigInt(`0x${randomBytes(10).toString("hex")}`));
}

/** The greatest ULID below one; undefined where there is none, or what is given is no ULID. */
export function ulidBefore(ulid: string): string | undefined {
  if (!ULID.test(ulid)) {
    return undefined;
  }
  const number = [...ulid.toUpperCase()].reduce((sum, digit) => (sum << 5n) | BigInt(ALPHABET.indexOf(digit)), 0n);
  return number === 0n ? undefined : ulidOf(number - 1n);
}

function ulidOf(number: bigint): string {
  let text = "";
  for (let shift = 125n; shift >= 0n; shift -= 5n) {
    text += ALPHABET[Number((number >> shift) & 31n)];
  }
  return text;
}
