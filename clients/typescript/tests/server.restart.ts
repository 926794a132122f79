/** Servers that are killed and started again: each event comes once and in order, and is worked off exactly once. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ConnectionLost, EventflowClient, NotHeld, TryAgain, type Subscription } from "../src/index.js";
import { OwnServer } from "./own-server.js";

const RESTARTS = 4;

/** Tries an append until its outcome is known. */
async function untilKnown<T>(append: (requestId?: string) => Promise<T>): Promise<T> {
  let requestId: string | undefined;
  for (;;) {
    try {
      return await append(requestId);
    } catch (error) {
      if (!(error instanceof ConnectionLost || error instanceof TryAgain)) {
        throw error;
      }
      requestId = (error as ConnectionLost).requestId ?? requestId;
    }
  }
}

/** Adds one event after the other, each once, until it is told to stop; returns how many. */
async function write(client: EventflowClient, stream: string, isOver: () => boolean): Promise<number> {
  let version = 0;
  for (; !isOver(); version += 1) {
    const events = [{ type: "A", data: String(version) }];
    await untilKnown((requestId) => client.add(stream, version, events, { requestId }));
  }
  return version;
}

async function read(subscription: Subscription, isLast: (count: number) => boolean): Promise<string[]> {
  const data: string[] = [];
  for await (const event of subscription) {
    data.push(event.data);
    if (isLast(data.length)) {
      break;
    }
  }
  return data;
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`a subscription outlives servers that end by ${signal}`, async (t) => {
    const server = await OwnServer.start(t);
    const [writer, reader] = [
      await EventflowClient.connect({ port: server.port }),
      await EventflowClient.connect({ port: server.port }),
    ];
    t.after(() => [writer, reader].forEach((client) => client.abort()));
    const stream = randomUUID();
    const subscriptions = [await reader.subscribe(), await reader.subscribe({ stream, types: ["A", "B"] })];
    let isOver = false;
    let count: number | undefined;
    const reading = subscriptions.map((subscription) => read(subscription, (length) => length === count));
    const writing = write(writer, stream, () => isOver);
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      await sleep(200 + Math.random() * 300);
      await server.restart(signal);
    }
    await sleep(500);
    isOver = true;
    const written = await writing;
    count = written + 1;
    await writer.add(stream, written, [{ type: "B", data: String(written) }]);
    for (const data of await Promise.all(reading)) {
      assert.deepEqual(
        data,
        Array.from({ length: count }, (_, version) => String(version)),
      );
    }
    assert.ok(count > RESTARTS, `${count} events`);
  });
}

test("what members of a consumer make of events, they make exactly once, though servers are killed", async (t) => {
  const server = await OwnServer.start(t);
  const clients = await Promise.all([1, 2, 3].map(() => EventflowClient.connect({ port: server.port })));
  t.after(() => clients.forEach((client) => client.abort()));
  const [writer, ...workers] = clients as [EventflowClient, EventflowClient, EventflowClient];
  await writer.createConsumer("copy", { query: { types: ["A"] }, timeoutMs: 1000 });
  const sources = [randomUUID(), randomUUID(), randomUUID()];
  const copies = new Map<string, string>(sources.map((source) => [source, randomUUID()]));
  const consumers = workers.map((client) => client.consumer("copy", { limit: 5, waitMs: 1000 }));
  const working = consumers.map(async (consumer, number) => {
    for await (const event of consumer) {
      const copied = [{ type: "Copied", data: event.data }];
      const checkpoint = consumer.checkpoint(event);
      try {
        await untilKnown((requestId) =>
          workers[number]!.add(copies.get(event.stream)!, "any", copied, { requestId, checkpoint }),
        );
      } catch (error) {
        // Another one has it by now, or will.
        assert.ok(error instanceof NotHeld, String(error));
      }
    }
  });
  let isOver = false;
  const writing = sources.map((source) => write(writer, source, () => isOver));
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    await sleep(200 + Math.random() * 300);
    await server.restart("SIGKILL");
  }
  isOver = true;
  const counts = await Promise.all(writing);
  while ((await writer.consumers())[0]!.lag > 0) {
    await sleep(50);
  }
  await Promise.all(consumers.map((consumer) => consumer.close()));
  await Promise.all(working);
  for (const [number, source] of sources.entries()) {
    const copied = await writer.get(copies.get(source)!);
    assert.deepEqual(
      copied.map(({ data }) => data),
      Array.from({ length: counts[number]! }, (_, version) => String(version)),
    );
  }
});
