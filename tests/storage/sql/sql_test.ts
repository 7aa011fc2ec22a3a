/**
 * SQLStorage on SQLite, through nothing but a function that runs a statement, each on another connection.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import type { NodeChange } from "../../../src/store/contract.ts";
import { testStorage } from "../../../storage/conformance/mod.ts";
import {
  type SQLRow,
  SQLStorage,
  type SQLStorageOptions,
  type SQLValue,
} from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { testExistingTable } from "../existing_tables.ts";
import { Backings, inFolder, SQL_SUPPORTS } from "./sqlite/sqlite_kit.ts";

/** As a pool of connections: each statement goes to the next one, and takes its time. */
class Pool {
  readonly #connections: DatabaseSync[];
  #turn = 0;
  /** Statements that were run. */
  asked: string[] = [];

  constructor(path: string, size: number) {
    this.#connections = Array.from({ length: size }, () => {
      const connection = new DatabaseSync(path);
      connection.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
      return connection;
    });
  }

  async query(sql: string, params: readonly SQLValue[]): Promise<SQLRow[]> {
    const connection = this.#connections[this.#turn++ % this.#connections.length];
    assert.ok(connection, "the pool has connections");
    await Promise.resolve();
    this.asked.push(sql);
    return connection.prepare(sql).all(...params) as SQLRow[];
  }

  close(): void {
    for (const connection of this.#connections) if (connection.isOpen) connection.close();
  }
}

/** Runs with a storage on a new file, over one connection. */
async function withStorage(
  options: Partial<SQLStorageOptions>,
  use: (storage: SQLStorage, pool: Pool, path: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const pool = new Pool(path, 1);
    try {
      const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
      await use(new SQLStorage({ query, dialect: "sqlite", ...options }), pool, path);
    } finally {
      pool.close();
    }
  });
}

for (const counter of ["sequential", "clock"] as const) {
  const backings = new Backings();
  const pools = new WeakMap<object, Pool>();
  const make = (path: string, now: () => number): [SQLStorage, () => void] => {
    const pool = new Pool(path, 3);
    const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const storage = new SQLStorage({ query, dialect: "sqlite", counter, now });
    pools.set(storage, pool);
    return [storage, () => pool.close()];
  };
  testStorage({
    name: `SQLStorage on a pool of SQLite connections, ${counter} counter`,
    create: () => backings.create(make),
    share: (storage) => backings.share(storage, make),
    destroy: (storage) => backings.destroy(storage),
    elapse: (storage) => backings.elapse(storage),
    disconnect: (storage) => pools.get(storage)?.close(),
    test,
    supports: SQL_SUPPORTS,
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
    // What others have seen is compared with what is seen here.
    const { vector, replicaId } = await storage.readReplicaState();
    const older = new Map([...vector, [replicaId, vector.get(replicaId)! - 1]]);
    for (const [base, count] of [[vector, 1], [older, 2], [new Map(), 3]] as const) {
      pool.asked = [];
      await storage.readDelta(base, 10);
      assert.equal(pool.asked.length, count, `${pool.asked}`);
    }
  });
});

test("SQLStorage asks nothing for an empty list", async () => {
  await withStorage({}, async (storage, pool) => {
    assert.deepEqual(await storage.getNodes([]), new Map());
    assert.deepEqual(await storage.applyChanges([]), []);
    assert.deepEqual(await storage.listChangedSince(0, 0), []);
    assert.deepEqual(pool.asked, []);
  });
});

