/** A client for EventflowDB. */

export { EventflowClient } from "./client.js";
export type { ConnectOptions, ReadAllOptions } from "./client.js";
export * from "./errors.js";
export type { NewEvent, RecordedEvent } from "./events.js";
export type { Checksum, GetAllOptions, GetOptions, Size } from "./exchanges.js";
