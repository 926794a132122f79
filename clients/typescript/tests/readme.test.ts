/** The README's examples compile against the package as it is packed. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { FakeServer } from "./fake-server.js";
import { block, compile, run } from "./readme.js";

for (const example of ["example", "example: filters", "example: subscribe", "example: unless"]) {
  test(`the README's ${example} compiles`, () => {
    compile("readme-example", block(example));
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
