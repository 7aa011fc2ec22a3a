/**
 * Where the servers of a cluster keep their nodes.
 *
 * @module
 */
import { join } from "node:path";
import type { Place } from "../races/engines.ts";
import { RUNTIMES } from "../storage/runtimes.ts";
import { addressOf, newTableName } from "../storage/table_kit.ts";

/** An SQLite file for each. */
export function apart(folder: string): Place[] {
  return RUNTIMES.map((runtime) => ({
    engine: "sqlite",
    address: join(folder, `${runtime}.db`),
    tableName: "nodes",
  }));
}

/** One PostgreSQL for all. */
export function together(): Place[] {
  const place: Place = {
    engine: "postgres",
    address: addressOf("REALITY_TEST_POSTGRES"),
    tableName: newTableName(),
  };
  return RUNTIMES.map(() => place);
}
