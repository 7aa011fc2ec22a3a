/**
 * createDrizzleAdapter: which db it takes, and what it says of others.
 *
 * @module
 */
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzleMySQL } from "drizzle-orm/mysql-proxy";
import { drizzle as drizzlePostgres } from "drizzle-orm/pg-proxy";
import { drizzle as drizzleSQLite } from "drizzle-orm/sqlite-proxy";
import { withReplicas } from "drizzle-orm/sqlite-core";
import assert from "node:assert/strict";
import { createDrizzleAdapter, type DrizzleAdapterOptions } from "../../../../storage/drizzle.ts";
import { test } from "../../../harness.ts";

const change = { key: "a", hash: "x", updatedAt: 1 };

/** Runs with an empty database. */
async function withClient(use: (client: InstanceType<typeof Database>) => Promise<void>): Promise<void> {
  const client = new Database(":memory:");
  try {
    await use(client);
  } finally {
    client.close();
  }
}

test("createDrizzleAdapter finds the dialect by itself", async () => {
  const asked: string[] = [];
  const none = (sql: string) => {
    asked.push(sql);
    return Promise.resolve({ rows: [] });
  };
  const storages = {
    postgres: createDrizzleAdapter(drizzlePostgres(none)),
    mysql: createDrizzleAdapter(drizzleMySQL(none)),
    sqlite: createDrizzleAdapter(drizzleSQLite(none)),
  };
  const words = { postgres: /pg_attribute/, mysql: /information_schema/, sqlite: /pragma_table_info/ };
  for (const [dialect, storage] of Object.entries(storages)) {
    await storage.isHealthy();
    assert.match(asked[0] ?? "", words[dialect as keyof typeof words], dialect);
    asked.length = 0;
  }
});

test("createDrizzleAdapter takes a db that does not say what it is when it is told", async () => {
  await withClient(async (client) => {
    const db = drizzle(client);
    const bare = { all: (query: never) => db.all(query), run: (query: never) => db.run(query) };
    assert.throws(() => createDrizzleAdapter(bare), {
      name: "TypeError",
      message: /expected what drizzle\(client\) gives for .*, got an object that is not Drizzle's/,
    });
    const storage = createDrizzleAdapter(bare, { dialect: "sqlite", counter: "sequential" });
    assert.equal((await storage.applyChanges([change]))[0]?.version, 1);
  });
});

test("createDrizzleAdapter asks the primary where there are replicas", async () => {
  await withClient(async (client) => {
    const replica = new Database(":memory:");
    const storage = createDrizzleAdapter(withReplicas(drizzle(client), [drizzle(replica)]), {
      counter: "sequential",
    });
    await storage.applyChanges([change]);
    assert.equal((await storage.getNode("a"))?.version, 1);
    assert.equal(client.prepare("SELECT * FROM reality_nodes").all().length, 2);
    replica.close();
  });
});

test("createDrizzleAdapter gives what the driver threw as the cause, without statement and values", async () => {
  const failure = new Error("no route to host");
  const storage = createDrizzleAdapter(drizzlePostgres(() => Promise.reject(failure)));
  await assert.rejects(storage.getNode("secret"), {
    name: "StorageError",
    cause: failure,
    message: "Storage failed at getNode: no route to host",
  });
});

test("createDrizzleAdapter says so when rows come without names", async () => {
  const storage = createDrizzleAdapter(drizzleSQLite(() => Promise.resolve({ rows: [["node_key"]] })));
  await assert.rejects(storage.getNode("a"), {
    code: "ERR_REALITY_STORAGE",
    message: /expected objects, got arrays; give SQLStorage the function behind it/,
  });
});

test("createDrizzleAdapter names a table of another shape, and makes none when told so", async () => {
  await withClient(async (client) => {
    const db = drizzle(client);
    const storage = createDrizzleAdapter(db, { createTables: false });
    await assert.rejects(storage.getNode("a"), /table "reality_nodes" is not there/);
    client.exec(storage.schema);
    assert.equal(await storage.getNode("a"), null);
    client.exec('CREATE TABLE "select" (id TEXT)');
    await assert.rejects(
      createDrizzleAdapter(db, { tableName: "select" }).getNode("a"),
      /table "select" has another shape: it lacks node_key, .* and has id/,
    );
    const quoted = createDrizzleAdapter(db, { tableName: "Order", counter: "sequential" });
    assert.equal((await quoted.applyChanges([change]))[0]?.version, 1);
  });
});

test("createDrizzleAdapter refuses what is no db, and options that it does not know, by name", async () => {
  await withClient((client) => {
    const db = drizzle(client);
    const expected = "expected what drizzle\\(client\\) gives for PostgreSQL, MySQL or SQLite";
    const wrong: [unknown, DrizzleAdapterOptions | Record<string, unknown>, RegExp][] = [
      [undefined, {}, new RegExp(`${expected}, got nothing`)],
      [client, {}, new RegExp(`${expected}, got an object that is not Drizzle's`)],
      [db, { dialect: "postgres" }, new RegExp(`${expected}, got one without execute\\(\\)`)],
      [drizzlePostgres(() => Promise.reject()), { dialect: "sqlite" }, /got one without all\(\) and run\(\)/],
      [db, { dialect: "oracle" }, /Option "dialect" is wrong: expected "postgres", "mysql" or "sqlite"/],
      [db, { table: "a" }, /Unknown option "table" of createDrizzleAdapter: known are .*tableName/],
      [db, { tableName: 'a"b' }, /Option "tableName" is wrong/],
      [db, { createTables: 1 }, /Option "createTables" is wrong/],
    ];
    for (const [given, options, message] of wrong) {
      assert.throws(() => createDrizzleAdapter(given as typeof db, options), { name: "TypeError", message });
    }
    return Promise.resolve();
  });
});
