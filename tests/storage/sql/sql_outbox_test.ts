/**
 * The outbox of SQLStorage: its options and tables, the number of its statements, and failures between them.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { OutboxChange } from "../../../src/store/contract.ts";
import { RealityServer } from "../../../mod.ts";
import { SQLStorage, type SQLStorageOptions } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { type Pool, withStorage } from "./sql_kit.ts";

const change = (id: number): OutboxChange => ({ key: `key:${id}`, hash: "x", updatedAt: 1, rows: [id] });

/** Writes rows with the ids from 1 on. */
async function insert(storage: SQLStorage, pool: Pool, count: number): Promise<void> {
  await storage.getMaxVersion();
  const keys = Array.from({ length: count }, (_, i) => ({ key: `key:${i + 1}`, hash: "" }));
  const { text, params } = storage.outbox!.insertion(keys);
  await pool.query(text, params);
}

test("a reading of SQLStorage with an outbox is one statement", async () => {
  await withStorage({ outbox: true }, async (storage, pool) => {
    await insert(storage, pool, 2);
    for (
      const read of [
        () => storage.readNodes(["a", "b"]),
        () => storage.readChanges(0, 10),
        () => storage.readReplicaState(),
        () => storage.outbox!.readRows(2, 10),
        () => storage.outbox!.readRows(2, 10, ["a", "b"]),
        () => storage.outbox!.summarize(10),
        () => storage.outbox!.setAside([{ id: 2, key: "key:2", hash: null, format: 1 }]),
      ]
    ) {
      pool.asked = [];
      await read();
      assert.equal(pool.asked.length, 1, `${read}: ${pool.asked}`);
    }
  });
});

test("SQLStorage without an outbox does not name one", async () => {
  await withStorage({}, async (storage, pool) => {
    await storage.readNodes(["a"]);
    await storage.readChanges(0, 10);
    assert.equal(storage.outbox, undefined);
    assert.doesNotMatch([...pool.asked, storage.schema].join(), /outbox/);
  });
});

test("SQLStorage removes rows of the outbox only after their changes were written", async () => {
  await withStorage({ outbox: true }, async (storage, pool) => {
    await insert(storage, pool, 1);
    const failAt = async (statement: RegExp) => {
      const { query } = pool;
      pool.query = (sql, params) =>
        statement.test(sql) ? Promise.reject(new Error("cut")) : query.call(pool, sql, params);
      await assert.rejects(storage.outbox!.applyRows([change(1)]), /cut/);
      pool.query = query;
    };
    await failAt(/^WITH/);
    assert.equal((await storage.outbox!.readRows(1, 10)).length, 1);
    assert.equal(await storage.getNode("key:1"), null);
    await failAt(/^DELETE/);
    assert.equal((await storage.outbox!.readRows(1, 10)).length, 1, "the next server makes the change again");
    const first = await storage.getNode("key:1");
    assert.ok(first !== null);
    assert.ok(await storage.outbox!.applyRows([change(1)]) > first.version);
    assert.deepEqual(await storage.outbox!.readRows(1, 10), []);
  });
});

test("SQLStorage runs both statements in the transaction that it is given", async () => {
  const together: string[][] = [];
  let pools: Pool[] = [];
  const transaction: SQLStorageOptions["transaction"] = async (statements) => {
    together.push(statements.map(({ sql }) => sql.slice(0, 6)));
    const results = [];
    for (const { sql, params } of statements) results.push(await pools[0]!.query(sql, params));
    return results;
  };
  await withStorage({ outbox: true, transaction }, async (storage, pool) => {
    pools = [pool];
    await insert(storage, pool, 2);
    assert.ok(await storage.outbox!.applyRows([change(1), change(2)]) > 0);
    assert.deepEqual(together, [["WITH g", "DELETE"]]);
    assert.equal((await storage.readNodes([])).outbox, undefined);
  });
  const wrong: SQLStorageOptions["transaction"] = () => [];
  await withStorage({ outbox: true, transaction: wrong }, async (storage, pool) => {
    await insert(storage, pool, 1);
    await assert.rejects(
      storage.outbox!.applyRows([change(1)]),
      /"transaction" must give a list with the result of each/,
    );
  });
});

