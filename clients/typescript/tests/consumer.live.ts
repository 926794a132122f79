/** Against a real server: members of a consumer share the work, and nothing of it is lost or out of order. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  EventflowClient,
  InvalidArgument,
  NoSuchConsumer,
  NotHeld,
  type ConsumerOptions,
  type NewEvent,
  type RecordedEvent,
} from "../src/index.js";
import { liveServer } from "./live-server.js";
import { Proxy } from "./proxy.js";

const server = liveServer();
let client: EventflowClient;

before(async () => {
  client = await EventflowClient.connect(server);
});
after(() => client.close());

function numbered(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, number) => ({ type: "A", data: String(number) }));
}

/** The name of a new consumer of one stream, which ends with the test. */
async function made(t: TestContext, stream: string, options: ConsumerOptions = {}): Promise<string> {
  const name = `live-${randomUUID()}`;
  await client.createConsumer(name, { query: { stream }, ...options });
  t.after(() => client.deleteConsumer(name).catch(() => {}));
  return name;
}

async function statusOf(name: string): Promise<object | undefined> {
  return (await client.consumers()).find((consumer) => consumer.name === name);
}

test("a consumer is made, listed, and gone when it is deleted", async (t) => {
  const [stream, name] = [randomUUID(), `live-${randomUUID()}`];
  const options = { query: { stream, types: ["A"], tags: ["a"] }, after: "end", timeoutMs: 5000, triesMax: 3 };
  const made = await client.createConsumer(name, options);
  t.after(() => client.deleteConsumer(name).catch(() => {}));
  assert.deepEqual(made, { ...made, name, query: options.query, timeoutMs: 5000, triesMax: 3 });
  assert.deepEqual(await client.createConsumer(name, options), made);
  await assert.rejects(client.createConsumer(name, { ...options, triesMax: 4 }), InvalidArgument);
  assert.deepEqual(await statusOf(name), {
    ...made,
    lag: 0,
    isLagWhole: true,
    lagMs: 0,
    inFlight: 0,
    members: 0,
    parked: 0,
  });
  await client.deleteConsumer(name);
  assert.equal(await statusOf(name), undefined);
  await assert.rejects(client.deleteConsumer(name), NoSuchConsumer);
  await assert.rejects(client.consumer(name).pages().next(), NoSuchConsumer);
});

test("events that are acked do not come again, and the others do", async (t) => {
  const stream = randomUUID();
  const name = await made(t, stream);
  const stored = await client.add(stream, 0, numbered(5));
  const consumer = client.consumer(name);
  for await (const event of consumer) {
    assert.deepEqual(event, stored[event.version]);
    if (event.version === 2) {
      break;
    }
    assert.equal(await consumer.ack(event), 1);
  }
  const other = client.consumer(name, { limit: 2 });
  const read: number[] = [];
  for await (const page of other.pages()) {
    read.push(...page.map(({ version }) => version));
    assert.equal(await other.ack(page), page.length);
    assert.equal(await other.ack(page), 0);
    if (read.includes(4)) {
      break;
    }
  }
  assert.deepEqual(read, [2, 3, 4]);
  assert.deepEqual(await statusOf(name), { ...(await statusOf(name)), lag: 0, checkpoint: stored[4]!.id, members: 0 });
  assert.equal((await client.resetConsumer(name)).checkpoint, "0".repeat(26));
});

test("what fails comes again, is parked with its reason, and is replayed", async (t) => {
  const stream = randomUUID();
  const name = await made(t, stream, { triesMax: 2 });
  const [failing] = await client.add(stream, 0, numbered(2));
  const consumer = client.consumer(name, { limit: 1 });
  const seen: number[] = [];
  for await (const event of consumer) {
    seen.push(event.version);
    if (event.version === 1) {
      assert.equal(await consumer.nack(event, { park: true }), 1);
      break;
    }
    await consumer.extend(event);
    assert.equal(await consumer.nack(event, { delayMs: 1, reason: "cannot" }), 1);
  }
  assert.deepEqual(seen, [0, 0, 1]);
  const parked = await client.parkedEvents(name);
  assert.deepEqual(
    parked.map(({ event, tries, reason }) => [event.version, tries, reason]),
    [
      [0, 2, "cannot"],
      [1, 1, ""],
    ],
  );
  assert.deepEqual(parked[0]!.event, failing);
  assert.equal((await client.parkedEvents(name, { after: failing!.id, limit: 1 })).length, 1);
  assert.equal(await client.replayParked(name, [failing!.id]), 1);
  assert.equal(await client.replayParked(name), 1);
  const again = client.consumer(name);
  for await (const event of again) {
    await again.ack(event);
    if (event.version === 1) {
      break;
    }
  }
  assert.deepEqual(await client.parkedEvents(name), []);
});

test("an append acks the event that it is made of, if its member still holds it", async (t) => {
  const [stream, results] = [randomUUID(), randomUUID()];
  const name = await made(t, stream);
  await client.add(stream, 0, numbered(2));
  const consumer = client.consumer(name);
  for await (const event of consumer) {
    const checkpoint = consumer.checkpoint(event);
    await client.add(results, "any", [{ type: "Done", data: event.data }], { checkpoint });
    const again = client.add(results, "any", [{ type: "Done", data: event.data }], { checkpoint });
    await assert.rejects(again, (error) => error instanceof NotHeld && error.event === event.id);
    if (event.version === 1) {
      break;
    }
  }
  assert.deepEqual(
    (await client.get(results)).map(({ data }) => data),
    ["0", "1"],
  );
  assert.deepEqual(await statusOf(name), { ...(await statusOf(name)), lag: 0 });
});

test("members share the work over connections that break, and each stream stays in order", async (t) => {
  const proxy = await Proxy.start(server.host, server.port);
  t.after(() => proxy.stop());
  const [tag, count] = [`tag:${randomUUID()}`, 100];
  const name = await made(t, "", { query: { tags: [tag] }, timeoutMs: 1000 });
  const streams = Array.from({ length: 10 }, () => randomUUID());
  for (const stream of streams) {
    await client.add(stream, 0, numbered(count).map((event) => ({ ...event, tags: [tag] })));
  }
  const options = { ...server, host: "127.0.0.1", port: proxy.port };
  const workers = await Promise.all([1, 2, 3].map(() => EventflowClient.connect(options)));
  t.after(() => workers.forEach((worker) => worker.abort()));
  const consumers = workers.map((worker) => worker.consumer(name, { limit: 5, waitMs: 500 }));
  const worked: RecordedEvent[] = [];
  const working = consumers.map(async (consumer) => {
    for await (const event of consumer) {
      worked.push(event);
      await sleep(1);
      try {
        await consumer.ack(event);
      } catch (error) {
        assert.ok(error instanceof NotHeld, String(error));
      }
    }
  });
  let isOver = false;
  const cutting = (async () => {
    while (!isOver) {
      await sleep(Math.random() * 60);
      proxy.cut();
    }
  })();
  while (((await statusOf(name)) as { lag: number }).lag > 0) {
    await sleep(20);
  }
  isOver = true;
  await cutting;
  await Promise.all(consumers.map((consumer) => consumer.close()));
  await Promise.all(working);
  for (const stream of streams) {
    const versions = worked.filter((event) => event.stream === stream).map(({ version }) => version);
    // An event may come once more, but none before the one ahead of it came.
    const firsts = versions.filter((version, number) => versions.indexOf(version) === number);
    assert.deepEqual(
      firsts,
      Array.from({ length: count }, (_, number) => number),
    );
  }
});
