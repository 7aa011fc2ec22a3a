/**
 * What groups cost: changes of keys that are in none, one, two and 16 groups, beside the same changes on a server without
 * the option. `deno run -A bench/groups_bench.ts`, or the same with `node`; with PostgreSQL
 * `deno run -A tests/run/with_databases.ts deno run -A bench/groups_bench.ts`. Each figure is the median of seven rounds, in
 * which the candidates take turns.
 *
 * @module
 */
import process from "node:process";
import pg from "pg";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../mod.ts";
import type { RealityStorage } from "../src/store/contract.ts";
import { SQLStorage } from "../storage/sql/sql_storage.ts";
import { openSQLite } from "../storage/sql/sqlite/sqlite_storage.ts";

const ROUNDS = 7;
const ROUND_MS = 400;
/** Each round changes so many keys in turn. */
const KEYS = 100;

const address = process.env.REALITY_BENCH_POSTGRES;
const pool = address === undefined ? undefined : new pg.Pool({ connectionString: address });
let tables = 0;

/** Without a disk: what a disk takes to store a commit is the same for a commit with groups. */
const storages: Record<string, () => RealityStorage> = {
  "memory": () => new MemoryStorage(),
  "SQLite in memory": () => openSQLite(":memory:"),
};
if (pool !== undefined) {
  storages["PostgreSQL"] = () =>
    new SQLStorage({
      query: (text, params) => pool.query(text, params).then(({ rows }) => rows),
      dialect: "postgres",
      tableName: `bench_groups_${tables++}`,
    });
}

function inGroups(count: number): Partial<RealityServerOptions> {
  const groups = Array.from({ length: count }, (_, i) => `group-${i}:*`);
  return { groups: { of: () => groups, isGroup: (key) => key.startsWith("group-") } };
}

const candidates: Readonly<Record<string, Partial<RealityServerOptions>>> = {
  "without the option": {},
  "in no group": inGroups(0),
  "in 1 group": inGroups(1),
  "in 2 groups": inGroups(2),
  "in 16 groups": inGroups(16),
};

/** Changes keys one after the other for a while, and returns the time of one change in microseconds. */
async function measure(server: RealityServer): Promise<number> {
  const startedAt = performance.now();
  let count = 0;
  for (; performance.now() - startedAt < ROUND_MS; count++) {
    await server.updateNode(`key:${count % KEYS}`, `rev-${count}`);
  }
  return (performance.now() - startedAt) * 1000 / count;
}

for (const [title, open] of Object.entries(storages)) {
  const servers = Object.entries(candidates).map(([name, options]) => {
    const storage = open();
    return { name, storage, server: new RealityServer({ storage, ...options }), times: [] as number[] };
  });
  for (const { server } of servers) await measure(server);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { server, times } of servers) times.push(await measure(server));
  }
  console.log(`One change, ${title}`);
  for (const { name, storage, server, times } of servers) {
    const median = times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!;
    console.log(`  ${name.padEnd(24)} ${median.toFixed(1)} µs`);
    await server.close();
    await storage.close?.();
  }
}
await pool?.end();
