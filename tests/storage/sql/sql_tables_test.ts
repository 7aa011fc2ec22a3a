/**
 * The table of an SQLStorage: created, emptied, of another shape, and of older versions.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SQLStorage, type SQLValue } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { testExistingTable } from "../existing_tables.ts";
import { Pool, withStorage } from "./sql_kit.ts";
import { inFolder } from "./sqlite/sqlite_kit.ts";

test("SQLStorage has another epoch and a new counter after the table was emptied", async () => {
  await withStorage({ counter: "sequential" }, async (storage, pool) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    const epochs = [(await storage.getIdentity()).epoch];
    const expectNewCounter = async () => {
      const [meta] = await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
      assert.equal(meta?.version, 1);
      epochs.push((await storage.getIdentity()).epoch);
      assert.equal(new Set(epochs).size, epochs.length);
    };
    await pool.query("DELETE FROM reality_nodes", []);
    await expectNewCounter();
    await pool.query("DELETE FROM reality_nodes", []);
    assert.equal(await storage.getMaxVersion(), 0);
    await expectNewCounter();
    await pool.query("DROP TABLE reality_nodes", []);
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE" });
    await expectNewCounter();
  });
});

test("SQLStorage reports a table with other columns and does not use it", async () => {
  await withStorage({}, async (storage, pool) => {
    await pool.query("CREATE TABLE reality_nodes (key TEXT PRIMARY KEY, version INTEGER, hash TEXT)", []);
    const message =
      /table "reality_nodes" has another shape: it lacks node_key, .* and has key, version, hash/;
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE", message });
    assert.equal(await storage.isHealthy(), false);
    const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const other = new SQLStorage({ query, dialect: "sqlite", tableName: "other_nodes" });
    assert.equal(await other.getMaxVersion(), 0);
  });
});

test("SQLStorage with createTables: false needs the table that schema makes", async () => {
  await withStorage({ createTables: false }, async (storage, pool, path) => {
    const message = /table "reality_nodes" is not there: make it from storage\.schema/;
    await assert.rejects(storage.getMaxVersion(), { code: "ERR_REALITY_STORAGE", message });
    const database = new DatabaseSync(path);
    database.exec(storage.schema);
    database.exec(storage.schema);
    database.close();
    pool.asked = [];
    assert.equal(await storage.getMaxVersion(), 0);
    assert.ok(pool.asked.every((sql) => !sql.startsWith("CREATE")));
  });
});

test("storages that create one table at the same time have one identity", async () => {
  await inFolder(async (folder) => {
    const pool = new Pool(join(folder, "reality.db"), 4);
    try {
      const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
      const storages = Array.from({ length: 12 }, () => new SQLStorage({ query, dialect: "sqlite" }));
      const identities = await Promise.all(storages.map((storage) => storage.getIdentity()));
      assert.equal(new Set(identities.map(({ epoch, replicaId }) => `${epoch} ${replicaId}`)).size, 1);
    } finally {
      pool.close();
    }
  });
});

test("SQLStorage keeps two tables of one database apart", async () => {
  await withStorage({}, async (storage, pool) => {
    const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const other = new SQLStorage({ query, dialect: "sqlite", tableName: "other" });
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    assert.equal(await other.getNode("a"), null);
    assert.equal(await other.getMaxVersion(), 0);
    assert.notEqual((await other.getIdentity()).replicaId, (await storage.getIdentity()).replicaId);
  });
});

test("SQLStorage on SQLite continues a table of version 2.0.0", async () => {
  const database = new DatabaseSync(":memory:");
  await testExistingTable("sqlite", (sql, params) => database.prepare(sql).all(...params));
  database.close();
});

/** The table of older versions. Its counter has no residue, and its numbers are consecutive or random. */
const OLD_SCHEMA = `CREATE TABLE reality_nodes (
  node_key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, hash TEXT NOT NULL, updated_at INTEGER NOT NULL,
  expires_at INTEGER, origin TEXT, stamp INTEGER, epoch TEXT, max_version INTEGER, max_stamp INTEGER,
  swept_version INTEGER, late INTEGER, mesh TEXT
) STRICT, WITHOUT ROWID`;

test("SQLStorage continues by the clock a table that an older version numbered in another way", async () => {
  const now = Date.UTC(2026, 0, 1);
  for (const top of [3, (now - Date.UTC(2020, 0, 1)) * 1000 + 77]) {
    await withStorage({ now: () => now }, async (storage, pool) => {
      await pool.query(OLD_SCHEMA, []);
      const row = `INSERT INTO reality_nodes VALUES (?, ?, ?, ?, NULL, NULL, NULL`;
      await pool.query(`${row}, NULL, NULL, NULL, NULL, NULL, NULL)`, ["a", top - 1, "x", 5]);
      await pool.query(`${row}, NULL, NULL, NULL, NULL, NULL, NULL)`, ["b", top, "y", 6]);
      const mesh = '{"seen":{"other":2},"swept":{}}';
      await pool.query(
        `INSERT INTO reality_nodes VALUES ('', ?, '', 0, NULL, 'o', NULL, 'e', ?, ?, 0, 0, ?)`,
        [top, top, top, mesh],
      );
      const old = [{ key: "a", version: top - 1, hash: "x", updatedAt: 5 }, {
        key: "b",
        version: top,
        hash: "y",
        updatedAt: 6,
      }];
      assert.deepEqual(await storage.listChangedSince(0), old);
      assert.deepEqual(await storage.getIdentity(), { epoch: "e", replicaId: "o" });
      const { vector } = await storage.readReplicaState();
      const residue = (vector.get("o") ?? 0) % 256;
      assert.ok(residue !== 2 && (vector.get("o") ?? 0) > top);
      assert.equal(await storage.getMaxVersion(), top);
      const metas = await storage.applyChanges([{ key: "c", hash: "z", updatedAt: 7 }]);
      assert.ok(metas[0]!.version > (vector.get("o") ?? 0) && metas[0]!.version % 256 === residue);
      assert.deepEqual(await storage.listChangedSince(0), [...old, ...metas]);
      assert.deepEqual((await storage.readDelta(new Map([["o", top]]), 10)).nodes.map(({ key }) => key), [
        "c",
      ]);
    });
  }
});
