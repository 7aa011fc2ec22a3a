/**
 * What PostgreSQL has since version 18, in PGlite: PostgreSQL inside the process.
 *
 * @module
 */
import assert from "node:assert/strict";
import { PGlite } from "@electric-sql/pglite";
import { trackTable } from "../../../../storage/sql/track/track_table.ts";
import { testOnEngine } from "../../engines.ts";

testOnEngine(
  "trackTable() on PostgreSQL 18 refuses columns without a stored value, which triggers do not see",
  async () => {
    const database = await PGlite.create();
    try {
      await database.exec("CREATE TABLE reality_outbox (id serial PRIMARY KEY, key text)");
      await database.exec(
        `CREATE TABLE "a'b\\c" (id int, "v'" int GENERATED ALWAYS AS (id * 2) VIRTUAL, s int GENERATED ALWAYS AS (id * 3) STORED)`,
      );
      const track = async (key: string, when: string = "{id} > 0") => {
        const statements = trackTable({ dialect: "postgres", table: "a'b\\c", keys: [key], when });
        for (const statement of statements) await database.exec(statement);
      };
      await track("old:{s}");
      for (const failing of [() => track("{v'}"), () => track("{s}", "{v'} > 0")]) {
        await assert.rejects(failing, /Cannot track the column "v'": .* make it STORED/);
      }
      await database.exec(`INSERT INTO "a'b\\c" (id) VALUES (1)`);
      const { rows } = await database.query("SELECT key FROM reality_outbox");
      assert.deepEqual(rows, [{ key: "old:3" }]);
    } finally {
      await database.close();
    }
  },
);
