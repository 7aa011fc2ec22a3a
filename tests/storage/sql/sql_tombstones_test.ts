/**
 * How an SQLStorage collects tombstones.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { type SQLRow, SQLStorage, type SQLValue } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { afterCollection, deletions, START, withStorage } from "./sql_kit.ts";

test("SQLStorage collects many tombstones in steps after writes, until none is left", async () => {
  let now = START;
  await withStorage(
    { counter: "sequential", tombstoneTimeout: 1000, now: () => now },
    async (storage, pool) => {
      for (let batch = 0; batch < 3; batch++) await storage.applyChanges(deletions(900, `key:${batch}`));
      now += 1000;
      for (const left of [1700, 700, 0, 0]) {
        pool.asked = [];
        await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: now });
        // The write settles before any tombstone is collected.
        assert.equal(pool.asked.length, 1);
        await afterCollection();
        const history = await storage.listChangedSince(1);
        assert.equal(history.length, left);
        // Every missing version is reported as collected, and few others are.
        const { collectedVersion } = await storage.readNodes([]);
        const there = new Set(history.map(({ version }) => version));
        let missing = 2700;
        while (there.has(missing)) missing--;
        assert.ok(
          collectedVersion >= missing && collectedVersion <= 3600 - left,
          `${collectedVersion} with ${left} left`,
        );
        assert.equal(await storage.getMaxVersion(), 2700);
      }
    },
  );
});

test("SQLStorage collects tombstones as fast as they are made, so the table stays small", async () => {
  let now = START;
  await withStorage({ tombstoneTimeout: 100_000, now: () => now }, async (storage, pool) => {
    let most = 0;
    // 200 a second, for five times as long as tombstones are kept.
    for (let i = 0; i < 500; i++) {
      await storage.applyChanges(deletions(200, `key:${i}`));
      await afterCollection();
      now += 1000;
      if (i % 10 > 0) continue;
      const [row] = await pool.query("SELECT count(*) AS count FROM reality_nodes", []);
      most = Math.max(most, Number(row?.count));
    }
    // The tombstones that are kept, and at most those of one more minute: expired ones are searched once a minute.
    assert.ok(most <= 200 * 160 + 1000, `${most} rows`);
    assert.ok(most >= 200 * 100, `${most} rows`);
  });
});

test("SQLStorage pauses three times as long as a step took, and a minute after the last step", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const query = (sql: string, params: readonly SQLValue[]) => {
      // A step takes 50 milliseconds. Nothing else advances the clock.
      if (sql.startsWith("DELETE")) now += 50;
      return pool.query(sql, params);
    };
    const storage = new SQLStorage({ query, dialect: "sqlite", now: () => now });
    for (let batch = 0; batch < 2; batch++) await storage.applyChanges(deletions(1000, `key:${batch}`));
    await storage.applyChanges(deletions(1, "more"));
    now += 86_400_000;
    const collects = async (after: number): Promise<boolean> => {
      now += after;
      pool.asked = [];
      await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: now });
      await afterCollection();
      return pool.asked.some((sql) => sql.startsWith("SELECT origin, count"));
    };
    const found: boolean[] = [];
    for (const after of [0, 299, 1, 299, 1, 59_999, 1]) found.push(await collects(after));
    assert.deepEqual(found, [true, false, true, false, true, false, true]);
  });
});

test("SQLStorage records no collected tombstone of a replica that is forgotten meanwhile", async () => {
  let now = START;
  await withStorage({ tombstoneTimeout: 1000, now: () => now }, async (other, pool) => {
    const { epoch, replicaId } = await other.readReplicaState();
    const dot = { replicaId: "gone", version: 5 };
    const node = { key: "a", version: 5, hash: "", updatedAt: 1, deleted: true as const, replicaId: "gone" };
    await other.mergeNodes([{ node: { ...node, dotVersion: 5 }, replaces: null }]);
    await other.adoptVector(new Map([["gone", 5]]), epoch);
    // As the mesh does in another process: the tombstone is written again, and its replica is forgotten.
    const forget = async () => {
      const [again] = await other.mergeNodes([{
        node: { key: "a", hash: "", updatedAt: 1, deleted: true },
        replaces: dot,
      }]);
      await other.forgetReplicas(new Map([["gone", 5]]), { replicaId, version: again!.version });
    };
    let searches = 0;
    const query = async (sql: string, params: readonly SQLValue[]) => {
      const rows = await pool.query(sql, params);
      if (sql.startsWith("SELECT origin, count") && searches++ === 0) {
        assert.equal(rows.length, 1);
        await forget();
      }
      return rows;
    };
    const storage = new SQLStorage({
      query,
      dialect: "sqlite",
      tombstoneTimeout: 1000,
      now: () => now,
    });
    await storage.setNode("b", { key: "b", version: 1, hash: "", updatedAt: now });
    now += 1000;
    await storage.setNode("b", { key: "b", version: 2, hash: "", updatedAt: now });
    await afterCollection();
    const { collected, vector } = await storage.readReplicaState();
    assert.deepEqual([searches, collected.has("gone"), vector.has("gone")], [1, false, false]);
  });
});

test("SQLStorage collects nothing in its first minute, in a transaction, or without a time limit", async () => {
  let now = START;
  await withStorage({ now: () => now }, async (storage, pool) => {
    await storage.applyChanges(deletions(5, "key"));
    now += 90_000_000;
    const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const options = { query, dialect: "sqlite", now: () => now } as const;
    for (const more of [{}, { inTransaction: true }, { tombstoneTimeout: Infinity }]) {
      const other = new SQLStorage({ ...options, ...more });
      pool.asked = [];
      for (let i = 0; i < 3; i++) {
        await other.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
        await afterCollection();
        if ("inTransaction" in more || "tombstoneTimeout" in more) now += 60_000;
      }
      assert.ok(pool.asked.every((sql) => !sql.startsWith("SELECT origin, count")));
    }
    assert.equal((await storage.listChangedSince(0)).length, 6);
  });
});

test("SQLStorage with requestScopedIO collects a step within a write, and continues after a lost request", async () => {
  let now = START;
  await withStorage({ now: () => now }, async (storage, pool) => {
    for (let batch = 0; batch < 2; batch++) await storage.applyChanges(deletions(600, `key:${batch}`));
    now += 86_400_000;
    let isLost = true;
    const query = (sql: string, params: readonly SQLValue[]) => {
      // The request ends, and its statement is never answered.
      if (sql.startsWith("SELECT origin, count") && isLost) return new Promise<never>(() => {});
      return pool.query(sql, params);
    };
    const open = () => new SQLStorage({ query, dialect: "sqlite", now: () => now, requestScopedIO: true });
    const other = open();
    const change = { key: "a", hash: "x", updatedAt: 1 };
    void other.applyChanges([change]);
    await afterCollection();
    isLost = false;
    await other.applyChanges([change]);
    assert.equal((await storage.listChangedSince(0)).length, 1201);
    now += 60_000;
    for (const left of [701, 201, 1, 1]) {
      await other.applyChanges([change]);
      assert.equal((await storage.listChangedSince(0)).length, left);
    }
    // A storage that is made for each request collects as well.
    await storage.applyChanges(deletions(5, "key"));
    now += 86_400_000;
    await open().applyChanges([change]);
    assert.equal((await storage.listChangedSince(0)).length, 1);
  });
});

test("close() waits for the running step of collection, and no other step starts", async () => {
  let now = START;
  await withStorage({ now: () => now }, async (storage, pool) => {
    await storage.applyChanges(deletions(5, "key"));
    let answer = (_rows: SQLRow[]) => {};
    const query = (sql: string, params: readonly SQLValue[]) => {
      if (sql.startsWith("SELECT origin, count")) {
        return new Promise<SQLRow[]>((resolve) => answer = resolve);
      }
      return pool.query(sql, params);
    };
    const other = new SQLStorage({ query, dialect: "sqlite", now: () => now });
    await other.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    now += 90_000_000;
    await other.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    await afterCollection();
    pool.asked = [];
    let isClosed = false;
    const closing = other.close().then(() => isClosed = true);
    await afterCollection();
    assert.equal(isClosed, false, "close() waits for the running step");
    answer([{ origin: null, found: 5, stamp: 5, version: 5, expires_at: 1 }]);
    await closing;
    await afterCollection();
    assert.deepEqual(pool.asked, [], "no step starts after close()");
    await assert.rejects(other.getNode("a"), { code: "ERR_REALITY_CLOSED" });
  });
});

test("SQLStorage measures the age of tombstones by the database's clock alone", async () => {
  const { now } = Date;
  let ahead = 0;
  Date.now = () => now() + ahead;
  try {
    await withStorage({ tombstoneTimeout: 1 }, async (storage, pool) => {
      const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
      const day = { query, dialect: "sqlite", tombstoneTimeout: 86_400_000 } as const;
      // Written by processes whose clocks are a day behind, right and a day ahead.
      for (ahead of [-90_000_000, 0, 90_000_000]) {
        await new SQLStorage(day).applyChanges(deletions(1, `kept:${ahead}`));
      }
      const kept = Array.from(
        await pool.query("SELECT expires_at FROM reality_nodes WHERE expires_at > 0", []),
      );
      assert.equal(kept.length, 3);
      for (const { expires_at: until } of kept) {
        assert.ok(Math.abs(Number(until) - now() - 86_400_000) < 60_000, `${until}`);
      }
      // This storage collects after a millisecond, and its clock is a day ahead.
      await storage.applyChanges(deletions(1, "gone"));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
      await afterCollection();
      const keys = (await storage.listChangedSince(0)).map(({ key }) => key);
      assert.deepEqual(keys, ["kept:-90000000:0", "kept:0:0", "kept:90000000:0", "a"]);
    });
  } finally {
    Date.now = now;
  }
});

test("SQLStorage collects a backlog of tombstones in short steps", async () => {
  let now = START;
  await withStorage({ now: () => now }, async (storage, pool) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    await pool.query(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) " +
        "INSERT INTO reality_nodes (node_key, version, hash, updated_at, expires_at) " +
        "SELECT printf('key:%08x', (i * 2654435761) & 4294967295), i + 1, '', 1, ? + i FROM n",
      [START],
    );
    await pool.query(
      "UPDATE reality_nodes SET version = 300001, max_version = 300001 WHERE node_key = ''",
      [],
    );
    now += 86_400_000;
    let slowest = 0;
    const writes = 10;
    for (let i = 0; i < writes; i++) {
      await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: i + 2 });
      for (let task = 0; task < 3; task++) {
        const beginning = process.cpuUsage();
        await new Promise((resolve) => setTimeout(resolve, 1));
        const { user, system } = process.cpuUsage(beginning);
        slowest = Math.max(slowest, (user + system) / 1000);
      }
    }
    const [row] = await pool.query("SELECT count(*) AS count FROM reality_nodes", []);
    assert.equal(row?.count, 300_002 - writes * 1000);
    assert.equal((await storage.readNodes([])).collectedVersion, writes * 1000 + 1);
    // Processor time, since other processes use the processor as well.
    assert.ok(slowest < 200, `${slowest} ms of work in one task`);
  });
});

test("SQLStorage records how far it collects before it deletes, while another storage adopts version vectors", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const tombstoneTimeout = 1000;
    const ask = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const other = new SQLStorage({ query: ask, dialect: "sqlite", counter: "sequential", now: () => now });
    let adopted = 0;
    let failures = 0;
    const query = async (sql: string, params: readonly SQLValue[]) => {
      // The other storage writes first twice. Then the deletion fails.
      if (sql.includes("swept_version = max") && adopted < 2) {
        await other.adoptVector(new Map([["other", ++adopted]]), "zzz");
      }
      if (sql.startsWith("DELETE") && failures++ === 0) throw new Error("gone");
      return await ask(sql, params);
    };
    const storage = new SQLStorage({
      query,
      dialect: "sqlite",
      counter: "sequential",
      tombstoneTimeout,
      now: () => now,
    });
    const { replicaId } = await storage.getIdentity();
    await storage.applyChanges([{ key: "a", hash: "", updatedAt: 1, deleted: true }]);
    const theirs = {
      key: "b",
      version: 9,
      hash: "",
      updatedAt: 1,
      deleted: true,
      replicaId: "other",
      dotVersion: 11,
    };
    await storage.mergeNodes([{ node: { ...theirs, deleted: true }, replaces: null }]);
    now += 1000;
    // The write does not fail.
    await storage.deleteNode("c");
    while (failures === 0) await afterCollection();
    const { vector, collected } = await storage.readReplicaState();
    assert.equal(vector.get("other"), 2);
    assert.deepEqual(collected, new Map([[replicaId, 1], ["other", 11]]));
    assert.equal(
      (await storage.readReplicated(["a", "b"])).size,
      2,
      "recorded as collected, and not deleted yet",
    );
    now += 999;
    await storage.deleteNode("d");
    await afterCollection();
    assert.equal(failures, 1, "no second try within the interval");
    now += 1;
    await storage.deleteNode("d");
    await afterCollection();
    assert.deepEqual([...(await storage.readReplicated(["a", "b", "d"])).keys()], ["d"]);
  });
});

test("readDelta() reports as collected what is collected while it reads", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const ask = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const options = { dialect: "sqlite", tombstoneTimeout: 1000, now: () => now } as const;
    const other = new SQLStorage({ query: ask, ...options });
    await other.applyChanges([{ key: "b", hash: "", updatedAt: 1 }]);
    let collect = () => Promise.resolve();
    const query = async (sql: string, params: readonly SQLValue[]) => {
      // Between the statements that read the version vector and the nodes.
      if (sql.startsWith("WITH told")) await collect();
      return await ask(sql, params);
    };
    const storage = new SQLStorage({ query, ...options });
    await storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]);
    for (const base of [(await storage.readReplicaState()).vector, new Map<string, number>()]) {
      await storage.applyChanges([{ key: "gone", hash: "", updatedAt: 1, deleted: true }]);
      const { vector } = await storage.readReplicaState();
      collect = async () => {
        now += 60_000;
        await other.applyChanges([{ key: "b", hash: "", updatedAt: 1 }]);
        await afterCollection();
      };
      const delta = await storage.readDelta(base, 10);
      assert.deepEqual(delta.nodes.filter(({ key }) => key === "gone"), []);
      assert.deepEqual(delta.collected, vector);
      assert.deepEqual(delta.vector, vector, "the version vector does not include later changes");
    }
  });
});
