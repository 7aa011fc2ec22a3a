/**
 * createDrizzleAdapter on MySQL, through mysql2.
 *
 * @module
 */
import { drizzle } from "drizzle-orm/mysql2";
import { createPool } from "mysql2/promise";
import assert from "node:assert/strict";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createDrizzleAdapter, drizzleQuery } from "../../../../storage/drizzle.ts";
import type { SQLQuery } from "../../../../storage/sql/sql_storage.ts";
import { test } from "../../../harness.ts";
import { MYSQL_URL } from "../mysql/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";

const { create, share, destroy, elapse, disconnect, query } = new Tables((tableName, now) => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 3 });
  const db = drizzle(pool);
  const storage = createDrizzleAdapter(db, { tableName, now, outbox: true });
  return Promise.resolve([storage, () => pool.end(), drizzleQuery(db) as SQLQuery]);
});
testStorage({
  name: "createDrizzleAdapter through mysql2",
  ...{ create, share, destroy, elapse, disconnect, query },
  test,
  supports: { ...SQL_SUPPORTS, outbox: "once" },
  runs: 10,
});

test("createDrizzleAdapter on a transaction of MySQL writes as part of it, while another server sweeps", async () => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 3 });
  const db = drizzle(pool);
  let now = Date.UTC(2026, 0, 1);
  const options = {
    tableName: newTableName(),
    counter: "sequential",
    tombstoneTimeout: 1000,
    now: () => now,
  } as const;
  const storage = createDrizzleAdapter(db, options);
  const change = { key: "a", hash: "x", updatedAt: 1 };
  await storage.applyChanges([change, { key: "gone", hash: "", updatedAt: 1, deleted: true }]);
  await db.transaction(async (tx) => {
    // At REPEATABLE READ it reads from here on what is there now.
    await createDrizzleAdapter(tx, options).getNode("a");
    now += 1000;
    await storage.applyChanges([{ ...change, key: "b" }]);
    while ((await storage.readReplicated(["gone"])).size > 0);
    const inside = createDrizzleAdapter(tx, options);
    assert.equal((await inside.applyChanges([{ ...change, hash: "y" }]))[0]?.version, 4);
    now += 60_000;
    assert.equal((await inside.applyChanges([{ ...change, key: "gone" }]))[0]?.version, 5);
    assert.equal((await storage.getNode("a"))?.hash, "x");
  });
  assert.equal((await storage.getNode("a"))?.hash, "y");
  assert.equal((await storage.getNode("gone"))?.version, 5);
  await storage.close();
  await pool.end();
});
