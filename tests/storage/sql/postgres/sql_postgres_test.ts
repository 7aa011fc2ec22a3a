/**
 * SQLStorage on PostgreSQL, through each driver.
 *
 * @module
 */
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { type SQLRow, SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { postgresDialect } from "../../../../storage/sql/postgres/dialect.ts";
import { test } from "../../../harness.ts";
import { testDatabase, type Use } from "../../database_kit.ts";
import { testExistingTable } from "../../existing_tables.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { type Driver, newTableName, rowsOf, Tables } from "../../table_kit.ts";
import { pgDriver, POSTGRES_URL, postgresDriver } from "./drivers.ts";

/** A part of a plan, as PostgreSQL tells it. */
interface Plan {
  readonly "Node Type": string;
  readonly "Index Name"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly Plans?: readonly Plan[];
}

for (const { name, connect } of [pgDriver, postgresDriver]) {
  const tables = new Tables(async (tableName, now) => {
    const { query, end } = await connect();
    return [new SQLStorage({ query, dialect: "postgres", tableName, now, outbox: true }), end, query];
  });
  const { create, share, destroy, elapse, disconnect, query } = tables;
  testStorage({
    name: `SQLStorage on PostgreSQL through ${name}`,
    ...{ create, share, destroy, elapse, disconnect, query },
    test,
    supports: { ...SQL_SUPPORTS, outbox: "once" },
    runs: 10,
  });
}

const withOptions = (name: string, config: pg.PoolConfig): Driver => ({
  name,
  connect: () => {
    const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: 4, ...config });
    pool.on("error", () => {});
    return Promise.resolve({
      query: (sql, params) => pool.query(sql, params).then((r) => r.rows),
      end: () => pool.end(),
    });
  },
});

testDatabase({
  name: "PostgreSQL",
  dialect: "postgres",
  driver: pgDriver,
  statements: postgresDialect,
  quote: (name) => `"${name}"`,
  async begin() {
    const client = new pg.Client(POSTGRES_URL);
    await client.connect();
    await client.query("BEGIN");
    return {
      run: async ({ sql, params }) => void await client.query(sql, params),
      query: (sql, params) => client.query(sql, params).then((r) => r.rows),
      end: async (how) => {
        await client.query(how);
        await client.end();
      },
    };
  },
  async cut(pool) {
    // All of them are busy for a moment, so that each tells its own name.
    const pids = [1, 2, 3].map(() => rowsOf(pool, "SELECT pg_backend_pid() AS pid, pg_sleep(0.1)"));
    for (const [row] of await Promise.all(pids)) await ask(`SELECT pg_terminate_backend(${row?.pid})`);
  },
  async explain(pool, { sql, params }) {
    const [row] = await pool.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`, params) as readonly SQLRow[];
    const scans = (plan: Plan): Use[] => {
      const { "Actual Rows": rows, "Actual Loops": loops, "Rows Removed by Filter": more = 0 } = plan;
      const use = { index: plan["Index Name"] ?? "", rows: (rows + more) * loops };
      return [...(plan["Node Type"].includes("Scan") ? [use] : []), ...(plan.Plans ?? []).flatMap(scans)];
    };
    return scans((row?.["QUERY PLAN"] as readonly { Plan: Plan }[])[0]!.Plan);
  },
  undone: { code: "40001" },
  isWaiting: (tableName) =>
    ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1", `%${tableName}%`),
  async stranger() {
    const name = `stranger_${newTableName()}`;
    await ask(`CREATE ROLE ${name} LOGIN`);
    const address = new URL(POSTGRES_URL);
    address.username = name;
    return {
      ...withOptions("a stranger", { connectionString: address.href }),
      admit: async (tableName) => {
        await ask(`GRANT SELECT, INSERT, UPDATE, DELETE ON "${tableName}" TO ${name}`);
      },
      remove: async () => {
        await ask(`DROP OWNED BY ${name}`);
        await ask(`DROP ROLE ${name}`);
      },
    };
  },
  others: [
    {
      name: "postgres.js with bigints",
      connect: () => {
        const sql = postgres(POSTGRES_URL, { max: 4, types: { bigint: postgres.BigInt } });
        return Promise.resolve({ query: (text, params) => sql.unsafe(text, params), end: () => sql.end() });
      },
    },
    withOptions("pg at REPEATABLE READ", { options: "-c default_transaction_isolation=repeatable\\ read" }),
    withOptions("pg at SERIALIZABLE", { options: "-c default_transaction_isolation=serializable" }),
  ],
});

/** Runs a statement on a connection of its own, and says whether it gave a row. */
async function ask(sql: string, ...params: string[]): Promise<boolean> {
  const client = new pg.Client(POSTGRES_URL);
  await client.connect();
  try {
    return (await client.query(sql, params)).rows.length > 0;
  } finally {
    await client.end();
  }
}

test("SQLStorage on PostgreSQL goes on with a table of version 2.0.0", async () => {
  const { query, end } = await pgDriver.connect();
  try {
    await testExistingTable("postgres", query);
  } finally {
    await end();
  }
});

test("SQLStorage on PostgreSQL reads a list of keys or rows once, and not again for each row of a table that it scans", async () => {
  const { query, end } = await pgDriver.connect();
  try {
    const plans: string[] = [];
    let isExplaining = false;
    const storage = new SQLStorage({
      async query(sql, params) {
        if (!isExplaining) return await query(sql, params);
        const rows = await query(`EXPLAIN ${sql}`, params) as readonly SQLRow[];
        plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n"));
        return await query(sql, params);
      },
      ...{ dialect: "postgres", tableName: newTableName(), outbox: true },
    });
    const keys = Array.from({ length: 500 }, (_, i) => `key:${i}`);
    await storage.applyChanges(keys.map((key) => ({ key, hash: "", updatedAt: 1 })));
    const outbox = storage.outbox!;
    const { text, params } = outbox.insertion(keys.map((key) => ({ key, hash: "" })));
    await query(text, params);
    const rows = await outbox.readRows(1e9, 500);
    isExplaining = true;
    await storage.readNodes(keys);
    await storage.readReplicated(keys);
    await outbox.readRows(1e9, 500, keys);
    await outbox.setAside(rows.slice(0, 200));
    await outbox.applyRows([{ key: "a", hash: "", updatedAt: 1, rows: rows.slice(200).map(({ id }) => id) }]);
    assert.ok(plans.length >= 5);
    for (const plan of plans) assert.doesNotMatch(plan, /Filter: .*\)::(text|bigint)\[\]/);
  } finally {
    await end();
  }
});
