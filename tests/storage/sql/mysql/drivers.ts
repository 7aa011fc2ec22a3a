/**
 * The driver that the tests reach MySQL with, in its two ways to run a statement.
 *
 * @module
 */
import { createPool } from "mysql2/promise";
import { addressOf, type Driver } from "../../table_kit.ts";
import { runTogether } from "../../../../bench/storage/mysql_transaction.ts";

/** Where the tests' server is. */
export const MYSQL_URL: string = addressOf("REALITY_TEST_MYSQL");

/** mysql2, which writes the values into the statement. */
export const queryDriver: Driver = {
  name: "mysql2",
  connect: () => {
    const pool = createPool({ uri: MYSQL_URL, connectionLimit: 3 });
    return Promise.resolve({
      query: (sql, params) => pool.query(sql, params).then(([result]) => result),
      end: () => pool.end(),
    });
  },
};

/** mysql2 with statements that the server prepares. */
export const executeDriver: Driver = {
  name: "mysql2's execute",
  connect: () => {
    const pool = createPool({ uri: MYSQL_URL, connectionLimit: 3 });
    return Promise.resolve({
      query: (sql, params) => pool.execute(sql, params).then(([result]) => result),
      transaction: runTogether(pool),
      end: () => pool.end(),
    });
  },
};
