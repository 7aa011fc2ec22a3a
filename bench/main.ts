/**
 * Runs the benches on every runtime that is there: `deno task bench`. Words choose: the name of a bench or of a
 * runtime.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { fetchPackages } from "./contenders/packages.ts";
import { writeFigures } from "./figures.ts";
import { drawContenders } from "./draw.ts";
import { findRuntime, RUNTIMES } from "./runtimes.ts";

/** Each bench, and whether it runs on what it measures or starts that beside itself. */
const benches = {
  sync: "inside",
  stamp: "inside",
  http: "beside",
  waiters: "beside",
  across: "beside",
  storage: "inside",
  start: "beside",
} as const;
/** Measured only when it is named: it takes six minutes and much memory. Its parts may be named as well. */
const named = "growth";
const grown = ["keys", "nodes", "waiters", "hops"] as const;

fetchPackages();
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));
const chosen = <Name extends string>(names: readonly Name[]): readonly Name[] => {
  const named = names.filter((name) => words.includes(name));
  return named.length === 0 ? names : named;
};

/** Runs what follows beside a private Redis. */
const withRedis = [
  ...findRuntime("deno") ?? [],
  fileURLToPath(new URL("../tests/run/with_redis.ts", import.meta.url)),
];
const start = performance.now();
let failed = 0;
if (words.includes(named)) {
  for (const runtime of chosen(RUNTIMES)) growOn(runtime);
  finishRun();
}
for (const bench of chosen(Object.keys(benches) as (keyof typeof benches)[])) {
  for (const runtime of chosen(RUNTIMES)) {
    const command = findRuntime(runtime);
    if (command === undefined) {
      console.log(`\n${bench} on ${runtime}: not measured, since it was not found; see bench/README.md`);
      continue;
    }
    const script = fileURLToPath(new URL(`./${bench}_bench.ts`, import.meta.url));
    // The load comes from Node if it is installed: the same clients for every runtime.
    const [program = "", ...args] = [
      ...bench === "across" ? withRedis : [],
      ...benches[bench] === "inside" ? command : findRuntime("node") ?? findRuntime("deno")!,
    ];
    console.error(`${bench} on ${runtime}, after ${seconds()} s`);
    const { status } = spawnSync(program, [...args, script, runtime, ...flags], { stdio: "inherit" });
    if (status !== 0) failed++;
  }
}
if (!flags.includes("--quick")) writeFigures(Object.keys(benches));
drawContenders();
finishRun();

/** All in the process of the runtime, except that the waiting clients run in another one, as in `waiters`. */
function growOn(runtime: typeof RUNTIMES[number]): void {
  const command = findRuntime(runtime);
  const load = findRuntime("node") ?? findRuntime("deno")!;
  if (command === undefined) {
    return console.log(`\n${named} on ${runtime}: not measured, since it was not found`);
  }
  const script = fileURLToPath(new URL("./growth_bench.ts", import.meta.url));
  // Ten million nodes need more than the default size of the heap.
  const heap = {
    node: "--max-old-space-size=12000",
    deno: "--v8-flags=--expose-gc,--max-old-space-size=12000",
  };
  const own = runtime === "bun" ? [...command] : [...command, heap[runtime]];
  for (const part of chosen(grown)) {
    const [program = "", ...args] = part === "waiters" ? load : own;
    const { status } = spawnSync(program, [...args, script, part, runtime, ...flags], { stdio: "inherit" });
    if (status !== 0) failed++;
  }
}

function finishRun(): never {
  console.log(`\n${failed} failed, after ${seconds()} s`);
  process.exit(failed === 0 ? 0 : 1);
}

function seconds(): string {
  return ((performance.now() - start) / 1000).toFixed(0);
}
