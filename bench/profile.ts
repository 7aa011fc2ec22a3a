/**
 * Where the processor time of one sync over HTTP goes: servers of one runtime side by side, in short turns:
 * `deno task bench:profile deno`. Each row after the first says what one addition to a bare handler costs, and the last
 * ones what this package costs. Short turns and a low percentile make it usable on a machine that others use as well.
 *
 * @module
 */
import process from "node:process";
import { checkOut } from "./commits.ts";
import { ADDITIONS } from "./contenders/bare.ts";
import { PUBLISHED_FIELDS } from "./contenders/published.ts";
import { Connections } from "./http/load.ts";
import { ServerProcess } from "./http/process.ts";
import { inTurn, percentile, ratio, summarize } from "./measure.ts";
import { findRuntime, type RuntimeName } from "./runtimes.ts";
import { makeBodies } from "./workload.ts";

const HELP =
  `deno task bench:profile RUNTIME [CONTENDER…] [--keys=10] [--changed=0] [--rounds=50] [--ms=80] [--against=COMMIT]
A contender is bare, bare+ADDITION (${
    Object.keys(ADDITIONS).join(", ")
  }; several with plus signs), reality, limit or 1.2.2.`;

/** Fewer than in the HTTP bench: the machine is shared, and what is compared is processor time. */
const CONNECTIONS = 32;

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const number = (name: string, otherwise: number): number => Number(option(name) ?? otherwise);
const [keys, changed] = [number("keys", 10), number("changed", 0)];
const [rounds, roundMs] = [number("rounds", 50), number("ms", 80)];
const runtime = words[0] as RuntimeName;
const command = findRuntime(runtime);
if (command === undefined) throw new Error(`Cannot find ${runtime}; expected\n${HELP}`);

const chosen = words.slice(1);
const names = chosen.length > 0 ? ["bare", ...chosen.filter((name) => name !== "bare")] : [
  "bare",
  ...Object.keys(ADDITIONS).map((name) => `bare+${name}`),
  "reality",
];
const commit = option("against");
if (commit !== undefined) names.push(`in ${checkOut(commit).folder}`);

const workload = { keys, changed, nodes: 10_000 };
const servers = await Promise.all(names.map((name) => ServerProcess.start(command, name)));
const loads = await Promise.all(servers.map(({ port }, i) => {
  const bodies = makeBodies(workload, names[i] === "1.2.2" ? PUBLISHED_FIELDS : {});
  return Connections.open(port, CONNECTIONS, bodies);
}));
const times: number[][] = names.map(() => []);
for (let round = -3; round < rounds; round++) {
  for (const i of inTurn([...names.keys()], round + 3)) {
    const before = await servers[i]!.usage();
    const { requests } = await loads[i]!.load(roundMs);
    const after = await servers[i]!.usage();
    // The first rounds warm up.
    if (round >= 0) times[i]!.push((after.processor - before.processor) / requests);
  }
}
for (const load of loads) load.close();
await Promise.all(servers.map((server) => server.stop()));

console.log(
  `${runtime}, ${keys} keys, ${
    changed * 100
  } % changed: µs of processor time for one request, the middle of ${rounds} ` +
    "turns and the lowest tenth of them, in which other processes took least",
);
const low = (numbers: readonly number[]): number => percentile([...numbers], 0.1);
for (const [i, name] of names.entries()) {
  const beside = ratio(times[i]!, times[0]!).median;
  const [least, bare] = [low(times[i]!), low(times[0]!)];
  console.log(
    `${name.replace(/^in .*\//, "reality at ").padEnd(34)} ${column(summarize(times[i]!).median)} × ${
      beside.toFixed(2)
    }` +
      `   ${column(least)} ${column(least - bare)} more × ${(least / bare).toFixed(2)}`,
  );
}

function column(number: number): string {
  return number.toFixed(1).padStart(6);
}

function option(name: string): string | undefined {
  const given = process.argv.find((word) => word.startsWith(`--${name}=`));
  return given?.slice(name.length + 3);
}
