/**
 * How soon a change on one server reaches a client of another, from the call to the client: the mesh alone and with
 * Redis, bare messages, and socket.io with its Redis adapter. `node bench/across_bench.ts deno`, with a Redis in
 * `REALITY_BENCH_REDIS`; without one, what needs it is left out.
 *
 * @module
 */
import process from "node:process";
import { Pair, type Way, WAYS } from "./across/pair.ts";
import { inTurn, percentile } from "./measure.ts";
import { finish, isQuick, progress, type Row } from "./report.ts";
import { findRuntime, type RuntimeName } from "./runtimes.ts";

const rounds = isQuick ? 3 : 5;
/** So many changes are made by each way in a round, one at a time, the ways by turns. */
const changes = isQuick ? 20 : 80;
/** As many go before, since code that is used rarely is compiled late. */
const WARM_UP = isQuick ? 40 : 400;
const name = (process.argv[2] ?? "node") as RuntimeName;
const command = findRuntime(name);
if (command === undefined) throw new Error(`Cannot find ${name}: name it in a REALITY_ variable`);

const hasRedis = (process.env.REALITY_BENCH_REDIS ?? "") !== "";
const ways = (Object.keys(WAYS) as Way[]).filter((way) => hasRedis || !WAYS[way].needsRedis);
const pairs: Pair[] = [];
for (const way of ways) pairs.push(await Pair.start(command, way));
const took: Record<"median" | "99th percentile", Record<string, number[]>> = {
  "median": Object.fromEntries(ways.map((way) => [way, []])),
  "99th percentile": Object.fromEntries(ways.map((way) => [way, []])),
};
progress(`${name}, from one server to another: warming up`);
for (let i = 0; i < WARM_UP; i++) for (const pair of inTurn(pairs, i)) await pair.change(1);
for (const pair of pairs) await pair.compareClocks();
for (let round = 0; round < rounds; round++) {
  progress(`${name}, from one server to another: round ${round + 1} of ${rounds}`);
  const times = new Map(pairs.map((pair): [Pair, number[]] => [pair, []]));
  for (let i = 0; i < changes; i++) {
    for (const pair of inTurn(pairs, i)) {
      times.get(pair)!.push(await pair.change(4 + Math.random() * 6));
    }
  }
  for (const [pair, numbers] of times) {
    took.median[pair.way]!.push(percentile(numbers, 0.5));
    took["99th percentile"][pair.way]!.push(percentile(numbers, 0.99));
  }
}
for (const pair of pairs) await pair.stop();
finish(
  "across",
  Object.entries(took).map(([name, figures]): Row => ({
    group: "a change on A, until a waiting client of B has it",
    name,
    unit: "ms",
    base: "bare POST",
    figures,
  })),
  pairs[0]!.runtime,
);
