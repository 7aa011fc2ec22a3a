/**
 * The option `transaction` for a pool of mysql2, as benches and tests use it.
 *
 * @module
 */
import type { Pool } from "mysql2/promise";
import type { SQLTransaction } from "../../storage/sql/sql_storage.ts";

/** Runs statements in one transaction of a pool. */
export function runTogether(pool: Pool): SQLTransaction {
  return async (statements) => {
    const connection = await pool.getConnection();
    try {
      await connection.beginTransaction();
      const results = [];
      for (const { sql, params } of statements) results.push((await connection.execute(sql, params))[0]);
      await connection.commit();
      connection.release();
      return results as never;
    } catch (error) {
      // The connection may be lost. The database rolls the transaction back in any case.
      connection.destroy();
      throw error;
    }
  };
}
