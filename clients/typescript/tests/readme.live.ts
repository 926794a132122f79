/** The README's examples, run against a real server as they stand there, print what it says. */

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { test } from "node:test";

import { liveServer } from "./live-server.js";
import { block, compile, run } from "./readme.js";

for (const which of ["", ": filters", ": subscribe", ": consumer", ": unless"]) {
  const [example, output] = [`example${which}`, `output${which}`];
  test(`the README's ${example} prints what it says`, () => {
    const { host, port, password } = liveServer();
    const stated = '{ host: "127.0.0.1", port: 6543 }';
    const program = block(example);
    assert.ok(program.includes(stated));
    const compiled = compile("readme-live", program.replace(stated, JSON.stringify({ host, port, password })));
    assert.equal(run(dirname(compiled), process.execPath, compiled), block(output));
  });
}
