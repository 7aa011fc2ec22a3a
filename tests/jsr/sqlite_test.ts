/**
 * openSQLite on an open database of `jsr:@db/sqlite`.
 *
 * @module
 */
import { Database } from "@db/sqlite";
import { assertEquals } from "@std/assert";
import { testStorage } from "../../storage/conformance/mod.ts";
import { openSQLite } from "../../storage/sql/sqlite/sqlite_storage.ts";
import { Backings, SQL_SUPPORTS } from "../storage/sql/sqlite/sqlite_kit.ts";

const backings = new Backings();
const make = (
  path: string,
  now: () => number,
): ReturnType<Parameters<Backings["create"]>[0]> => {
  const database = new Database(path);
  database.exec(
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF",
  );
  return [
    openSQLite(database, { now, pollInterval: 5 }),
    () => database.close(),
  ];
};

testStorage({
  name: "openSQLite on an open database of @db/sqlite",
  create: () => backings.create(make),
  share: (storage) => backings.share(storage, make),
  destroy: (storage) => backings.destroy(storage),
  elapse: (storage) => backings.elapse(storage),
  test: Deno.test,
  supports: { ...SQL_SUPPORTS, subscribe: true },
  runs: 15,
});

Deno.test("openSQLite leaves a database of @db/sqlite open, for the application and what it set", async () => {
  for (const options of [{}, { int64: true }]) {
    const database = new Database(":memory:", options);
    const storage = openSQLite(database);
    const updatedAt = Date.UTC(2026, 0, 1);
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt }]);
    assertEquals(await storage.getNode("a"), {
      key: "a",
      version: 1,
      hash: "x",
      updatedAt,
    });
    await storage.close();
    const row = database.prepare(
      "SELECT hash FROM reality_nodes WHERE node_key = 'a'",
    ).get<{ hash: string }>();
    assertEquals(row?.hash, "x");
    database.close();
  }
});
