/**
 * SQLStorage on PostgreSQL, through each driver.
 *
 * @module
 */
import { testStorage } from "../../../storage/conformance/mod.ts";
import { SQLStorage } from "../../../storage/sql.ts";
import { test } from "../../harness.ts";
import { SQL_SUPPORTS } from "../sqlite_kit.ts";
import { Tables } from "../table_kit.ts";
import { pgDriver, postgresDriver } from "./drivers.ts";

for (const { name, connect } of [pgDriver, postgresDriver]) {
  const tables = new Tables(async (tableName, now) => {
    const { query, end } = await connect();
    return [new SQLStorage({ query, dialect: "postgres", tableName, now }), end];
  });
  const { create, share, destroy, elapse, disconnect } = tables;
  testStorage({
    name: `SQLStorage on PostgreSQL through ${name}`,
    ...{ create, share, destroy, elapse, disconnect },
    test,
    supports: SQL_SUPPORTS,
    runs: 10,
  });
}
