/**
 * Triggers that write the keys of changed rows to the outbox of a server, whichever program changes them. Returns the SQL
 * statements for your migrations; imports nothing, and connects to nothing.
 *
 * @module
 */
import { trackOnMySQL, untrackOnMySQL } from "./mysql.ts";
import { trackOnPostgres, untrackOnPostgres } from "./postgres.ts";
import { trackOnSQLite, untrackOnSQLite } from "./sqlite.ts";
import { checkTable, readTracking, type TrackOptions, type UntrackOptions } from "./tracking.ts";

export type { SQLDialectName } from "../sql_options.ts";
export type { TrackOptions, UntrackOptions } from "./tracking.ts";

/**
 * Returns the SQL statements after which each change of a row writes the row's keys to the outbox, in the transaction that
 * changes it: after an INSERT those of the new row, after a DELETE those of the old one, after an UPDATE both.
 *
 * Run them in order, in one transaction on PostgreSQL and SQLite. The outbox must exist. The first statement changes
 * nothing: it fails when a column or a table does not exist. Statements that were run before are replaced by newer ones.
 *
 * @param options The table and its keys.
 * @returns The statements, each without a semicolon at its end.
 * @throws {TypeError} When an option is unknown or wrong; the message names it.
 *
 * @example
 * ```ts
 * import { trackTable } from "@rootlodge/reality-server/track";
 *
 * const statements = trackTable({
 *   dialect: "postgres",
 *   table: "messages",
 *   keys: ["chat:{room_id}", "user:{author_id}:inbox"],
 *   when: "NOT {is_draft}",
 * });
 * console.assert(statements.at(-1)?.includes("AFTER INSERT"));
 * ```
 */
export function trackTable(options: TrackOptions): string[] {
  const tracking = readTracking(options);
  switch (options.dialect) {
    case "postgres":
      return trackOnPostgres(options, tracking);
    case "mysql":
      return trackOnMySQL(options, tracking);
    case "sqlite":
      return trackOnSQLite(options, tracking);
  }
}

/**
 * Returns the SQL statements that remove the triggers of {@linkcode trackTable}. They do nothing when the triggers do not exist.
 *
 * @param options The table, and the name if the triggers have one.
 * @returns The statements, each without a semicolon at its end.
 * @throws {TypeError} When an option is unknown or wrong; the message names it.
 *
 * @example
 * ```ts
 * import { untrackTable } from "@rootlodge/reality-server/track";
 *
 * const statements = untrackTable({ dialect: "sqlite", table: "messages" });
 * console.assert(statements[0] === 'DROP TRIGGER IF EXISTS "reality_track_messages_insert"');
 * ```
 */
export function untrackTable(options: UntrackOptions): string[] {
  checkTable("untrackTable", options);
  switch (options.dialect) {
    case "postgres":
      return untrackOnPostgres(options);
    case "mysql":
      return untrackOnMySQL(options);
    case "sqlite":
      return untrackOnSQLite(options);
  }
}
