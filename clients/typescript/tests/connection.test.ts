/** Over connections that break, go silent or talk nonsense: nothing unsafe is sent twice, and each request ends. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  ConnectionLost,
  EventflowClient,
  InvalidArgument,
  NotAuthenticated,
  NotConnected,
  TryAgain,
  UnexpectedReply,
  UnknownRefusal,
  WrongPassword,
  type ConnectOptions,
  type NewEvent,
} from "../src/index.js";
import { array, bulk, eventJson, FakeServer, HELLO, STREAM, type Answer } from "./fake-server.js";

const EVENT: NewEvent = { type: "A", data: "" };
/** Without a request id an append is not repeated when its connection breaks. */
const ONCE = { requestId: null };
const STORED = array(bulk(eventJson(1)));
const COUNT = ":1\r\n";
let server: FakeServer;
let client: EventflowClient;

/** One reply by command; those not named, but for HELLO, CLIENT and PING, are never answered. */
function replies(byCommand: Record<string, string | ((socket: Socket) => string | undefined)>): Answer {
  return ([command], socket) => {
    const reply = byCommand[command!];
    return typeof reply === "function" ? reply(socket) : reply;
  };
}

async function start(answer: Answer, options: ConnectOptions = {}): Promise<void> {
  server = await FakeServer.start(answer);
  client = await server.connect(options);
}

/** The server gets to know what was sent to it up to now, and the client what was answered. */
async function settled(): Promise<void> {
  await sleep(50);
}

afterEach(async () => {
  client?.abort();
  await server?.stop().catch(() => {});
});

test("a connection begins with HELLO 3 and the password", async () => {
  await start(replies({ EVENTCOUNT: COUNT }), { password: "söcret" });
  assert.equal(await client.eventCount(), 1);
  assert.deepEqual(server.hellos, [["HELLO", "3", "AUTH", "default", "söcret"]]);
});

test("every command is one request with a typed reply", async () => {
  const answer = replies({
    VERSION: bulk("0.1.0"),
    UPTIME: bulk("1 second"),
    SIZE: array(":12345\r\n", bulk("12.3 kB")),
    EVENTCOUNT: ":1\r\n",
    STREAMCOUNT: ":2\r\n",
    EVENTCOUNTEST: ":3\r\n",
    STREAMCOUNTEST: ":4\r\n",
    CHECKSUM: array(bulk("0".repeat(26)), bulk("ab")),
    ADD: STORED,
    GET: array(),
    GETALL: STORED,
  });
  await start((words, socket) => (words[0] === "PING" && words.length > 1 ? bulk(words[1]!) : answer(words, socket)));
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.ping("Zoë\r\n"), "Zoë\r\n");
  assert.equal(await client.version(), "0.1.0");
  assert.equal(await client.uptime(), "1 second");
  assert.deepEqual(await client.size(), { bytes: 12345, words: "12.3 kB" });
  assert.equal(await client.eventCount(), 1);
  assert.equal(await client.streamCount(), 2);
  assert.equal(await client.eventCountEstimate(), 3);
  assert.equal(await client.streamCountEstimate(), 4);
  assert.deepEqual(await client.checksum(), { eventId: "0".repeat(26), checksum: "ab" });
  const stored = await client.add(STREAM, 0, [EVENT]);
  assert.equal(stored[0]?.causationId, stored[0]?.id);
  assert.deepEqual(await client.get(STREAM), []);
  assert.deepEqual(await client.getAll({ limit: 1 }), stored);
  assert.deepEqual(server.requests.at(-1), ["GETALL", '{"limit":1}']);
});

