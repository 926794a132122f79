/** Against a real server: a subscription gives each event once and in order, over connections that break. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { EventflowClient, InvalidArgument, type NewEvent, type Subscription } from "../src/index.js";
import { liveServer } from "./live-server.js";
import { Proxy } from "./proxy.js";

const server = liveServer();
let client: EventflowClient;

before(async () => {
  client = await EventflowClient.connect(server);
});
after(() => client.close());

function tagged(tag: string, count: number, data = ""): NewEvent[] {
  return Array.from({ length: count }, (_, number) => ({ type: "A", data: `${number}${data}`, tags: [tag] }));
}

/** What the next events hold. */
async function next(subscription: Subscription, count: number): Promise<number[]> {
  const read: number[] = [];
  for await (const { data } of subscription) {
    if (read.push(parseInt(data, 10)) === count) {
      return read;
    }
  }
  return read;
}

function counted(count: number): number[] {
  return Array.from({ length: count }, (_, number) => number);
}

test("what is stored from now on comes, and what was stored before does not", async () => {
  const [stream, tag] = [randomUUID(), `tag:${randomUUID()}`];
  await client.add(stream, 0, tagged(tag, 3, " before"));
  const [byTag, byStream] = [await client.subscribe({ tags: [tag] }), await client.subscribe({ stream })];
  await client.add(stream, 3, tagged(tag, 5));
  assert.deepEqual(await next(byTag, 5), counted(5));
  assert.deepEqual(await next(byStream, 5), counted(5));
});

test("history comes first, from each kind of place", async () => {
  const [stream, tag] = [randomUUID(), `tag:${randomUUID()}`];
  const since = new Date();
  const stored = await client.add(stream, 0, tagged(tag, 5));
  for (const [place, first] of [
    [{ tags: [tag], offset: stored[1]!.id }, 1],
    [{ tags: [tag], after: stored[1]!.id }, 2],
    [{ tags: [tag], since }, 0],
    [{ stream, version: 3 }, 3],
    [{ stream, offset: stored[1]!.id }, 1],
    [{ stream, after: stored[1]!.id, types: ["A"] }, 2],
  ] as const) {
    assert.deepEqual(await next(await client.subscribe(place), 5 - first), counted(5).slice(first));
  }
});

test("a query that is wrong is refused", async () => {
  await assert.rejects(client.subscribe({ stream: "x" }), InvalidArgument);
  await assert.rejects(client.subscribe({ version: 1 }), InvalidArgument);
});

test("over connections that break at any moment each event comes once and in order", async (t) => {
  const proxy = await Proxy.start(server.host, server.port);
  t.after(() => proxy.stop());
  const reader = await EventflowClient.connect({ ...server, host: "127.0.0.1", port: proxy.port });
  t.after(() => reader.abort());
  const [stream, tag, count] = [randomUUID(), `tag:${randomUUID()}`, 3000];
  const subscription = await reader.subscribe({ tags: [tag] });
  let isOver = false;
  const writing = (async () => {
    const events = tagged(tag, count, " x".repeat(500));
    for (let version = 0; version < count; version += 10) {
      await client.add(stream, version, events.slice(version, version + 10));
      await sleep(2);
    }
  })();
  const cutting = (async () => {
    while (!isOver) {
      await sleep(Math.random() * 300);
      proxy.cut();
    }
  })();
  assert.deepEqual(await next(subscription, count), counted(count));
  isOver = true;
  await Promise.all([writing, cutting]);
});

test("a program that is slow gets everything, and holds little of it", async () => {
  const [stream, tag, count] = [randomUUID(), `tag:${randomUUID()}`, 60];
  const subscription = await client.subscribe({ tags: [tag] });
  const data = " x".repeat(250_000);
  for (let version = 0; version < count; version += 10) {
    await client.add(stream, version, tagged(tag, count, data).slice(version, version + 10));
  }
  await sleep(300);
  assert.ok(subscription.held < count / 2, `${subscription.held} events are held`);
  assert.deepEqual(await next(subscription, count), counted(count));
});
