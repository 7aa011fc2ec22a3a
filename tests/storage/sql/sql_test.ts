/**
 * SQLStorage on SQLite, through a function that runs each statement on another connection.
 *
 * @module
 */
import assert from "node:assert/strict";
import { testStorage } from "../../../storage/conformance/mod.ts";
import { SQLStorage, type SQLStorageOptions, type SQLValue } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { afterCollection, Pool, START, withStorage } from "./sql_kit.ts";
import { Backings, type Made, SQL_SUPPORTS } from "./sqlite/sqlite_kit.ts";

for (const counter of ["sequential", "clock"] as const) {
  const backings = new Backings();
  const pools = new WeakMap<object, Pool>();
  const outbox = counter === "clock";
  const make = (path: string, now: () => number): Made => {
    const pool = new Pool(path, 3);
    const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const storage = new SQLStorage({ query, dialect: "sqlite", counter, now, outbox });
    pools.set(storage, pool);
    return [storage, () => pool.close(), query];
  };
  testStorage({
    name: `SQLStorage on a pool of SQLite connections, ${counter} counter`,
    create: () => backings.create(make),
    share: (storage) => backings.share(storage, make),
    destroy: (storage) => backings.destroy(storage),
    elapse: (storage) => backings.elapse(storage),
    disconnect: (storage) => pools.get(storage)?.close(),
    query: (storage, text, params) => backings.of(storage).query?.(text, params),
    test,
    supports: { ...SQL_SUPPORTS, outbox: outbox && "repeated" },
    runs: 15,
  });
}

test("SQLStorage makes each change in one statement", async () => {
  await withStorage({}, async (storage, pool) => {
    await storage.incrementVersion("a");
    await storage.adoptVector(new Map([["other", 1]]), "zzz");
    pool.asked = [];
    const changes = Array.from({ length: 1000 }, (_, i) => ({ key: `key:${i}`, hash: "x", updatedAt: 1 }));
    for (
      const write of [
        () => storage.applyChanges(changes.slice(0, 1)),
        () => storage.applyChanges(changes),
        () => storage.deleteNode("key:1"),
        () => storage.setNode("a", { key: "a", version: 9, hash: "", updatedAt: 1 }),
        () => storage.incrementVersion("a"),
        () => storage.mergeNodes(changes.map((node) => ({ node, replaces: null }))),
        () => storage.readReplicaState(),
        () => storage.readReplicated(changes.map(({ key }) => key)),
        () => storage.adoptVector(new Map([["other", 1]]), "zzz"),
        () => storage.readNodes(changes.map(({ key }) => key)),
        () => storage.getNodes(changes.map(({ key }) => key)),
      ]
    ) {
      pool.asked = [];
      await write();
      assert.equal(pool.asked.length, 1, `${write}: ${pool.asked}`);
    }
    // An equal version vector needs one statement, an older one two, and a full copy three.
    const { vector, replicaId } = await storage.readReplicaState();
    const older = new Map([...vector, [replicaId, vector.get(replicaId)! - 1]]);
    for (const [base, count] of [[vector, 1], [older, 2], [new Map(), 3]] as const) {
      pool.asked = [];
      await storage.readDelta(base, 10);
      assert.equal(pool.asked.length, count, `${pool.asked}`);
    }
  });
});

test("SQLStorage runs no statement for an empty list", async () => {
  await withStorage({}, async (storage, pool) => {
    assert.deepEqual(await storage.getNodes([]), new Map());
    assert.deepEqual(await storage.applyChanges([]), []);
    assert.deepEqual(await storage.listChangedSince(0, 0), []);
    assert.deepEqual(pool.asked, []);
  });
});

test("readNodes() returns the newest moment that it read if it needs several statements", async () => {
  await withStorage({}, async (storage, pool) => {
    const keys = Array.from({ length: 2_000 }, (_, i) => `${i}`.padEnd(500, "."));
    const before = await storage.readNodes(keys);
    assert.equal(before.newest, undefined);
    const query = pool.query.bind(pool);
    pool.query = async (sql, params) => {
      const rows = await query(sql, params);
      pool.query = query;
      await storage.applyChanges([{ key: keys[1_999]!, hash: "late", updatedAt: 1 }]);
      return rows;
    };
    const { maxVersion, newest, nodes } = await storage.readNodes(keys);
    const node = nodes.get(keys[1_999]!);
    assert.equal(node?.hash, "late");
    assert.equal(maxVersion, before.maxVersion);
    assert.equal(newest?.maxVersion, node.version);
    assert.equal(newest.recent, (await storage.readNodes([])).recent);
  });
});