const BREAKS: [string, (socket: Socket) => undefined][] = [
  ["reset", (socket) => void socket.resetAndDestroy()],
  ["ended by the server", (socket) => void socket.end()],
  ["ended in the middle of the reply", (socket) => void socket.end(STORED.slice(0, 100))],
  ["ended in the middle of the reply's first line", (socket) => void socket.end("*")],
];
for (const [how, breakOff] of BREAKS) {
  test(`an ADD without a request id whose connection is ${how} fails, and is sent exactly once`, async () => {
    await start(replies({ ADD: breakOff, EVENTCOUNT: COUNT }));
    const error = await client.add(STREAM, 0, [EVENT], ONCE).catch((refusal: unknown) => refusal);
    assert.ok(error instanceof ConnectionLost && !(error instanceof NotConnected));
    assert.equal(await client.eventCount(), 1);
    await settled();
    assert.equal(server.hellos.length, 2);
    assert.equal(server.adds.length, 1);
  });
}

test("of many ADDs without request ids those that were answered are stored, and none is sent twice", async () => {
  let answered = 0;
  await start(replies({ ADD: (socket) => (answered++ < 40 ? STORED : void socket.end()), EVENTCOUNT: COUNT }));
  const adds = Array.from({ length: 100 }, (_, version) => client.add(STREAM, version, [EVENT], ONCE));
  const outcomes = await Promise.allSettled(adds);
  assert.ok(outcomes.slice(0, 40).every(({ status }) => status === "fulfilled"));
  assert.ok(
    outcomes.slice(40).every((outcome) => outcome.status === "rejected" && outcome.reason instanceof ConnectionLost),
  );
  assert.equal(await client.eventCount(), 1);
  await settled();
  assert.equal(new Set(server.adds.map(([, argument]) => argument)).size, server.adds.length);
});

test("an ADD larger than the socket takes at once is not sent again when the connection breaks under it", async () => {
  let begun = 0;
  await start(replies({ EVENTCOUNT: COUNT }));
  server.sockets.forEach((socket) => {
    socket.removeAllListeners("data");
    socket.once("data", () => socket.resetAndDestroy());
    begun += 1;
  });
  const large = { type: "A", data: "x".repeat(8 << 20) };
  const outcomes = await Promise.allSettled([
    client.add(STREAM, 0, [large], ONCE),
    client.add(STREAM, 1, [large], ONCE),
  ]);
  assert.ok(outcomes.every((outcome) => outcome.status === "rejected" && outcome.reason instanceof ConnectionLost));
  assert.equal(await client.eventCount(), 1);
  await settled();
  assert.equal(begun, 1);
  assert.deepEqual(server.adds, []);
});

test("what is asked while there is no connection waits, and is sent once and in order", async () => {
  await start(replies({ ADD: STORED, EVENTCOUNT: COUNT }));
  const { port } = server;
  await server.stop();
  await settled();
  const asked = [client.add(STREAM, 0, [EVENT]), client.eventCount(), client.add(STREAM, 1, [EVENT])];
  await server.listen(port);
  await Promise.all(asked);
  assert.deepEqual(
    server.requests.map(([command]) => command),
    ["ADD", "EVENTCOUNT", "ADD"],
  );
  assert.match(server.adds[0]![1]!, /"version":0/);
});

test("nothing is sent on a new connection until the server has taken it", async () => {
  await start(replies({ ADD: STORED }));
  server.answerBy(([command], socket) => {
    if (command === "HELLO") {
      setTimeout(() => socket.write(HELLO), 100);
      return "";
    }
    return command === "ADD" ? STORED : undefined;
  });
  server.sockets.forEach((socket) => socket.end());
  await settled();
  const added = client.add(STREAM, 0, [EVENT]);
  while (server.hellos.length < 2) {
    await sleep(5);
  }
  await sleep(30);
  assert.deepEqual(server.adds, []);
  await added;
  assert.equal(server.adds.length, 1);
});

test("a request that waits for a connection too long fails with NotConnected, and is never sent", async () => {
  await start(replies({ ADD: STORED, EVENTCOUNT: COUNT }), { sendTimeoutMs: 100 });
  const { port } = server;
  await server.stop();
  await settled();
  await assert.rejects(
    client.add(STREAM, 0, [EVENT]),
    (error) => error instanceof NotConnected && /100 ms/.test(error.message),
  );
  await server.listen(port);
  while ((await client.eventCount().catch(() => 0)) !== 1);
  assert.deepEqual(server.adds, []);
});

