/**
 * The driver that the tests reach MySQL with, in its two ways to run a statement.
 *
 * @module
 */
import { createPool, type Pool } from "mysql2/promise";
import type { SQLTransaction } from "../../../../storage/sql/sql_storage.ts";
import { addressOf, type Driver } from "../../table_kit.ts";

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

/** Runs statements in one transaction of a pool. */
export function runTogether(pool: Pool): SQLTransaction {
  return async (statements) => {
    const connection = await pool.getConnection();
    try {
      await connection.beginTransaction();
      const results = [];
      for (const { sql, params } of statements) results.push((await connection.execute(sql, params))[0]);
      await connection.commit();
      return results as never;
    } catch (error) {
      await connection.rollback();
      throw error;
    } finally {
      connection.release();
    }
  };
}

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
