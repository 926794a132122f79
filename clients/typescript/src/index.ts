/** A client for EventflowDB. */

export type { AppendOptions, ExpectedVersion, StreamAppend, Unless } from "./appends.js";
export { EventflowClient } from "./client.js";
export type { ConnectOptions } from "./client.js";
export type { Consumer, Fetched, MemberOptions } from "./consumer.js";
export type {
  Checkpoint,
  ConsumerOptions,
  ConsumerQuery,
  ConsumerStatus,
  ConsumerSummary,
  NackOptions,
  ParkedEvent,
  ParkedOptions,
} from "./consumers.js";
export * from "./errors.js";
export type { NewEvent, RecordedEvent } from "./events.js";
export type { Checksum, Size } from "./exchanges.js";
export type { FollowOptions, ReadAllOptions, ReadStreamOptions } from "./paging.js";
export type {
  Filter,
  GetAllOptions,
  GetOptions,
  Page,
  ReadOptions,
  StreamsOptions,
  StreamSummary,
  SubscribeOptions,
  Terms,
  TypesOptions,
  TypeSummary,
} from "./reads.js";
export type { Subscription } from "./subscription.js";
