/**
 * openSQLite: the kit on files, in memory and on open databases of several drivers; several processes on one
 * file; processes that are killed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import Database from "better-sqlite3";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import type { StorageTestOptions } from "../../../../storage/conformance/mod.ts";
import {
  openSQLite,
  type SQLiteDatabase,
  type SQLiteOptions,
  type SQLiteStorage,
  type SQLValue,
} from "../../../../storage/sql/sqlite/sqlite_storage.ts";
import { test } from "../../../harness.ts";
import { RUNTIMES, start, testOn } from "../../runtimes.ts";
import { Backings, inFolder, type Made, SQL_SUPPORTS } from "./sqlite_kit.ts";

const supports = { ...SQL_SUPPORTS, subscribe: true };

/** The kit on files, each opened by this function. */
function testFiles(
  name: string,
  open: (path: string, options: SQLiteOptions) => Made,
  more: Partial<StorageTestOptions> = {},
): void {
  const backings = new Backings();
  const make = (path: string, now: () => number) => open(path, { now, pollInterval: 5, outbox: true });
  testStorage({
    name,
    create: () => backings.create(make),
    share: (storage) => backings.share(storage, make),
    destroy: (storage) => backings.destroy(storage),
    elapse: (storage) => backings.elapse(storage),
    query: (storage, text, params) => backings.of(storage).query?.(text, params),
    test,
    supports: { ...supports, outbox: "once" },
    runs: 15,
    ...more,
  });
}

/** Runs a statement that returns no rows. */
function run(database: object, text: string, params: readonly SQLValue[]): unknown {
  type Database = { prepare(text: string): { run(...params: readonly SQLValue[]): unknown } };
  return (database as Database).prepare(text).run(...params);
}

/** The same kit on a driver's own open database. */
function testDriver(driver: string, open: (path: string) => SQLiteDatabase, canBreak: boolean): void {
  const closers = new WeakMap<object, () => void>();
  testFiles(`openSQLite on an open database of ${driver}`, (path, options) => {
    const database = open(path);
    database.prepare("PRAGMA busy_timeout = 5000").all();
    database.prepare("PRAGMA journal_mode = WAL").all();
    database.exec("PRAGMA synchronous = OFF");
    const storage = openSQLite(database, options);
    let isOpen = true;
    const close = () => {
      if (isOpen) database.close();
      isOpen = false;
    };
    closers.set(storage, close);
    return [storage, close, (text, params) => run(database, text, params)];
  }, canBreak ? { disconnect: (storage) => closers.get(storage)?.() } : {});
}

testFiles("openSQLite on a file", (path, options) => {
  const database = new DatabaseSync(path);
  const query: Made[2] = (text, params) => database.prepare(text).all(...params);
  const storage = openSQLite(path, { synchronous: "normal", counter: "sequential", ...options });
  return [storage, () => database.close(), query];
});
testStorage({
  name: "openSQLite in memory",
  create: () => openSQLite(":memory:"),
  destroy: (storage) => storage.close?.(),
  test,
  supports,
  runs: 15,
});
testDriver("node:sqlite", (path) => new DatabaseSync(path), true);
testDriver("better-sqlite3", (path) => new Database(path) as SQLiteDatabase, true);
if ("Bun" in globalThis) {
  // Named so that no other runtime looks for it.
  const { Database } = await import(["bun", "sqlite"].join(":")) as {
    Database: new (path: string) => SQLiteDatabase;
  };
  // What was prepared on such a database goes on working after its close().
  testDriver("bun:sqlite", (path) => new Database(path), false);
}

/** Runs with a storage on a file, and closes it. */
async function withFile(
  options: SQLiteOptions,
  use: (storage: SQLiteStorage, path: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const storage = openSQLite(path, options);
    try {
      await use(storage, path);
    } finally {
      await storage.close();
    }
  });
}

test("openSQLite keeps nodes, counter and names when the file is closed and opened again", async () => {
  await withFile({ counter: "sequential" }, async (storage, path) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }, {
      key: "b",
      hash: "y",
      updatedAt: 2,
    }]);
    await storage.deleteNode("b");
    await storage.incrementVersion("c");
    const before = [
      await storage.listChangedSince(0),
      await storage.getMaxVersion(),
      await storage.getIdentity(),
    ];
    await storage.close();
    const again = openSQLite(path, { counter: "sequential" });
    const after = [await again.listChangedSince(0), await again.getMaxVersion(), await again.getIdentity()];
    assert.deepEqual(after, before);
    assert.equal(await again.incrementVersion("d"), 5);
    await again.close();
  });
});

test("openSQLite uses a write-ahead log, and leaves none behind when it closes", async () => {
  await withFile({}, async (storage, path) => {
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
    assert.ok(existsSync(`${path}-wal`));
    await storage.close();
    assert.ok(!existsSync(`${path}-wal`));
  });
});

