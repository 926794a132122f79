/** The README's example, run against a real server as it stands there, prints what it says. */

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { test } from "node:test";

import { liveServer } from "./live-server.js";
import { block, compile, run } from "./readme.js";

test("the example prints what the README says", () => {
  const { host, port, password } = liveServer();
  const stated = '{ host: "127.0.0.1", port: 6543 }';
  const program = block("example");
  assert.ok(program.includes(stated));
  const example = compile("readme-live", program.replace(stated, JSON.stringify({ host, port, password })));
  assert.equal(run(dirname(example), process.execPath, example), block("output"));
});
