/**
 * createDrizzleAdapter on PostgreSQL, through each driver.
 *
 * @module
 */
import { drizzle as drizzleNodePostgres } from "drizzle-orm/node-postgres";
import { drizzle as drizzlePostgresJs } from "drizzle-orm/postgres-js";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createDrizzleAdapter, type DrizzleDatabase, drizzleQuery } from "../../../../storage/drizzle.ts";
import type { SQLQuery } from "../../../../storage/sql/sql_storage.ts";
import { test } from "../../../harness.ts";
import { POSTGRES_URL } from "../postgres/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";

const drivers: Record<string, () => [DrizzleDatabase, () => Promise<void>]> = {
  "postgres-js": () => {
    const client = postgres(POSTGRES_URL, { max: 3 });
    return [drizzlePostgresJs(client), () => client.end()];
  },
  "node-postgres": () => {
    const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: 3 });
    pool.on("error", () => {});
    return [drizzleNodePostgres(pool), () => pool.end()];
  },
};

for (const [name, connect] of Object.entries(drivers)) {
  const tables = new Tables((tableName, now) => {
    const [db, end] = connect();
    const storage = createDrizzleAdapter(db, { tableName, now, outbox: true });
    return Promise.resolve([storage, end, drizzleQuery(db) as SQLQuery]);
  });
  const { create, share, destroy, elapse, disconnect, query } = tables;
  testStorage({
    name: `createDrizzleAdapter through ${name}`,
    ...{ create, share, destroy, elapse, disconnect, query },
    test,
    supports: { ...SQL_SUPPORTS, outbox: "once" },
    runs: 10,
  });
}

test("createDrizzleAdapter on a transaction writes as part of it", async () => {
  const client = postgres(POSTGRES_URL, { max: 2 });
  const db = drizzlePostgresJs(client);
  const options = { tableName: newTableName(), counter: "sequential" as const };
  const storage = createDrizzleAdapter(db, options);
  const write = (given: DrizzleDatabase, hash: string) =>
    createDrizzleAdapter(given, options).applyChanges([{ key: "a", hash, updatedAt: 1 }]);
  await write(db, "x");
  await db.transaction(async (tx) => {
    await write(tx, "y");
    assert.equal((await storage.getNode("a"))?.hash, "x");
  });
  assert.equal((await storage.getNode("a"))?.hash, "y");
  const undone = db.transaction(async (tx) => {
    await write(tx, "z");
    throw new Error("no");
  });
  await assert.rejects(undone, /no/);
  assert.equal((await storage.getNode("a"))?.hash, "y");
  assert.equal((await storage.applyChanges([{ key: "a", hash: "z", updatedAt: 1 }]))[0]?.version, 3);
  await client.end();
});

test("createDrizzleAdapter on a transaction that PostgreSQL undoes says so, and the next one succeeds", async () => {
  const client = postgres(POSTGRES_URL, { max: 3 });
  const db = drizzlePostgresJs(client);
  const options = { tableName: newTableName(), counter: "sequential" } as const;
  const storage = createDrizzleAdapter(db, options);
  const change = { key: "a", hash: "x", updatedAt: 1 };
  await storage.applyChanges([change]);
  let times = 0;
  const run = () =>
    db.transaction(async (tx) => {
      const inside = createDrizzleAdapter(tx, options);
      await inside.getNode("a");
      // The first time another is quicker, after this one's snapshot.
      if (times++ === 0) await storage.applyChanges([change]);
      await inside.applyChanges([{ ...change, hash: "y" }]);
    }, { isolationLevel: "repeatable read" });
  await assert.rejects(run(), ({ cause }: Error) => (cause as { code?: string }).code === "40001");
  assert.equal((await storage.getNode("a"))?.hash, "x");
  await run();
  assert.deepEqual(await storage.getNode("a"), { ...change, hash: "y", version: 3 });
  await client.end();
});

test("createDrizzleAdapter runs as the contract writes it", async () => {
  const client = postgres(POSTGRES_URL);
  const db = drizzlePostgresJs(client);

  const storage = createDrizzleAdapter(db, {
    tableName: "reality_nodes",
  });
  const [meta] = await storage.applyChanges([{ key: "drizzle:contract", hash: "x", updatedAt: 1 }]);
  assert.deepEqual(await storage.getNode("drizzle:contract"), meta);
  await client.end();
});
