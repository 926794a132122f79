/**
 * One stock Redis client for Node.js through the checks that ../README.md names: `node driver.mjs <client>`, where
 * <client> is ioredis-5, ioredis-6, node-redis-5 or node-redis-6, as package.json pins them.
 */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const CHECK_MS_MAX = 60_000;
const RECONNECT_MS_MAX = 30_000;
const TEXT = 'Zoë, 北京, 😀, שלום, \u0000\r\n"\\';

const {
  EVENTFLOWDB_HOST: host,
  EVENTFLOWDB_PORT: port,
  EVENTFLOWDB_PASSWORD: password,
  EVENTFLOWDB_RESP: resp,
} = process.env;

/** What all of a library's versions have in common, for the checks: connect, one command, many, close. */
const LIBRARIES = {
  async "node-redis"(name, onReady, onError) {
    const { createClient } = await import(name);
    const options = { socket: { host, port: Number(port) } };
    if (password) options.password = password;
    if (resp !== "default") options.RESP = Number(resp);
    const client = createClient(options);
    client.on("error", onError).on("ready", onReady);
    return {
      connect: () => client.connect(),
      send: (...words) => client.sendCommand(words),
      // It pipelines what is asked in one tick by itself.
      sendAll: (requests) => Promise.all(requests.map((words) => client.sendCommand(words))),
      end: () => client.destroy(),
      errorClass: (error) => error.constructor.name,
    };
  },

  async ioredis(name, onReady, onError) {
    const { Redis } = await import(name);
    const options = { host, port: Number(port), lazyConnect: true };
    if (password) options.password = password;
    if (resp !== "default" && name === "ioredis-6") options.protocol = Number(resp);
    const client = new Redis(options);
    client.on("error", onError).on("ready", onReady);
    return {
      async connect() {
        assert.ok(resp !== "3" || name === "ioredis-6", "this version of the library has no RESP3");
        await client.connect();
      },
      send: (command, ...words) => client.call(command, ...words),
      async sendAll(requests) {
        const pipeline = client.pipeline();
        for (const words of requests) pipeline.call(...words);
        return (await pipeline.exec()).map(([error, reply]) => {
          if (error) throw error;
          return reply;
        });
      },
      end: () => client.disconnect(),
      errorClass: (error) => error.name,
    };
  },
};

/** The checks, in order. Each returns what there is to say. `seen` is what they tell each other. */
const CHECKS = {
  async connect({ client }) {
    await client.connect();
    assert.equal(await client.send("PING"), "PONG");
  },

  async add({ client, seen }) {
    seen.stream = randomUUID();
    seen.texts = await add(client, seen.stream, 0, [
      { type: "A", data: TEXT },
      { type: "B", data: "", metadata: TEXT },
    ]);
    const [first, second] = seen.texts.map((text) => JSON.parse(text));
    assert.deepEqual([first.version, second.version, first.data, second.metadata], [0, 1, TEXT, TEXT]);
  },

  async read({ client, seen }) {
    assert.deepEqual(await client.send("GET", JSON.stringify({ stream: seen.stream })), seen.texts);
  },

  async page({ client }) {
    const events = Array.from({ length: 25 }, (_, number) => ({ type: "A", data: String(number) }));
    const added = (await add(client, randomUUID(), 0, events)).map(idOf);
    const met = [];
    for (let page = [""], after; page.length > 0; after = met.at(-1)) {
      page = await client.send("GETALL", JSON.stringify({ limit: 10, after }));
      met.push(...page.map(idOf));
    }
    assert.equal(new Set(met).size, met.length, "an id came twice");
    const known = new Set(added);
    assert.deepEqual(
      met.filter((id) => known.has(id)),
      added,
    );
    return `${met.length} events`;
  },

  async concurrency({ client, seen }) {
    const event = { type: "A", data: "" };
    const wrongVersion = await refusal(add(client, seen.stream, 0, [event]));
    const wrongField = await refusal(
      client.send("ADD", JSON.stringify({ stream: seen.stream, version: "2", events: [event] })),
    );
    assert.match(wrongVersion.message, new RegExp(`^CONCURRENCY stream=${seen.stream} expected=0 actual=2: `));
    assert.match(wrongField.message, /^INVALIDARG version: /);
    return `by text: the message of a ${client.errorClass(wrongVersion)} begins with CONCURRENCY or INVALIDARG`;
  },

  async too_large({ client, seen }) {
    const before = seen.connections;
    const error = await refusal(add(client, randomUUID(), 0, [{ type: "A", data: "x".repeat(2 << 20) }]));
    assert.match(error.message, /^INVALIDARG /);
    assert.equal(typeof (await client.send("EVENTCOUNT")), "number");
    assert.equal(seen.connections, before, "it has reconnected");
    return error.message;
  },

  async pipeline({ client }) {
    const stream = randomUUID();
    const requests = Array.from({ length: 500 }, (_, version) => [
      ["ADD", JSON.stringify({ stream, version, events: [{ type: "A", data: String(version) }] })],
      ["GET", JSON.stringify({ stream, version, limit: 1 })],
    ]).flat();
    const replies = await client.sendAll(requests);
    assert.equal(replies.length, 1000);
    for (let version = 0; version < 500; version += 1) {
      const [added, read] = replies.slice(2 * version);
      assert.deepEqual(read, added);
      assert.equal(JSON.parse(added[0]).version, version);
    }
  },

  async restart({ client, seen }) {
    const before = await client.send("EVENTCOUNT");
    print({ await: "restart" });
    await seen.line();
    const begin = performance.now();
    for (let failures = 0; ; failures += 1) {
      try {
        const after = await client.send("EVENTCOUNT");
        assert.ok(after >= before, `${after} events, ${before} before`);
        return `${failures} commands failed; answered after ${Math.round(performance.now() - begin)} ms`;
      } catch (error) {
        if (error instanceof assert.AssertionError || performance.now() - begin > RECONNECT_MS_MAX) throw error;
      }
      await sleep(100);
    }
  },
};

