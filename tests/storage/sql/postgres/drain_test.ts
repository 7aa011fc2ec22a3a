/**
 * Many rows in an outbox on PostgreSQL.
 *
 * @module
 */
import pg from "pg";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { test } from "../../../harness.ts";
import { newTableName } from "../../table_kit.ts";
import { testDrain } from "../drain_kit.ts";
import { POSTGRES_URL } from "./drivers.ts";

test("servers on PostgreSQL apply many rows of an outbox in pieces, and tell each question meanwhile", () => {
  const tableName = newTableName();
  return testDrain(() => {
    const storage = openPostgres(POSTGRES_URL, { tableName, outbox: true });
    const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: 2 });
    return {
      storage,
      query: (sql, params) => pool.query(sql, params).then(({ rows }) => rows),
      async close() {
        await storage.close();
        await pool.end();
      },
    };
  });
});
