/**
 * Many rows in an outbox on MariaDB.
 *
 * @module
 */
import { createPool } from "mysql2/promise";
import { SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { testOnEngine } from "../../engines.ts";
import { newTableName } from "../../table_kit.ts";
import { testDrain } from "../drain_kit.ts";
import { MYSQL_URL } from "./drivers.ts";
import { runTogether } from "../../../../bench/storage/mysql_transaction.ts";

testOnEngine(
  "servers on MariaDB apply many rows of an outbox in pieces, and tell each question meanwhile",
  () => {
    const tableName = newTableName();
    return testDrain(() => {
      const pool = createPool({ uri: MYSQL_URL, connectionLimit: 4 });
      const query = (sql: string, params: (string | number | null)[]) =>
        pool.execute(sql, params).then(([result]) => result);
      const options = { query, transaction: runTogether(pool), dialect: "mysql", tableName } as const;
      return { storage: new SQLStorage({ ...options, outbox: true }), query, close: () => pool.end() };
    });
  },
);