test("SQLStorage uses its indexes: no statement on nodes scans or sorts the table", async () => {
  let now = START;
  await withStorage({ tombstoneTimeout: 1000, now: () => now }, async (storage, pool) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }, {
      key: "b",
      hash: "x",
      updatedAt: 1,
    }]);
    await storage.applyChanges([{ key: "a", hash: "y", updatedAt: 1 }]);
    await storage.setNode("c", { key: "c", version: 9, hash: "x", updatedAt: 1 });
    await storage.incrementVersion("a");
    await storage.getNode("a");
    await storage.getNodes(["a", "b"]);
    await storage.readNodes(["a", "b"]);
    await storage.listChangedSince(1);
    await storage.listChangedSince(1, 1);
    await storage.setNode("d", { key: "d", version: 2, hash: "x", updatedAt: 1 });
    const { vector, epoch, replicaId } = await storage.readReplicaState();
    const node = { key: "e", version: 50, hash: "x", updatedAt: 1, replicaId: "other", dotVersion: 60 };
    await storage.mergeNodes([{ node, replaces: null }]);
    await storage.adoptVector(new Map([["other", 60]]), epoch);
    await storage.readReplicated(["a", "b"]);
    await storage.readDelta(new Map(), 1);
    await storage.readDelta(vector, 10);
    await storage.readDelta(new Map([[replicaId, 1]]), 1);
    await storage.deleteNode("a");
    now += 1000;
    await storage.deleteNode("b");
    await afterCollection();
    assert.ok(pool.asked.some((sql) => sql.startsWith("DELETE")));
    for (const sql of new Set(pool.asked.filter((sql) => /^(WITH|SELECT|UPDATE|DELETE|INSERT)/.test(sql)))) {
      const plan = await pool.query(`EXPLAIN QUERY PLAN ${sql}`, Array(sql.split("?").length - 1).fill(null));
      const scans = plan.map((row) => String(row.detail)).filter((detail) =>
        /SCAN (reality_nodes|node|state|counter)\b/.test(detail)
      );
      assert.ok(scans.every((detail) => /USING .*INDEX/.test(detail)), `${sql}: ${scans}`);
      // The oldest expired tombstones are read from the index in order.
      const sweeps = plan.map((row) => String(row.detail)).filter((detail) => detail.includes("expires_at"));
      const looks = /^(SELECT origin, count|DELETE)/.test(sql);
      const range = /USING (COVERING )?INDEX reality_nodes_expires_at \(expires_at<\?\)/;
      assert.ok(
        sweeps.length === (looks ? 1 : 0) && sweeps.every((detail) => range.test(detail)),
        `${sql}: ${sweeps}`,
      );
      assert.ok(!plan.some(({ detail }) => String(detail).includes("FOR ORDER BY") && looks), sql);
    }
  });
});

test("SQLStorage accepts integers as numbers, bigints and text, and refuses those from 2^53 on", async () => {
  const kinds: [string, (value: number) => unknown][] = [
    ["bigint", (value) => BigInt(value)],
    ["text", (value) => String(value)],
  ];
  for (const [kind, convert] of kinds) {
    await withStorage({}, async (_storage, pool) => {
      const query = async (sql: string, params: readonly SQLValue[]) =>
        (await pool.query(sql, params)).map((row) =>
          Object.fromEntries(
            Object.entries(row).map((
              [name, value],
            ) => [name, typeof value === "number" ? convert(value) : value]),
          )
        );
      const storage = new SQLStorage({ query, dialect: "sqlite", counter: "sequential" });
      const metas = await storage.applyChanges([
        { key: "a", hash: "x", updatedAt: 1_700_000_000_000 },
        { key: "b", hash: "", updatedAt: 1, deleted: true },
      ]);
      assert.deepEqual(await storage.listChangedSince(0), metas, kind);
      assert.deepEqual(metas.map(({ version }) => version), [1, 2], kind);
      assert.equal(await storage.incrementVersion("a"), 3, kind);
    });
  }
  await withStorage({}, async (_storage, pool) => {
    const query = async (sql: string, params: readonly SQLValue[]) =>
      (await pool.query(sql, params)).map((row) => "version" in row ? { ...row, version: 2 ** 53 } : row);
    const storage = new SQLStorage({ query, dialect: "sqlite" });
    const refused = {
      code: "ERR_REALITY_STORAGE",
      message: /expected an integer below 2\^53, got 9007199254740992/,
    };
    await assert.rejects(storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]), refused);
    await assert.rejects(storage.getNode("a"), refused);
  });
});

test("SQLStorage refuses unknown and wrong options, and names them", () => {
  const query = () => [];
  const good = { query, dialect: "sqlite" };
  const wrong: [unknown, RegExp][] = [
    [{ ...good, table: "a" }, /Unknown option "table" of SQLStorage: known are .*tableName/],
    [{ dialect: "sqlite" }, /Option "query" is wrong: expected a function, got nothing/],
    [{ query }, /Option "dialect" is wrong: expected .*"sqlite", got nothing/],
    [{ query, dialect: "oracle" }, /Option "dialect" is wrong: expected .*"sqlite", got "oracle"/],
    [{ ...good, tableName: 'a"b' }, /Option "tableName" is wrong: .* got "a\\"b"/],
    [{ ...good, tableName: "x".repeat(49) }, /Option "tableName" is wrong/],
    [{ ...good, createTables: "yes" }, /Option "createTables" is wrong: expected true or false, got "yes"/],
    [
      { ...good, inTransaction: 1 },
      /Option "inTransaction" is wrong: expected true or false, got the number 1/,
    ],
    [{ ...good, counter: "random" }, /Option "counter" is wrong/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(() => new SQLStorage(options as SQLStorageOptions), { name: "TypeError", message });
  }
});
