/** The README's examples compile against the package as it is packed. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { array, bulk, confirmation, eventJson, FakeServer, message } from "./fake-server.js";
import { block, compile, run } from "./readme.js";

for (const which of ["", ": filters", ": subscribe", ": consumer", ": unless"]) {
  test(`the README's example${which} compiles`, () => {
    compile("readme-example", block(`example${which}`));
  });
}

test("a program that has closed its client ends by itself, also after connections were lost", async (t) => {
  let confirmed = 0;
  const server = await FakeServer.start(([command, channel], socket) => {
    if (command === "CHECKSUM") {
      return array(bulk("0".repeat(26)), bulk("0"));
    }
    if (command === "SUBSCRIBE") {
      confirmed += 1;
      const text = confirmation(command, channel!);
      return confirmed === 1 ? void socket.end(text) : text + message(channel!, eventJson(1));
    }
    return command === "GETALL" ? array() : undefined;
  });
  t.after(() => server.stop());
  const program = `import { EventflowClient } from "eventflowdb";
    const client = await EventflowClient.connect({ port: ${server.port} });
    for await (const event of await client.subscribe()) break;
    await client.close();
    console.log("closed");`;
  const example = compile("readme-end", program);
  // Not by `run`, which would keep the fake server from answering.
  const { stdout } = await promisify(execFile)(process.execPath, [example], { timeout: 8_000 });
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
