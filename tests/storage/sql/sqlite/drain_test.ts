/**
 * Many rows in an outbox on SQLite.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { openSQLite } from "../../../../storage/sql/sqlite/sqlite_storage.ts";
import { test } from "../../../harness.ts";
import { testDrain } from "../drain_kit.ts";
import { inFolder } from "./sqlite_kit.ts";

test("servers on a file of SQLite apply many rows of an outbox in pieces, and tell each question meanwhile", () =>
  inFolder((folder) =>
    testDrain(() => {
      const path = join(folder, "reality.db");
      const storage = openSQLite(path, { outbox: true, synchronous: "normal" });
      const database = new DatabaseSync(path);
      database.exec("PRAGMA busy_timeout = 5000");
      return {
        storage,
        query: (sql, params) => database.prepare(sql).all(...params),
        async close() {
          await storage.close();
          database.close();
        },
      };
    })
  ));
