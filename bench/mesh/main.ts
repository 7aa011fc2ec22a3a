/**
 * Runs the benches of the mesh: latency on every runtime that is there, scale on one. Words choose: the name of a
 * bench or of a runtime.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findRuntime, RUNTIMES } from "../runtimes.ts";

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));
const isChosen = (name: string, all: readonly string[]) =>
  words.includes(name) || !all.some((other) => words.includes(other));
// The client of the latency bench is the same for every runtime: Node, if it is installed.
const [program = "", ...args] = findRuntime("node") ?? findRuntime("deno")!;
const benches = ["latency", "scale"];

let failed = 0;
for (const bench of benches.filter((name) => isChosen(name, benches))) {
  const script = fileURLToPath(new URL(`./${bench}_bench.ts`, import.meta.url));
  // The counts of the scale bench are the same on every runtime.
  const runtimes = bench === "scale" ? [] : RUNTIMES.filter((name) => isChosen(name, RUNTIMES));
  const found = runtimes.filter((name) => findRuntime(name) !== undefined);
  for (const words of bench === "scale" ? [[]] : found.map((name) => [name])) {
    const { status } = spawnSync(program, [...args, script, ...words, ...flags], { stdio: "inherit" });
    if (status !== 0) failed++;
  }
}
console.log(`\n${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
