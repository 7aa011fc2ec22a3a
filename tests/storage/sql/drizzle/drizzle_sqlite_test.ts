/**
 * createDrizzleAdapter on SQLite files, through better-sqlite3 and libSQL.
 *
 * @module
 */
import { createClient } from "@libsql/client";
import assert from "node:assert/strict";
import Database from "better-sqlite3";
import { drizzle as drizzleBetterSQLite } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzleLibSQL } from "drizzle-orm/libsql";
import { RealityServer } from "../../../../src/server.ts";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createDrizzleAdapter, type DrizzleDatabase, drizzleQuery } from "../../../../storage/drizzle.ts";
import { test } from "../../../harness.ts";
import { Backings, SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";

const drivers: Record<string, (path: string) => [DrizzleDatabase, () => void]> = {
  "better-sqlite3": (path) => {
    const client = new Database(path);
    client.pragma("journal_mode = WAL");
    return [drizzleBetterSQLite(client), () => client.close()];
  },
  libSQL: (path) => {
    const client = createClient({ url: `file:${path}` });
    return [drizzleLibSQL(client), () => client.close()];
  },
};

for (const [name, connect] of Object.entries(drivers)) {
  const backings = new Backings();
  const make = (path: string, now: () => number): ReturnType<Parameters<Backings["create"]>[0]> => {
    const [db, release] = connect(path);
    const storage = createDrizzleAdapter(db, { tableName: "nodes", now, outbox: true });
    return [storage, release, drizzleQuery(db)];
  };
  testStorage({
    name: `createDrizzleAdapter through ${name}`,
    create: () => backings.create(make),
    share: (storage) => backings.share(storage, make),
    destroy: (storage) => backings.destroy(storage),
    elapse: (storage) => backings.elapse(storage),
    query: (storage, text, params) => backings.of(storage).query?.(text, params),
    disconnect: (storage) => backings.of(storage).release(),
    test,
    supports: { ...SQL_SUPPORTS, outbox: "repeated" },
    runs: 10,
  });
}

test("a row of the outbox in a transaction of better-sqlite3 or Drizzle becomes a change when it is committed", async () => {
  const client = new Database(":memory:");
  const db = drizzleBetterSQLite(client);
  const server = new RealityServer({ storage: createDrizzleAdapter(db, { outbox: true }) });
  assert.equal(await server.getNode("a"), null);
  const ways: Record<string, (key: string) => void> = {
    driver: client.transaction((key: string) => {
      void server.invalidateIn((text, params) => client.prepare(text).run(...params), [key]);
      if (key.startsWith("undone")) throw new Error("undone");
    }),
    drizzle: (key) =>
      db.transaction((tx) => {
        void server.invalidateIn(drizzleQuery(tx), [key]);
        if (key.startsWith("undone")) throw new Error("undone");
      }),
  };
  for (const [name, write] of Object.entries(ways)) {
    write(name);
    assert.throws(() => write(`undone:${name}`), /undone/);
    assert.ok(await server.getNode(name) !== null, name);
    assert.equal(await server.getNode(`undone:${name}`), null);
  }
  await server.close();
  client.close();
});