async function add(client, stream, version, events) {
  return client.send("ADD", JSON.stringify({ stream, version, events }));
}

async function refusal(request) {
  return request.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
}

function idOf(text) {
  return JSON.parse(text).id;
}

/** The version of RESP that the connection speaks, by the server's own word: HELLO alone changes nothing. */
async function spoken(client) {
  try {
    const facts = await client.send("HELLO");
    return String(Array.isArray(facts) ? facts[facts.indexOf("proto") + 1] : facts.proto);
  } catch (error) {
    return `unknown: ${error.message}`;
  }
}

async function within(milliseconds, promise) {
  const cut = new AbortController();
  const timeout = sleep(milliseconds, undefined, { signal: cut.signal }).then(() =>
    assert.fail(`no end after ${milliseconds} ms`),
  );
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    cut.abort();
    timeout.catch(ignore);
  }
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function ignore() {}

async function main(name) {
  const open = LIBRARIES[name?.replace(/-\d+$/, "")];
  const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
  const { version } = JSON.parse(await readFile(manifest, "utf8").catch(() => "{}"));
  if (open === undefined || version === undefined) {
    throw new Error(`usage: node driver.mjs ioredis-5|ioredis-6|node-redis-5|node-redis-6, after npm ci; got ${name}`);
  }
  const input = createInterface({ input: process.stdin });
  const seen = { connections: 0, line: () => new Promise((resolve) => input.once("line", resolve)) };
  const onReady = () => (seen.connections += 1);
  const client = await open(name, onReady, (error) => (seen.trouble = error));
  for (const [check, run] of Object.entries(CHECKS)) {
    try {
      // Whatever needs a connection would wait for one for as long as the library likes.
      assert.ok(check === "connect" || seen.connections > 0, "not connected");
      const detail = await within(CHECK_MS_MAX, run({ client, seen }));
      print({ check, ok: true, detail: detail ?? "" });
    } catch (error) {
      const trouble =
        seen.trouble === undefined ? "" : `; the connection: ${seen.trouble.message || seen.trouble.code}`;
      print({ check, ok: false, detail: `${error.message ?? error}${trouble}` });
    }
  }
  const speaks = seen.connections > 0 ? await within(CHECK_MS_MAX, spoken(client)).catch(String) : resp;
  print({ done: true, client: name.replace(/-\d+$/, ""), version, resp: speaks });
  client.end();
  input.close();
}

await main(process.argv[2]);
