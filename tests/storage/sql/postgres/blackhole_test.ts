/**
 * PostgreSQL behind connections that go silent, through each way to reach it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { Link } from "../../../cluster/link.ts";
import { test } from "../../../harness.ts";
import { testBlackhole } from "../../blackhole_kit.ts";
import { newTableName } from "../../table_kit.ts";
import { POSTGRES_URL } from "./drivers.ts";

testBlackhole({
  name: "openPostgres",
  address: POSTGRES_URL,
  open: (address) => {
    const storage = openPostgres(address, { tableName: newTableName(), statementTimeout: 1000 });
    return Promise.resolve([storage, () => storage.close()]);
  },
  storageTimeout: 2500,
  succeedsAtOnce: true,
});

testBlackhole({
  name: "SQLStorage through pg with its time limits",
  address: POSTGRES_URL,
  open: (connectionString) => {
    const limits = { connectionTimeoutMillis: 1000, query_timeout: 1000 };
    const pool = new pg.Pool({ connectionString, max: 3, ...limits });
    pool.on("error", () => {});
    const storage = new SQLStorage({
      query: (sql, params) => pool.query(sql, params).then((r) => r.rows),
      dialect: "postgres",
      tableName: newTableName(),
    });
    return Promise.resolve([storage, () => pool.end()]);
  },
  storageTimeout: 6000,
  succeedsAtOnce: false,
});

test("openPostgres hears again of changes after its listening connection went silent", async () => {
  const url = new URL(POSTGRES_URL);
  const link = await Link.open(Number(url.port));
  url.port = String(link.port);
  const tableName = newTableName();
  const storage = openPostgres(url.href, { tableName, statementTimeout: 1000 });
  const other = openPostgres(POSTGRES_URL, { tableName });
  try {
    const heard: (readonly string[] | null)[] = [];
    const leave = await storage.subscribe!((keys) => heard.push(keys));
    link.trouble = "silent";
    link.abandon();
    // It is looked at every 5 seconds, and then sought.
    for (let i = 0; !heard.includes(null); i++) {
      assert.ok(i < 1000, "it was not noticed");
      await sleep(10);
    }
    await other.applyChanges([{ key: "a", hash: "h", updatedAt: 1 }]);
    for (let i = 0; !heard.some((keys) => keys?.includes("a")); i++) {
      assert.ok(i < 500, "it does not hear");
      await sleep(10);
    }
    await leave();
  } finally {
    await storage.close();
    await other.close();
    await link.close();
  }
});
