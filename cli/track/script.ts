/**
 * Makes one piece of the statements that track a table: a transaction, or a script for `psql`, `mysql` or `sqlite3`. Pure.
 *
 * @module
 */
import { tableOf } from "../../storage/sql/track/mysql.ts";
import type { TrackOptions, UntrackOptions } from "../../storage/sql/track/track_table.ts";

/**
 * Puts statements into a transaction. MySQL has none for triggers: there the table is locked, so that no change comes between
 * an old trigger and the new one.
 */
export function toTransaction(
  options: TrackOptions | UntrackOptions,
  statements: readonly string[],
): string[] {
  if (options.dialect === "sqlite") return ["BEGIN IMMEDIATE", ...statements, "COMMIT"];
  if (options.dialect === "postgres") return ["BEGIN", ...statements, "COMMIT"];
  if (!("keys" in options)) return [...statements];
  const [check = "", ...changes] = statements;
  return [check, `LOCK TABLES ${tableOf(options)} WRITE`, ...changes, "UNLOCK TABLES"];
}

/** Formats statements as a script that ends at the first error. */
export function formatScript(options: TrackOptions | UntrackOptions, statements: readonly string[]): string {
  const all = toTransaction(options, statements);
  if (options.dialect === "sqlite") return [".bail on", ...all.map((sql) => `${sql};`)].join("\n");
  if (options.dialect === "postgres") {
    return ["SET client_encoding = 'UTF8'", "SET client_min_messages = warning", ...all].map((sql) =>
      `${sql};`
    ).join("\n");
  }
  // `mysql` ends a statement at the first semicolon unless it is given another delimiter.
  let delimiter = "$$";
  while (all.some((sql) => sql.includes(delimiter))) delimiter += "$";
  return ["SET NAMES utf8mb4;", `DELIMITER ${delimiter}`, ...all.map((sql) => sql + delimiter), "DELIMITER ;"]
    .join("\n");
}
