/**
 * MariaDB behind connections that go silent.
 *
 * @module
 */
import { createPool } from "mysql2/promise";
import { SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { testBlackhole } from "../../blackhole_kit.ts";
import { newTableName } from "../../table_kit.ts";
import { MYSQL_URL } from "./drivers.ts";

testBlackhole({
  name: "SQLStorage through mysql2 with its time limits",
  address: MYSQL_URL,
  open: (uri) => {
    const pool = createPool({ uri, connectionLimit: 3, connectTimeout: 1000 });
    const storage = new SQLStorage({
      // The pool would take a connection back on which a statement timed out.
      query: async (sql, values) => {
        const connection = await pool.getConnection();
        try {
          const [result] = await connection.query({ sql, values, timeout: 1000 });
          connection.release();
          return result;
        } catch (error) {
          connection.destroy();
          throw error;
        }
      },
      dialect: "mysql",
      tableName: newTableName(),
    });
    return Promise.resolve([storage, () => pool.end()]);
  },
  storageTimeout: 10_000,
  succeedsAtOnce: false,
});