test("a client that the server no longer takes gives up, and says why to all", async () => {
  await start(replies({ ADD: STORED }), { password: "old" });
  server.answerBy(replies({ HELLO: "-WRONGPASS invalid username-password pair or user is disabled.\r\n" }));
  server.sockets.forEach((socket) => socket.end());
  await settled();
  await assert.rejects(client.add(STREAM, 0, [EVENT]), WrongPassword);
  await assert.rejects(client.eventCount(), WrongPassword);
  await sleep(300);
  assert.equal(server.hellos.length, 2);
  assert.deepEqual(server.requests, []);
  await client.close();
});

test("a client that the server cannot take for now tries on", async () => {
  await start(replies({ EVENTCOUNT: COUNT }));
  let refusals = 0;
  const usual = replies({ EVENTCOUNT: COUNT });
  server.answerBy((words, socket) => {
    if (words[0] === "HELLO" && refusals < 2) {
      refusals += 1;
      socket.end("-ERR max number of clients reached\r\n");
      return "";
    }
    return usual(words, socket);
  });
  server.sockets.forEach((socket) => socket.end());
  await settled();
  assert.equal(await client.eventCount(), 1);
  assert.equal(refusals, 2);
});

test("connect fails at once where nobody listens", async () => {
  server = await FakeServer.start(() => undefined);
  const { port } = server;
  await server.stop();
  const cannot = (error: Error): boolean =>
    error instanceof NotConnected &&
    error.message.startsWith(`cannot connect to 127.0.0.1:${port}: connect ECONNREFUSED`);
  await assert.rejects(EventflowClient.connect({ port }), cannot);
  await assert.rejects(EventflowClient.connect({ host: "localhost", port }), NotConnected);
});

const REFUSED_HELLOS: [string, string, abstract new (...args: never[]) => Error][] = [
  ["the password is wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n", WrongPassword],
  ["a password is wanted", "-NOAUTH HELLO must be called with the client already authenticated\r\n", NotAuthenticated],
  ["it has clients enough", "-ERR max number of clients reached\r\n", TryAgain],
  ["it knows no RESP3", "-NOPROTO unsupported protocol version\r\n", UnknownRefusal],
  ["it is a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", UnexpectedReply],
];
for (const [why, reply, kind] of REFUSED_HELLOS) {
  test(`connect fails when the server does not take the client: ${why}`, async () => {
    server = await FakeServer.start(replies({ HELLO: reply }));
    await assert.rejects(server.connect({ password: "x" }), kind);
    await settled();
    assert.equal(server.hellos.length, 1);
    assert.equal(server.sockets.size, 0);
  });
}

test("connect fails when the server accepts the connection and says nothing", async () => {
  const silent = createServer((socket) => socket.on("error", () => {}));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  await assert.rejects(EventflowClient.connect({ port, replyTimeoutMs: 100 }), NotConnected);
  silent.close();
});

test("connect refuses an option that it does not know", async () => {
  await assert.rejects(EventflowClient.connect({ pasword: "x" } as object), InvalidArgument);
});

test("when the server falls silent what is under way fails, and the client connects anew", async () => {
  await start(replies({ EVENTCOUNT: COUNT }), { replyTimeoutMs: 400 });
  server.answerBy((words) =>
    server.hellos.length > 1 ? replies({ EVENTCOUNT: COUNT })(words, undefined as never) : "",
  );
  await assert.rejects(
    client.add(STREAM, 0, [EVENT]),
    (error) => error instanceof ConnectionLost && /400ms/.test(error.message),
  );
  assert.equal(await client.eventCount(), 1);
  assert.equal(server.adds.length, 1);
});

test("a connection without requests stays while the server answers pings", async () => {
  await start(replies({ EVENTCOUNT: COUNT }), { replyTimeoutMs: 600 });
  await sleep(1500);
  assert.equal(await client.eventCount(), 1);
  assert.equal(server.hellos.length, 1);
});