test("SQLStorage keeps the rows of the outbox if there is no number left", async () => {
  for (const isTogether of [false, true]) {
    let pools: Pool[] = [];
    const transaction: SQLStorageOptions["transaction"] = async (statements) => {
      const results = [];
      for (const { sql, params } of statements) results.push(await pools[0]!.query(sql, params));
      return results;
    };
    const options = { outbox: true, counter: "sequential", ...(isTogether && { transaction }) } as const;
    await withStorage(options, async (storage, pool) => {
      pools = [pool];
      await insert(storage, pool, 1);
      await storage.setNode("a", { key: "a", version: Number.MAX_SAFE_INTEGER, hash: "", updatedAt: 1 });
      await assert.rejects(storage.outbox!.applyRows([change(1)]), RangeError);
      assert.equal((await storage.outbox!.readRows(1, 10)).length, 1);
    });
  }
});

test("values of any type in the outbox of SQLite are changes if the key is a text, and stop no other row", async () => {
  await withStorage({ outbox: true }, async (storage, pool) => {
    const errors: string[] = [];
    const server = new RealityServer({ storage, onError: ({ message }) => void errors.push(message) });
    await storage.getMaxVersion();
    for (const format of ["'x'", "1.5", "X'02'", "9e99"]) {
      await pool.query(`INSERT INTO reality_outbox (key, format) VALUES ('format', ${format})`, []);
    }
    await pool.query(
      "INSERT INTO reality_outbox (key, hash) VALUES ('hash', X'61'), (X'61', 'x'), (7, 8)",
      [],
    );
    const { changed } = await server.handleSync({ known: { format: 0, hash: 0, "7": 0 } });
    assert.deepEqual(Object.keys(changed).sort(), ["7", "format", "hash"]);
    assert.equal(changed["7"]?.hash, "8");
    assert.equal(errors.filter((error) => /got a random hash/.test(error)).length, 5);
    assert.equal(errors.filter((error) => /row 6 .* was set aside/.test(error)).length, 1);
    assert.equal(errors.length, 6);
    await server.close();
  });
});

test("SQLStorage on SQLite sets rows of the outbox aside whose ids were given again", async () => {
  await withStorage({ outbox: true }, async (storage, pool) => {
    const outbox = storage.outbox!;
    for (let count = 2; count <= 6; count += 2) {
      await insert(storage, pool, 2);
      await outbox.setAside(await outbox.readRows(9, 9));
      assert.deepEqual(await outbox.summarize(9), { pending: 0, oldestAge: 0, setAside: count });
      await pool.query("DELETE FROM sqlite_sequence", []);
    }
  });
});

test("SQLStorage makes the outbox beside a table that is there, or says that it is missing", async () => {
  await withStorage({}, async (plain, pool) => {
    await plain.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    const query: SQLStorageOptions["query"] = (sql, params) => pool.query(sql, params);
    const options = { query, dialect: "sqlite", outbox: true } as const;
    const unmade = new SQLStorage({ ...options, createTables: false });
    await assert.rejects(
      unmade.getNode("a"),
      /table "reality_outbox" is not there: make it from storage\.schema/,
    );
    const made = new SQLStorage(options);
    assert.equal((await made.getNode("a"))?.hash, "x");
    assert.deepEqual(await made.outbox!.readRows(1, 1), []);
    assert.equal((await unmade.getNode("a"))?.hash, "x");
  });
});

test("SQLStorage names the outbox after the table of the nodes", () => {
  const query = () => [];
  const schemaOf = (options: Partial<SQLStorageOptions>) =>
    new SQLStorage({ query, dialect: "postgres", outbox: true, ...options }).schema;
  assert.match(
    schemaOf({}),
    /CREATE TABLE IF NOT EXISTS "reality_outbox" .*pg_notify\('reality:reality_nodes', ''\)/s,
  );
  assert.match(schemaOf({ tableName: "app_nodes" }), /CREATE TABLE IF NOT EXISTS "app_outbox"/);
  assert.match(schemaOf({ tableName: "nodes" }), /CREATE TABLE IF NOT EXISTS "nodes_outbox"/);
  assert.match(schemaOf({ outbox: { tableName: "mine" } }), /CREATE TABLE IF NOT EXISTS "mine"/);
  assert.doesNotMatch(schemaOf({ outbox: { notify: false } }), /NOTIFY|pg_notify|TRIGGER/);
  const wrong = (outbox: unknown, message: RegExp) =>
    assert.throws(() => schemaOf({ outbox: outbox as boolean }), message);
  wrong(1, /Option "outbox" is wrong: expected true, false or an object/);
  wrong({ tablename: "x" }, /Unknown option "tablename" of outbox/);
  wrong({ tableName: "x y" }, /Option "tableName" is wrong/);
  wrong({ tableName: "reality_nodes" }, /Option "outbox" is wrong: expected another table than the nodes'/);
  wrong({ notify: 1 }, /Option "notify" is wrong/);
});
