/**
 * createDrizzleAdapter on PostgreSQL behind connections that go silent.
 *
 * @module
 */
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";
import { createDrizzleAdapter } from "../../../../storage/drizzle.ts";
import { testBlackhole } from "../../blackhole_kit.ts";
import { POSTGRES_URL } from "../postgres/drivers.ts";
import { newTableName } from "../../table_kit.ts";

testBlackhole({
  name: "createDrizzleAdapter through node-postgres with its time limits",
  address: POSTGRES_URL,
  open: (connectionString) => {
    const limits = { connectionTimeoutMillis: 1000, query_timeout: 1000 };
    const pool = new pg.Pool({ connectionString, max: 3, ...limits });
    pool.on("error", () => {});
    const storage = createDrizzleAdapter(drizzle(pool), { tableName: newTableName() });
    return Promise.resolve([storage, () => pool.end()]);
  },
  storageTimeout: 10_000,
  succeedsAtOnce: false,
});
