/** The real server that live tests talk to: EVENTFLOWDB_ADDR (host:port) and EVENTFLOWDB_PASSWORD (absent: none). */

import type { ConnectOptions } from "../src/index.js";

/** Throws without an address: a live test that finds no server has failed. */
export function liveServer(): ConnectOptions & { host: string; port: number } {
  const address = process.env["EVENTFLOWDB_ADDR"] ?? "";
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  if (host === undefined) {
    throw new Error(`EVENTFLOWDB_ADDR: expected host:port of a running server, got "${address}"`);
  }
  return { host, port: Number(port), password: process.env["EVENTFLOWDB_PASSWORD"] || undefined };
}