test("SQLStorage tells the last moment that it read nodes of, where it takes several statements", async () => {
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
    await afterSweep();
    assert.ok(pool.asked.some((sql) => sql.startsWith("DELETE")));
    for (const sql of new Set(pool.asked.filter((sql) => /^(WITH|SELECT|UPDATE|DELETE|INSERT)/.test(sql)))) {
      const plan = await pool.query(`EXPLAIN QUERY PLAN ${sql}`, Array(sql.split("?").length - 1).fill(null));
      const scans = plan.map((row) => String(row.detail)).filter((detail) =>
        /SCAN (reality_nodes|node|state|counter)\b/.test(detail)
      );
      assert.ok(scans.every((detail) => /USING .*INDEX/.test(detail)), `${sql}: ${scans}`);
      // The oldest that have expired come out of the index in order.
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

test("SQLStorage takes integers as numbers, bigints and text, and refuses those past 2^53", async () => {
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

test("SQLStorage keeps the query's error as the cause, and names the operation", async () => {
  const failure = new Error("no route to host");
  const storage = new SQLStorage({ query: () => Promise.reject(failure), dialect: "sqlite" });
  await assert.rejects(storage.getNode("a"), {
    name: "StorageError",
    operation: "getNode",
    cause: failure,
    message: "Storage failed at getNode: no route to host",
  });
  const throwing = new SQLStorage({
    query: () => {
      throw failure;
    },
    dialect: "sqlite",
  });
  await assert.rejects(throwing.deleteNode("a"), { operation: "deleteNode", cause: failure });
});

test("SQLStorage says what is wrong with a query that gives no array", async () => {
  const query = () => Promise.resolve({ rows: [] }) as unknown as Promise<SQLRow[]>;
  const storage = new SQLStorage({ query, dialect: "sqlite" });
  await assert.rejects(storage.getNode("a"), /option "query" must give an array of rows, and gave an object/);
});

test("SQLStorage is not held up by a set-up statement of another call that is never answered", async () => {
  await withStorage({}, async (_storage, pool) => {
    let lost = 0;
    const lose = () => {
      lost++;
      return new Promise<SQLRow[]>(() => {});
    };
    let isLosing = true;
    const query = (sql: string, params: readonly SQLValue[]) => isLosing ? lose() : pool.query(sql, params);
    const storage = new SQLStorage({ query, dialect: "sqlite" });
    // Neither of these calls ever settles, and neither waits for the other.
    void storage.getMaxVersion();
    void storage.getMaxVersion();
    assert.equal(lost, 2);
    isLosing = false;
    assert.equal(await storage.getMaxVersion(), 0);

    await pool.query("DROP TABLE reality_nodes", []);
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE" });
    isLosing = true;
    void storage.getNode("a");
    isLosing = false;
    assert.equal(lost, 3);
    assert.equal(await storage.getNode("a"), null);
  });
});

test("SQLStorage looks for its table after an error only where the error says that it is missing", async () => {
  const asked = async (error: unknown) => {
    let count = 0;
    await withStorage({}, async (_storage, pool) => {
      let failure: unknown;
      const query = async (sql: string, params: readonly SQLValue[]) => {
        if (failure) throw failure;
        count++;
        return await pool.query(sql, params);
      };
      const storage = new SQLStorage({ query, dialect: "sqlite" });
      await storage.getMaxVersion();
      failure = error;
      await assert.rejects(storage.getMaxVersion());
      [failure, count] = [undefined, 0];
      await storage.getMaxVersion();
    });
    return count;
  };
  for (const message of ["ECONNRESET", "database is locked", "disk I/O error"]) {
    assert.equal(await asked(new Error(message)), 1, message);
  }
  const missing = new Error("no such table: reality_nodes");
  assert.ok(await asked(missing) > 1);
  assert.ok(await asked(new Error("D1_ERROR", { cause: missing })) > 1);
});

test("SQLStorage goes on when the database has come back", async () => {
  await withStorage({}, async (_storage, pool) => {
    let isBroken = true;
    const query = async (sql: string, params: readonly SQLValue[]) => {
      if (isBroken) throw new Error("gone");
      return await pool.query(sql, params);
    };
    const storage = new SQLStorage({ query, dialect: "sqlite" });
    assert.equal(await storage.isHealthy(), false);
    await assert.rejects(storage.getMaxVersion(), /gone/);
    isBroken = false;
    assert.equal(await storage.isHealthy(), true);
    assert.equal(await storage.getMaxVersion(), 0);
  });
});

test("SQLStorage begins a new life, with another epoch, when the table was emptied", async () => {
  await withStorage({ counter: "sequential" }, async (storage, pool) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    const epochs = [(await storage.getIdentity()).epoch];
    const startsAnew = async () => {
      const [meta] = await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
      assert.equal(meta?.version, 1);
      epochs.push((await storage.getIdentity()).epoch);
      assert.equal(new Set(epochs).size, epochs.length);
    };
    await pool.query("DELETE FROM reality_nodes", []);
    await startsAnew();
    await pool.query("DELETE FROM reality_nodes", []);
    assert.equal(await storage.getMaxVersion(), 0);
    await startsAnew();
    await pool.query("DROP TABLE reality_nodes", []);
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE" });
    await startsAnew();
  });
});

test("SQLStorage names a table of another shape instead of using it", async () => {
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

test("SQLStorage made by many at once is one storage", async () => {
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

const START = 1_700_000_000_000;

/** Lets the two pieces of sweeping that a write begins come to their end: each follows in a task of its own. */
async function afterSweep(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

function deletions(count: number, prefix: string): NodeChange[] {
  return Array.from(
    { length: count },
    (_, i) => ({ key: `${prefix}:${i}`, hash: "", updatedAt: 1, deleted: true }),
  );
}

test("SQLStorage sweeps many tombstones a part at a time, each after a write, and forgets them all", async () => {
  let now = START;
  await withStorage(
    { counter: "sequential", tombstoneTimeout: 1000, now: () => now },
    async (storage, pool) => {
      for (let batch = 0; batch < 3; batch++) await storage.applyChanges(deletions(900, `key:${batch}`));
      now += 1000;
      for (const left of [1700, 700, 0, 0]) {
        pool.asked = [];
        await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: now });
        // Whoever wrote was answered before.
        assert.equal(pool.asked.length, 1);
        await afterSweep();
        const history = await storage.listChangedSince(1);
        assert.equal(history.length, left);
        // All that is missing is told as swept, and not much more.
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

test("SQLStorage sweeps deletions as fast as they come, on a table that stays small", async () => {
  let now = START;
  await withStorage({ tombstoneTimeout: 100_000, now: () => now }, async (storage, pool) => {
    let most = 0;
    // 200 in a second, for five times as long as they are kept.
    for (let i = 0; i < 500; i++) {
      await storage.applyChanges(deletions(200, `key:${i}`));
      await afterSweep();
      now += 1000;
      if (i % 10 > 0) continue;
      const [row] = await pool.query("SELECT count(*) AS count FROM reality_nodes", []);
      most = Math.max(most, Number(row?.count));
    }
    // Those that are kept, and at most those of a minute more, after which they are looked for.
    assert.ok(most <= 200 * 160 + 1000, `${most} rows`);
    assert.ok(most >= 200 * 100, `${most} rows`);
  });
});

test("SQLStorage rests three times as long as it sweeps, and a minute after the last piece", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const query = (sql: string, params: readonly SQLValue[]) => {
      // The sweep takes 50 milliseconds, of a clock that nothing else moves.
      if (sql.startsWith("DELETE")) now += 50;
      return pool.query(sql, params);
    };
    const storage = new SQLStorage({ query, dialect: "sqlite", now: () => now });
    for (let batch = 0; batch < 2; batch++) await storage.applyChanges(deletions(1000, `key:${batch}`));
    await storage.applyChanges(deletions(1, "more"));
    now += 86_400_000;
    const sweeps = async (after: number): Promise<boolean> => {
      now += after;
      pool.asked = [];
      await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: now });
      await afterSweep();
      return pool.asked.some((sql) => sql.startsWith("SELECT origin, count"));
    };
    const found: boolean[] = [];
    for (const after of [0, 299, 1, 299, 1, 59_999, 1]) found.push(await sweeps(after));
    assert.deepEqual(found, [true, false, true, false, true, false, true]);
  });
});

test("SQLStorage that lives for a moment, or in a transaction, sweeps nothing", async () => {
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
        await afterSweep();
        if ("inTransaction" in more || "tombstoneTimeout" in more) now += 60_000;
      }
      assert.ok(pool.asked.every((sql) => !sql.startsWith("SELECT origin, count")));
    }
    assert.equal((await storage.listChangedSince(0)).length, 6);
  });
});

test("SQLStorage with requestScopedIO sweeps a piece inside a write, and goes on when a request was lost", async () => {
  let now = START;
  await withStorage({ now: () => now }, async (storage, pool) => {
    for (let batch = 0; batch < 2; batch++) await storage.applyChanges(deletions(600, `key:${batch}`));
    now += 86_400_000;
    let isLost = true;
    const query = (sql: string, params: readonly SQLValue[]) => {
      // The request ends, and what it asked for is never answered.
      if (sql.startsWith("SELECT origin, count") && isLost) return new Promise<never>(() => {});
      return pool.query(sql, params);
    };
    const open = () => new SQLStorage({ query, dialect: "sqlite", now: () => now, requestScopedIO: true });
    const other = open();
    const change = { key: "a", hash: "x", updatedAt: 1 };
    void other.applyChanges([change]);
    await afterSweep();
    isLost = false;
    await other.applyChanges([change]);
    assert.equal((await storage.listChangedSince(0)).length, 1201);
    now += 60_000;
    for (const left of [701, 201, 1, 1]) {
      await other.applyChanges([change]);
      assert.equal((await storage.listChangedSince(0)).length, left);
    }
    // One that is made for each request sweeps as well.
    await storage.applyChanges(deletions(5, "key"));
    now += 86_400_000;
    await open().applyChanges([change]);
    assert.equal((await storage.listChangedSince(0)).length, 1);
  });
});

test("SQLStorage waits in close() for the piece of sweeping under way, and begins no other", async () => {
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
    await afterSweep();
    pool.asked = [];
    let isClosed = false;
    const closing = other.close().then(() => isClosed = true);
    await afterSweep();
    assert.equal(isClosed, false, "it waits for the piece under way");
    answer([{ origin: null, found: 5, stamp: 5, version: 5, expires_at: 1 }]);
    await closing;
    await afterSweep();
    assert.deepEqual(pool.asked, [], "nothing is begun after that");
    await assert.rejects(other.getNode("a"), { code: "ERR_REALITY_CLOSED" });
  });
});

test("SQLStorage judges the age of tombstones by the database's clock alone", async () => {
  const { now } = Date;
  let ahead = 0;
  Date.now = () => now() + ahead;
  try {
    await withStorage({ tombstoneTimeout: 1 }, async (storage, pool) => {
      const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
      const day = { query, dialect: "sqlite", tombstoneTimeout: 86_400_000 } as const;
      // Made by processes a day behind, on time and a day ahead.
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
      // This one sweeps what is a millisecond old, a day ahead of the others.
      await storage.applyChanges(deletions(1, "gone"));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
      await afterSweep();
      const keys = (await storage.listChangedSince(0)).map(({ key }) => key);
      assert.deepEqual(keys, ["kept:-90000000:0", "kept:0:0", "kept:90000000:0", "a"]);
    });
  } finally {
    Date.now = now;
  }
});

test("SQLStorage drains a backlog of tombstones in pieces that take no time", async () => {
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
    const pieces = 10;
    for (let i = 0; i < pieces; i++) {
      await storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: i + 2 });
      for (let task = 0; task < 3; task++) {
        const beginning = process.cpuUsage();
        await new Promise((resolve) => setTimeout(resolve, 1));
        const { user, system } = process.cpuUsage(beginning);
        slowest = Math.max(slowest, (user + system) / 1000);
      }
    }
    const [row] = await pool.query("SELECT count(*) AS count FROM reality_nodes", []);
    assert.equal(row?.count, 300_002 - pieces * 1000);
    assert.equal((await storage.readNodes([])).collectedVersion, pieces * 1000 + 1);
    // Of the processor, since other processes take their share of the time.
    assert.ok(slowest < 200, `${slowest} ms of work in one task`);
  });
});

