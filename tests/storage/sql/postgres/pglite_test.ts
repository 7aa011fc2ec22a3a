/**
 * SQLStorage on PGlite: PostgreSQL inside the process.
 *
 * @module
 */
import { PGlite } from "@electric-sql/pglite";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { type SQLQuery, SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { type Test, test } from "../../../harness.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { Tables } from "../../table_kit.ts";

/** Its own timers come and go between tests, which Deno would take for a leak. */
const unwatched: Test = (name, fn) => {
  const { Deno } = globalThis as { Deno?: { test(options: object): void } };
  if (Deno) Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
  else test(name, fn);
};

// One for all tests, since it takes a second to begin.
const database = await PGlite.create();

const { create, share, destroy, elapse, query } = new Tables((tableName, now) => {
  const query: SQLQuery = (sql, params) =>
    database.query<Record<string, unknown>>(sql, params).then((r) => r.rows);
  const storage = new SQLStorage({ query, dialect: "postgres", outbox: true, ...{ tableName, now } });
  return Promise.resolve([storage, () => Promise.resolve(), query]);
});
testStorage({
  name: "SQLStorage on PGlite",
  ...{ create, share, destroy, elapse, query },
  test: unwatched,
  supports: { ...SQL_SUPPORTS, byteOrderMark: false, outbox: "once" },
  runs: 5,
});