test("openSQLite numbers by the clock unless told otherwise, and a file that did goes on so", async () => {
  for (const options of [{ synchronous: "normal" }, { synchronous: "full" }, {}] as const) {
    await withFile(options, async (storage, path) => {
      const version = await storage.incrementVersion("a");
      assert.ok(version > 1e14);
      await storage.close();
      const again = openSQLite(path, { counter: "sequential" });
      const next = await again.incrementVersion("a");
      assert.ok(next > version && next % 256 === version % 256);
      await again.close();
    });
  }
  await withFile({ counter: "sequential" }, async (storage) => {
    assert.equal(await storage.incrementVersion("a"), 1);
  });
});

test("openSQLite waits for another process that is writing, and no longer than busyTimeout", async () => {
  await withFile({ busyTimeout: 1, counter: "sequential" }, async (storage, path) => {
    await storage.getMaxVersion();
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    await assert.rejects(storage.incrementVersion("a"), { code: "ERR_REALITY_STORAGE", message: /locked/ });
    assert.equal(await storage.getMaxVersion(), 0, "readers do not wait");
    other.exec("COMMIT");
    other.close();
    assert.equal(await storage.incrementVersion("a"), 1);
  });
});

test("openSQLite does not close, or set up, a database that was handed in", async () => {
  const database = new DatabaseSync(":memory:");
  const storage = openSQLite(database);
  await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  await storage.close();
  await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_CLOSED" });
  const [row] = database.prepare("SELECT count(*) AS count FROM reality_nodes").all();
  assert.equal(row?.count, 2, "the node and the counter");
  database.close();
});

test("openSQLite on the application's own connection is part of its transaction", async () => {
  const database = new DatabaseSync(":memory:");
  const storage = openSQLite(database, { counter: "sequential" });
  await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  database.exec("BEGIN");
  await storage.applyChanges([{ key: "a", hash: "y", updatedAt: 2 }, { key: "b", hash: "y", updatedAt: 2 }]);
  database.exec("ROLLBACK");
  assert.deepEqual(await storage.listChangedSince(0), [{ key: "a", version: 1, hash: "x", updatedAt: 1 }]);
  assert.equal(await storage.getMaxVersion(), 1);
  database.close();
});

test("openSQLite refuses a file that is no database, and one that cannot be made", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "notes.txt");
    writeFileSync(path, "this is not a database, and it is long enough to look like one ".repeat(20));
    assert.throws(() => openSQLite(path), { name: "StorageError", operation: "open" });
    assert.match(readFileSync(path, "utf8"), /^this is not a database/);
    assert.throws(() => openSQLite(join(folder, "no", "such", "folder.db")), { name: "StorageError" });
    await Promise.resolve();
  });
});

test("openSQLite refuses options it does not know, or of the wrong kind, by name", () => {
  const wrong: [unknown, unknown, RegExp][] = [
    [":memory:", { wal: true }, /Unknown option "wal" of openSQLite: known are .*busyTimeout/],
    [":memory:", { dialect: "sqlite" }, /Unknown option "dialect" of openSQLite/],
    [":memory:", { busyTimeout: -1 }, /Option "busyTimeout" is wrong: .* got the number -1/],
    [
      ":memory:",
      { synchronous: "off" },
      /Option "synchronous" is wrong: expected "full" or "normal", got "off"/,
    ],
    [":memory:", { pollInterval: 0 }, /Option "pollInterval" is wrong: expected milliseconds, 1 or more/],
    [":memory:", { tableName: "1" }, /Option "tableName" is wrong/],
    ["", {}, /Cannot open SQLite: expected a path, got an empty string/],
    [5, {}, /Cannot open SQLite: expected a path or an open database, got the number 5/],
    [new DatabaseSync(":memory:"), { busyTimeout: 5 }, /Option "busyTimeout" is wrong: only for a file that/],
    [
      new DatabaseSync(":memory:"),
      { synchronous: "full" },
      /Option "synchronous" is wrong: only for a file that/,
    ],
  ];
  for (const [database, options, message] of wrong) {
    assert.throws(() => openSQLite(database as string, options as SQLiteOptions), {
      name: "TypeError",
      message,
    });
  }
});

/** What a worker printed for one of its rounds. */
type Acknowledged = [key: string, own: number, shared: number, reserved: number];

function parse(lines: readonly string[]): Acknowledged[] {
  return lines.map((line) => JSON.parse(line) as Acknowledged);
}

