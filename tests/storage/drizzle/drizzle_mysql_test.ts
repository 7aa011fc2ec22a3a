/**
 * createDrizzleAdapter on MySQL, through mysql2.
 *
 * @module
 */
import { drizzle } from "drizzle-orm/mysql2";
import { createPool } from "mysql2/promise";
import { testStorage } from "../../../storage/conformance/mod.ts";
import { createDrizzleAdapter } from "../../../storage/drizzle.ts";
import { test } from "../../harness.ts";
import { MYSQL_URL } from "../mysql/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite_kit.ts";
import { Tables } from "../table_kit.ts";

const { create, share, destroy, elapse, disconnect } = new Tables((tableName, now) => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 3 });
  return Promise.resolve([createDrizzleAdapter(drizzle(pool), { tableName, now }), () => pool.end()]);
});
testStorage({
  name: "createDrizzleAdapter through mysql2",
  ...{ create, share, destroy, elapse, disconnect },
  test,
  supports: SQL_SUPPORTS,
  runs: 10,
});
