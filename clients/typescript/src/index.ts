/** A client for EventflowDB. */

export type { AppendOptions, ExpectedVersion, StreamAppend, Unless } from "./appends.js";
export { EventflowClient } from "./client.js";
export type { ConnectOptions, FollowOptions, ReadAllOptions } from "./client.js";
export * from "./errors.js";
export type { NewEvent, RecordedEvent } from "./events.js";
export type { Checksum, GetAllOptions, GetOptions, Size } from "./exchanges.js";
