import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "../../../harness.ts";
import { takeKeys, testRandomChanges, testSameName, track, type TrackedDatabase } from "./track_kit.ts";

/** Runs a test on a database in memory with an outbox. */
async function withDatabase(run: (db: TrackedDatabase) => Promise<void>): Promise<void> {
  const database = new DatabaseSync(":memory:");
  const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
  const db: TrackedDatabase = {
    dialect: "sqlite",
    run: (sql) => Promise.resolve(database.prepare(sql).all()),
    quote,
    textTypes: ["TEXT", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM"],
    oncePerStatement: false,
    createOutbox: (name) => [
      `CREATE TABLE ${name} (id INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT) STRICT`,
    ],
    upsert: (insert, id, columns) =>
      `${insert} ON CONFLICT (${quote(id)}) DO UPDATE SET ${
        columns.map(quote).map((name) => `${name} = excluded.${name}`)
      }`,
  };
  try {
    for (const statement of db.createOutbox("reality_outbox")) await db.run(statement);
    await run(db);
  } finally {
    database.close();
  }
}

test("trackTable() on SQLite writes the keys of changed rows, and none of a transaction that was rolled back", () =>
  withDatabase((db) => testRandomChanges(db, 20)));

test("trackTable() on SQLite tells trackings of the same name apart by their tables", () =>
  withDatabase(testSameName));

test("trackTable() on SQLite writes each kind of value as CAST(… AS TEXT) does", () =>
  withDatabase(async (db) => {
    await db.run("CREATE TABLE t (i INTEGER, r REAL, n NUMERIC, t TEXT, b BLOB, none)");
    await track(db, "t", ["i:{i}", "r:{r}", "n:{n}", "t:{t}", "b:{b}", "none:{none}"]);
    await db.run("INSERT INTO t VALUES (9007199254740993, 2, '1.50', 7, X'6162', NULL)");
    assert.deepEqual((await takeKeys(db)).sort(), ["b:ab", "i:9007199254740993", "n:1.5", "r:2.0", "t:7"]);
  }));

test("trackTable() on SQLite tells two keys that a column's collation takes for the same", () =>
  withDatabase(async (db) => {
    await db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)");
    await track(db, "t", ["{name}"]);
    await db.run("INSERT INTO t VALUES (1, 'a')");
    await takeKeys(db);
    await db.run("UPDATE t SET name = 'A'");
    assert.deepEqual((await takeKeys(db)).sort(), ["A", "a"]);
  }));

test("trackTable() on SQLite sees rows that REPLACE removes only with recursive_triggers", () =>
  withDatabase(async (db) => {
    await db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, room TEXT) WITHOUT ROWID");
    await track(db, "t", ["chat:{room}"]);
    await db.run("INSERT INTO t VALUES (1, 'old')");
    await takeKeys(db);
    await db.run("REPLACE INTO t VALUES (1, 'new')");
    assert.deepEqual(await takeKeys(db), ["chat:new"]);
    await db.run("PRAGMA recursive_triggers = ON");
    await db.run("REPLACE INTO t VALUES (1, 'newer')");
    assert.deepEqual((await takeKeys(db)).sort(), ["chat:new", "chat:newer"]);
    await db.run("DELETE FROM t");
    assert.deepEqual(await takeKeys(db), ["chat:newer"]);
  }));

test("trackTable() on SQLite sees the rows that a foreign key changes", () =>
  withDatabase(async (db) => {
    await db.run("PRAGMA foreign_keys = ON");
    await db.run("CREATE TABLE parent (id INTEGER PRIMARY KEY)");
    await db.run("CREATE TABLE child (parent REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL)");
    await track(db, "child", ["child:{parent}"]);
    await db.run("INSERT INTO parent VALUES (1), (2)");
    await db.run("INSERT INTO child VALUES (1), (2)");
    await takeKeys(db);
    await db.run("DELETE FROM parent WHERE id = 1");
    assert.deepEqual(await takeKeys(db), ["child:1"]);
    await db.run("UPDATE parent SET id = 3");
    assert.deepEqual(await takeKeys(db), ["child:2"]);
  }));

test("trackTable() on SQLite changes nothing when a column or a table does not exist, or the table is a view", () =>
  withDatabase(async (db) => {
    await db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, room TEXT)");
    await db.run("CREATE VIEW v AS SELECT * FROM t");
    await assert.rejects(
      async () => await track(db, "t", ["chat:{nope}"]),
      /no such column: reality_row\.nope/,
    );
    await assert.rejects(
      async () => await track(db, "t", ["a"], "{nope} = 1"),
      /no such column: reality_row\.nope/,
    );
    await assert.rejects(async () => await track(db, "nope", ["a"]), /no such table: nope/);
    await assert.rejects(
      async () => await track(db, "v", ["chat:{room}"]),
      /cannot create AFTER trigger on view/,
    );
    assert.deepEqual(await db.run("SELECT name FROM sqlite_master WHERE type = 'trigger'"), []);
    await db.run("INSERT INTO t VALUES (1, 'a')");
  }));

test("trackTable() on SQLite cuts what is far too long for a key", () =>
  withDatabase(async (db) => {
    await db.run("CREATE TABLE t (text TEXT)");
    await track(db, "t", ["{text}"]);
    await db.run(`INSERT INTO t VALUES ('${"é".repeat(1000)}')`);
    assert.deepEqual(await takeKeys(db), ["é".repeat(513)]);
  }));
