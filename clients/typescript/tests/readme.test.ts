/** The README's examples compile against the package as it is packed, and its retry does what it says. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import type { EventflowClient, NewEvent, RecordedEvent } from "../src/index.js";
import { array, bulk, eventJson, FakeServer, STREAM } from "./fake-server.js";
import { block, compile, run } from "./readme.js";

type AddSurely = (
  client: EventflowClient,
  stream: string,
  version: number,
  event: NewEvent & { correlationId: string },
) => Promise<RecordedEvent>;

test("the example compiles", () => {
  compile("readme-example", block("example"));
});

const OURS = eventJson(1);
const STORED = array(bulk(OURS));
const SOMEBODYS = array(bulk(eventJson(2)));
const NOTHING = array();
const REFUSED = `-CONCURRENCY stream=${STREAM} expected=0 actual=1: the stream holds 1 events\r\n`;

// What the first ADD comes to is never known; then what GETs find, and what further ADDs are answered.
const OUTCOMES: [string, { gets: string[]; adds: string[]; error?: string }][] = [
  ["it was stored", { gets: [STORED], adds: [] }],
  ["it was not stored, and is sent again", { gets: [NOTHING], adds: [STORED] }],
  ["it was on its way still", { gets: [NOTHING, STORED], adds: [REFUSED] }],
  ["somebody else was there", { gets: [SOMEBODYS, SOMEBODYS], adds: [REFUSED], error: "WrongExpectedVersion" }],
];
for (const [what, { gets, adds, error }] of OUTCOMES) {
  test(`an ADD that a broken connection leaves unknown is looked for: ${what}`, async (t) => {
    const example = compile("readme-retry", block("example: stored"));
    // Both from the packed package: errors are told apart by class.
    const { addSurely } = (await import(pathToFileURL(example).href)) as { addSurely: AddSurely };
    const packed = pathToFileURL(example.replace("example.js", "node_modules/eventflowdb/dist/index.js"));
    const { EventflowClient } = (await import(packed.href)) as typeof import("../src/index.js");
    const replies = { GET: [...gets], ADD: [...adds] };
    const server = await FakeServer.start(([command], socket) => {
      if (command === "ADD" && server.adds.length === 1) {
        return void socket.end();
      }
      return replies[command as "GET" | "ADD"]?.shift();
    });
    t.after(() => server.stop());
    const client = await EventflowClient.connect({ port: server.port });
    t.after(() => client.close());
    const { id } = JSON.parse(OURS) as { id: string };
    const added = addSurely(client, STREAM, 0, { type: "A", data: "", correlationId: id });
    const outcome = await added.then(
      ({ correlationId }) => correlationId,
      ({ name }: Error) => name,
    );
    assert.equal(outcome, error ?? id);
    assert.equal(server.adds.length, 1 + adds.length);
    assert.deepEqual(replies, { GET: [], ADD: [] });
  });
}

test("a program that has closed its client ends by itself", async (t) => {
  const server = await FakeServer.start(() => undefined);
  t.after(() => server.stop());
  const program = `import { EventflowClient } from "eventflowdb";
    const client = await EventflowClient.connect({ port: ${server.port} });
    await client.ping();
    await client.close();
    console.log("closed");`;
  const example = compile("readme-end", program);
  // Not by `run`, which would keep the fake server from answering.
  const { stdout } = await promisify(execFile)(process.execPath, [example], { timeout: 10_000 });
  assert.equal(stdout, "closed\n");
});

test("the package holds what it needs and no more", () => {
  const example = compile("readme-files", "export {};");
  const files = run(
    example.replace("example.js", "node_modules/eventflowdb"),
    "find",
    ".",
    "-maxdepth",
    "1",
    "-type",
    "f",
  );
  assert.deepEqual(files.trim().split("\n").sort(), ["./LICENSE.md", "./README.md", "./package.json"]);
});