test("SQLStorage notes how far it sweeps before it does, beside another who notes what was seen", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const tombstoneTimeout = 1000;
    const ask = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const other = new SQLStorage({ query: ask, dialect: "sqlite", counter: "sequential", now: () => now });
    let adopted = 0;
    let failures = 0;
    const query = async (sql: string, params: readonly SQLValue[]) => {
      // Twice another is quicker, and then the deletion fails.
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
    // Whoever writes hears nothing of it.
    await storage.deleteNode("c");
    while (failures === 0) await afterSweep();
    const { vector, collected } = await storage.readReplicaState();
    assert.equal(vector.get("other"), 2);
    assert.deepEqual(collected, new Map([[replicaId, 1], ["other", 11]]));
    assert.equal((await storage.readReplicated(["a", "b"])).size, 2, "what is noted and not done");
    now += 999;
    await storage.deleteNode("d");
    await afterSweep();
    assert.equal(failures, 1, "not before an interval is over");
    now += 1;
    await storage.deleteNode("d");
    await afterSweep();
    assert.deepEqual([...(await storage.readReplicated(["a", "b", "d"])).keys()], ["d"]);
  });
});

test("SQLStorage tells as swept in a delta what is swept while it reads one", async () => {
  let now = START;
  await withStorage({}, async (_storage, pool) => {
    const ask = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
    const options = { dialect: "sqlite", tombstoneTimeout: 1000, now: () => now } as const;
    const other = new SQLStorage({ query: ask, ...options });
    await other.applyChanges([{ key: "b", hash: "", updatedAt: 1 }]);
    let sweeps = () => Promise.resolve();
    const query = async (sql: string, params: readonly SQLValue[]) => {
      // Between the question for what was seen and that for the nodes.
      if (sql.startsWith("WITH told")) await sweeps();
      return await ask(sql, params);
    };
    const storage = new SQLStorage({ query, ...options });
    await storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]);
    for (const base of [(await storage.readReplicaState()).vector, new Map<string, number>()]) {
      await storage.applyChanges([{ key: "gone", hash: "", updatedAt: 1, deleted: true }]);
      const { vector } = await storage.readReplicaState();
      sweeps = async () => {
        now += 60_000;
        await other.applyChanges([{ key: "b", hash: "", updatedAt: 1 }]);
        await afterSweep();
      };
      const delta = await storage.readDelta(base, 10);
      assert.deepEqual(delta.nodes.filter(({ key }) => key === "gone"), []);
      assert.deepEqual(delta.collected, vector);
      assert.deepEqual(delta.vector, vector, "what came since is not counted as seen");
    }
  });
});

test("SQLStorage refuses options it does not know, or of the wrong kind, by name", () => {
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

test("SQLStorage on SQLite goes on with a table of version 2.0.0", async () => {
  const database = new DatabaseSync(":memory:");
  await testExistingTable("sqlite", (sql, params) => database.prepare(sql).all(...params));
  database.close();
});

/** A table as older versions made it: their schema, a counter without a residue, and numbers one by one or by chance. */
const OLD_SCHEMA = `CREATE TABLE reality_nodes (
  node_key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, hash TEXT NOT NULL, updated_at INTEGER NOT NULL,
  expires_at INTEGER, origin TEXT, stamp INTEGER, epoch TEXT, max_version INTEGER, max_stamp INTEGER,
  swept_version INTEGER, late INTEGER, mesh TEXT
) STRICT, WITHOUT ROWID`;

test("SQLStorage goes on with a table that an older version numbered in another way", async () => {
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