/** Fails unless everything that was acknowledged is in the file, with the version that was acknowledged. */
async function assertKept(storage: SQLiteStorage, acknowledged: readonly Acknowledged[]): Promise<void> {
  const history = await storage.listChangedSince(0);
  const nodes = new Map(history.map((meta) => [meta.key, meta]));
  for (const [key, own, shared, reserved] of acknowledged) {
    assert.equal(nodes.get(key)?.version, own, key);
    assert.equal(nodes.get(key)?.hash, key);
    assert.equal(nodes.get(`${key}:set`)?.version, reserved, `${key}:set`);
    assert.ok((nodes.get("shared")?.version ?? 0) >= shared, `${key}, the shared node`);
  }
  const versions = acknowledged.flatMap(([, ...given]) => given);
  assert.equal(new Set(versions).size, versions.length, "no version was given twice");
  assert.ok(await storage.getMaxVersion() >= Math.max(...versions));
}

testOn(RUNTIMES, "Deno, Node and Bun on one file at once share no version and lose none", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const count = 60;
    // The first process creates the file.
    const workers = RUNTIMES.map((runtime) =>
      start(runtime, "sql/sqlite/sqlite_worker.ts", [path, runtime, `${count}`])
    );
    try {
      await Promise.all(workers.map((worker) => worker.ended));
    } finally {
      workers.forEach((worker) => worker.kill());
    }
    const acknowledged = workers.flatMap((worker) => parse(worker.lines));
    assert.equal(acknowledged.length, count * workers.length);
    const storage = openSQLite(path, { counter: "sequential" });
    await assertKept(storage, acknowledged);
    // A node that was published after a higher one got a stamp as well, which used up one more number.
    const { nodes } = await storage.readDelta(new Map(), 10_000);
    const given = count * workers.length * 3 +
      nodes.filter(({ dotVersion, version }) => dotVersion !== version).length;
    assert.equal(await storage.incrementVersion("a"), given + 1, "no version was lost");
    const [, , newest] = acknowledged.reduce((a, b) => a[2] > b[2] ? a : b);
    assert.equal((await storage.getNode("shared"))?.version, newest, "the shared node is the newest of all");
    await storage.close();
  });
});

for (const runtime of RUNTIMES) {
  testOn(
    [runtime],
    `kill -9 of ${runtime} in the middle of writing loses nothing that was acknowledged`,
    async () => {
      await inFolder(async (folder) => {
        const path = join(folder, "reality.db");
        const acknowledged: Acknowledged[] = [];
        // Killed twice, the second time on the file that the first left; others go on where it stopped.
        for (const life of ["first", "second"]) {
          const worker = start(runtime, "sql/sqlite/sqlite_worker.ts", [path, life, "0"]);
          try {
            await worker.hasPrinted(40);
          } finally {
            worker.kill();
          }
          assert.deepEqual(await worker.ended, { code: null, signal: "SIGKILL" });
          acknowledged.push(...parse(worker.lines));
          const storage = openSQLite(path);
          await assertKept(storage, acknowledged);
          const [meta] = await storage.applyChanges([{ key: life, hash: "", updatedAt: 1 }]);
          assert.ok(acknowledged.every((line) => Math.max(line[1], line[2], line[3]) < (meta?.version ?? 0)));
          await storage.close();
        }
      });
    },
  );
}

testOn(["bun"], "openSQLite tells a change by a process of another runtime", async () => {
  await withFile({ pollInterval: 5 }, async (storage, path) => {
    const seen = new Set<string>();
    let settle = () => {};
    const all = new Promise<void>((resolve) => settle = resolve);
    const leave = await storage.subscribe((keys) => {
      keys?.forEach((key) => seen.add(key));
      if (keys === null || seen.has("worker:2:set")) settle();
    });
    const worker = start("bun", "sql/sqlite/sqlite_worker.ts", [path, "worker", "3"]);
    await Promise.all([worker.ended, all]);
    assert.ok(seen.has("worker:0") && seen.has("shared"), [...seen].join(" "));
    await leave();
  });
});

test("openSQLite answers the first call after another process released its lock", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const storage = openSQLite(path, { busyTimeout: 1, counter: "sequential" });
    const other = new DatabaseSync(path);
    const change = { key: "a", hash: "h", updatedAt: 1 };
    const isBusy = { code: "ERR_REALITY_STORAGE", message: /locked/ };
    try {
      // Before the table is there, and when it is.
      for (const version of [1, 2]) {
        other.exec("BEGIN IMMEDIATE");
        for (let i = 0; i < 3; i++) {
          await assert.rejects(async () => await storage.applyChanges([change]), isBusy);
        }
        if (version === 2) {
          assert.equal((await storage.readNodes(["a"])).maxVersion, 1, "a reader does not wait");
        }
        other.exec("ROLLBACK");
        assert.equal((await storage.applyChanges([change]))[0]?.version, version);
      }
    } finally {
      await storage.close();
      other.close();
    }
  });
});
