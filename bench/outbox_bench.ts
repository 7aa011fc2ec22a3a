/**
 * What the outbox costs on PostgreSQL: transactions that write to it beside the same transactions alone and beside a change
 * of the node in the transaction, and reads with an empty outbox beside reads without one.
 *
 * `deno run -A tests/run/with_databases.ts deno run -A bench/outbox_bench.ts`. Each figure is the median of five rounds, in
 * which the candidates take turns.
 *
 * @module
 */
import process from "node:process";
import pg from "pg";
import type { RealityStorage } from "../src/store/contract.ts";
import { SQLStorage, type SQLStorageOptions } from "../storage/sql/sql_storage.ts";

const ROUNDS = 5;
const ROUND_MS = 1000;
/** Connections that run transactions at the same time. */
const CONNECTIONS = 8;
/** Rows that were applied before the last reads. */
const DRAINED = 100_000;

const address = process.env.REALITY_BENCH_POSTGRES;
if (address === undefined) {
  throw new Error("REALITY_BENCH_POSTGRES is not set: run this through with_databases.ts");
}

const pool = new pg.Pool({ connectionString: address, max: CONNECTIONS });
const run = (text: string, params: unknown[]) => pool.query(text, params).then(({ rows }) => rows);
const open = (tableName: string, outbox: SQLStorageOptions["outbox"] = false) =>
  new SQLStorage({ query: run, dialect: "postgres", tableName, outbox });
const [plain, boxed] = [open("bench_plain_nodes"), open("bench_boxed_nodes", true)];
const quiet = open("bench_quiet_nodes", { notify: false });

/** Runs a task in loops for a while, and returns how often a second it ran. */
async function measure(task: () => Promise<unknown>, loops: number): Promise<number> {
  const startedAt = performance.now();
  let count = 0;
  await Promise.all(Array.from({ length: loops }, async () => {
    for (; performance.now() - startedAt < ROUND_MS; count++) await task();
  }));
  return count / (performance.now() - startedAt) * 1000;
}

/** Measures candidates in turn, and prints the median of each. */
async function compare(
  title: string,
  candidates: Record<string, () => Promise<unknown>>,
  loops: number,
): Promise<void> {
  const rates = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, task] of Object.entries(candidates)) {
      rates.set(name, [...rates.get(name) ?? [], await measure(task, loops)]);
      await Promise.all([drain(boxed), drain(quiet)]);
    }
  }
  console.log(title);
  for (const [name, values] of rates) {
    const median = values.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!;
    console.log(`  ${name.padEnd(48)} ${Math.round(median)}/s`);
  }
}

/** Applies all rows, between the rounds. */
async function drain(storage: SQLStorage): Promise<void> {
  const outbox = storage.outbox!;
  for (;;) {
    const rows = await outbox.readRows(Number.MAX_SAFE_INTEGER, 1000);
    if (rows.length === 0) return;
    const ids = new Map<string, number[]>();
    for (const { id, key } of rows) ids.set(String(key), [...ids.get(String(key)) ?? [], id]);
    await outbox.applyRows([...ids].map(([key, rows]) => ({ key, hash: "x", updatedAt: 1, rows })));
  }
}

let next = 0;
async function transact(write: (client: pg.PoolClient, key: string) => Promise<unknown>): Promise<void> {
  const client = await pool.connect();
  await client.query("BEGIN");
  const id = next++;
  await client.query("INSERT INTO bench_messages VALUES ($1)", [id]);
  await write(client, `key:${id % 100}`);
  await client.query("COMMIT");
  client.release();
}

const insert = (storage: SQLStorage) => (client: pg.PoolClient, key: string) => {
  const { text, params } = storage.outbox!.insertion([{ key, hash: "" }]);
  return client.query(text, params);
};
const change = (client: pg.PoolClient, key: string) =>
  new SQLStorage({
    query: (text, params) => client.query(text, params).then(({ rows }) => rows),
    dialect: "postgres",
    tableName: "bench_plain_nodes",
    inTransaction: true,
  }).applyChanges([{ key, hash: "x", updatedAt: 1 }]);

await Promise.all([plain, boxed, quiet].map((storage) => storage.getMaxVersion()));
await run("CREATE TABLE IF NOT EXISTS bench_messages (id bigint)", []);

await compare(`Transactions on ${CONNECTIONS} connections`, {
  "alone": () => transact(() => Promise.resolve()),
  "with a row of the outbox": () => transact(insert(boxed)),
  "with a row of the outbox, notify: false": () => transact(insert(quiet)),
  "with a change of the node": () => transact(change),
}, CONNECTIONS);

const read = (storage: RealityStorage) => () => storage.readChanges!(Number.MAX_SAFE_INTEGER, 500);
await compare("Questions what changed, one after the other", {
  "without an outbox": read(plain),
  "with an empty outbox": read(boxed),
}, 1);
await run(`INSERT INTO "bench_boxed_outbox" (key) SELECT 'key:' || n FROM generate_series(1, $1::int) AS n`, [
  DRAINED,
]);
const startedAt = performance.now();
await drain(boxed);
console.log(`${DRAINED} rows applied in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
await compare(`The same after ${DRAINED} rows were applied`, {
  "without an outbox": read(plain),
  "with an empty outbox": read(boxed),
}, 1);
await pool.end();
