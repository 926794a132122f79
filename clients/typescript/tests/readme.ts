/** The examples of the README, and the package as `npm install` would unpack it, to compile and run them with. */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// From build/tests, where this runs.
const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const OPTIONS = { strict: true, target: "es2023", module: "nodenext", types: ["node"] };
const README = readFileSync(join(PACKAGE, "README.md"), "utf8");

/** The fenced block that follows a comment. */
export function block(comment: string): string {
  const found = new RegExp(`<!-- ${comment} -->\\n\`\`\`\\w+\\n(.*?)\`\`\``, "s").exec(README)?.[1];
  if (found === undefined) {
    throw new Error(`README.md has no block after <!-- ${comment} -->`);
  }
  return found;
}

/** Compiles a program against the packed package, and returns the path of the result. Its folder is made anew. */
export function compile(name: string, program: string): string {
  const folder = join(PACKAGE, "build", name);
  const modules = join(folder, "node_modules");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(modules, { recursive: true });
  const packed = run(folder, "npm", "pack", PACKAGE, "--silent", "--ignore-scripts").trim();
  run(modules, "tar", "xzf", join(folder, packed));
  run(modules, "mv", "package", "eventflowdb");
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n');
  writeFileSync(join(folder, "example.ts"), program);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: OPTIONS, files: ["example.ts"] }));
  run(folder, join(PACKAGE, "node_modules", ".bin", "tsc"));
  return join(folder, "example.js");
}

/** What a program prints; throws with that if it fails, or takes a minute. */
export function run(folder: string, program: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: folder, encoding: "utf8", timeout: 60_000 });
  if (status !== 0) {
    throw new Error(`${program} ${words.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  }
  return stdout;
}
