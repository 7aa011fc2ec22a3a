/**
 * The drivers that the tests reach PostgreSQL with.
 *
 * @module
 */
import pg from "pg";
import postgres from "postgres";
import { addressOf, type Driver } from "../../table_kit.ts";

/** Where the tests' server is. */
export const POSTGRES_URL: string = addressOf("REALITY_TEST_POSTGRES");

/** node-postgres. */
export const pgDriver: Driver = {
  name: "pg",
  connect: () => {
    const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: 3 });
    // A connection that breaks while idle would otherwise end the process.
    pool.on("error", () => {});
    return Promise.resolve({
      query: (sql, params) => pool.query(sql, params).then((r) => r.rows),
      end: () => pool.end(),
    });
  },
};

/** Postgres.js. */
export const postgresDriver: Driver = {
  name: "postgres.js",
  connect: () => {
    const sql = postgres(POSTGRES_URL, { max: 3 });
    return Promise.resolve({ query: (text, params) => sql.unsafe(text, params), end: () => sql.end() });
  },
};
