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
  http: "beside",
  waiters: "beside",
  across: "beside",
  storage: "inside",
  start: "beside",
} as const;

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
for (const bench of chosen(Object.keys(benches) as (keyof typeof benches)[])) {
  for (const runtime of chosen(RUNTIMES)) {
    const command = findRuntime(runtime);
    if (command === undefined) {
      console.log(`\n${bench} on ${runtime}: not measured, since it was not found; see bench/README.md`);
      continue;
    }
    const script = fileURLToPath(new URL(`./${bench}_bench.ts`, import.meta.url));
    // The load comes from Node where it is there: the same clients for every runtime.
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
console.log(`\n${failed} failed, after ${seconds()} s`);
process.exit(failed === 0 ? 0 : 1);

function seconds(): string {
  return ((performance.now() - start) / 1000).toFixed(0);
}