test("bytes that are no RESP end the client: replies could go to the wrong requests", async () => {
  await start(replies({ ADD: "?what\r\n" }));
  await assert.rejects(
    client.add(STREAM, 0, [EVENT]),
    (error) => error instanceof ConnectionLost && /no RESP/.test(error.message),
  );
  await assert.rejects(client.eventCount(), UnexpectedReply);
  await settled();
  assert.equal(server.sockets.size, 0);
});

test("a reply that nobody asked for ends the client", async () => {
  await start(replies({}));
  server.sockets.forEach((socket) => socket.write(":1\r\n"));
  await settled();
  await assert.rejects(client.eventCount(), UnexpectedReply);
});

test("close lets the server answer, and takes no more requests", async () => {
  await start(([command], socket) => {
    const reply = { ADD: STORED, PING: "+PONG\r\n" }[command!];
    if (reply !== undefined) {
      setTimeout(() => socket.write(reply), 50);
      return "";
    }
    return undefined;
  });
  const added = client.add(STREAM, 0, [EVENT]);
  const closed = client.close();
  await assert.rejects(client.eventCount(), NotConnected);
  assert.equal((await added).length, 1);
  await Promise.all([closed, client.close()]);
  await settled();
  assert.equal(server.sockets.size, 0);
});

test("close ends when the server ends the connection first", async () => {
  await start(replies({ ADD: (socket) => void socket.end() }));
  const added = client.add(STREAM, 0, [EVENT]);
  const closed = client.close();
  await assert.rejects(added, ConnectionLost);
  await closed;
});

test("close fails what waits for a connection, and ends the attempts to make one", async () => {
  await start(replies({ EVENTCOUNT: COUNT }));
  const { port } = server;
  await server.stop();
  await settled();
  const asked = assert.rejects(client.eventCount(), NotConnected);
  await client.close();
  await asked;
  await server.listen(port);
  await sleep(500);
  assert.equal(server.hellos.length, 1);
});

test("abort in the middle of an attempt to connect leaves no connection behind", async () => {
  await start(replies({}));
  server.answerBy(([command], socket) => {
    if (command === "HELLO") {
      setTimeout(() => socket.destroyed || socket.write(HELLO), 100);
      return "";
    }
    return undefined;
  });
  server.sockets.forEach((socket) => socket.end());
  while (server.hellos.length < 2) {
    await sleep(5);
  }
  client.abort();
  await sleep(200);
  assert.equal(server.sockets.size, 0);
});

test("abort fails what is under way with ConnectionLost", async () => {
  await start(replies({}));
  const added = client.add(STREAM, 0, [EVENT]);
  await settled();
  client.abort();
  await assert.rejects(
    added,
    (error) => error instanceof ConnectionLost && /the client was closed/.test(error.message),
  );
});

test("an error of the connection tells which call of the program met it", async () => {
  await start(replies({ ADD: (socket) => void socket.end() }));
  async function placeOrder(): Promise<void> {
    await client.add(STREAM, 0, [EVENT]);
  }
  await assert.rejects(placeOrder(), (error: Error) => /placeOrder/.test(error.stack ?? ""));
});

test("a reply is understood however it is cut", async () => {
  const text = "Zoë 北京 😀\r\n\0";
  await start(([command], socket) => {
    if (command !== "GETALL") {
      return undefined;
    }
    const bytes = Buffer.from(array(bulk(eventJson(1, text)), bulk(eventJson(2, text))));
    void (async () => {
      for (const byte of bytes) {
        socket.write(Buffer.of(byte));
        await sleep(0);
      }
    })();
    return "";
  });
  server.sockets.forEach((socket) => socket.setNoDelay());
  const events = await client.getAll();
  assert.deepEqual(
    events.map(({ data }) => data),
    [text, text],
  );
});

test("a long reply of large events arrives whole", async () => {
  const data = "Zoë😀".repeat(100_000);
  const events = Array.from({ length: 50 }, (_, number) => bulk(eventJson(number + 1, data)));
  await start(replies({ GETALL: array(...events) }));
  const read = await client.getAll();
  assert.equal(read.length, 50);
  assert.ok(read.every((event, number) => event.position === number + 1 && event.data === data));
});
