/**
 * Runs the benches of the databases one after the other, on Node if it is installed, otherwise on this runtime.
 * Words choose: the name of a bench or of a runtime, and for `drain` a part of an engine's name.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findRuntime, RUNTIMES } from "../runtimes.ts";

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));
const all = ["databases", "wakes", "drain"];
const named = all.filter((name) => words.includes(name));
// A million rows take many minutes, so this bench runs only when it is named.
const benches = named.length > 0 ? named : all.filter((name) => name !== "drain");
const engines = words.filter((word) => !all.includes(word) && !RUNTIMES.some((name) => name === word));
const runtime = RUNTIMES.find((name) => words.includes(name)) ??
  (findRuntime("node") === undefined ? "deno" : "node");
const [program = "", ...args] = findRuntime(runtime) ?? [];

let failed = 0;
for (const bench of benches) {
  const script = fileURLToPath(new URL(`./${bench}_bench.ts`, import.meta.url));
  if (spawnSync(program, [...args, script, ...engines, ...flags], { stdio: "inherit" }).status !== 0) {
    failed++;
  }
}
process.exit(failed === 0 ? 0 : 1);
