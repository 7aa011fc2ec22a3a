/**
 * Pieces of SQL text and of parameters that PostgreSQL's statements share. Pure.
 *
 * Lists travel as text that the server parses as arrays. Drivers differ in what they make of a JavaScript array or of
 * JSON; all of them send text as it is.
 *
 * @module
 */
import { align, LATE_CYCLE, MAX_RECENT_LENGTH, type SQLTable } from "../fragments.ts";
import type { OutboxNames, SQLValue, VectorEntries } from "../dialect.ts";

/** The table, as PostgreSQL's statements name it. */
export interface PostgresTable extends SQLTable {
  /** The time at the start of the statement: the same for all rows, so that an index can be used. */
  readonly statementStart: string;
}

/** The table, as PostgreSQL's statements name it. */
export function postgresTable(name: string, isTimed: boolean, outbox?: OutboxNames): PostgresTable {
  const clock = (read: string) => isTimed ? "0" : `(extract(epoch FROM ${read}()) * 1000)::bigint`;
  return {
    name,
    quoted: `"${name}"`,
    outbox: outbox && { ...outbox, quoted: `"${outbox.name}"` },
    // now() is the beginning of the application's transaction, which may be long past.
    now: clock("clock_timestamp"),
    statementStart: clock("statement_timestamp"),
  };
}

/** 1 on a standby, and in a read-only transaction: another server may have newer data. */
export const READ_ONLY =
  "(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on')::int AS read_only";

/** The base of numbers: the greater of the counter and the floor, which is `$1`. */
export const BASE = "greatest(counter, $1::bigint)";

/** The next number: `$2` is the distance between numbers, `$3` how far above the base the number lies. */
export const NEXT: string = `${align(BASE, "updated_at", "$2::bigint")} + $3::bigint`;

/** The columns of a node that is written. */
export const WRITTEN = "node_key, version, hash, updated_at, expires_at";

/** Replaces the columns of a row that is there already. */
export const EXCLUDED: string =
  "version = excluded.version, hash = excluded.hash, updated_at = excluded.updated_at, " +
  "expires_at = excluded.expires_at, origin = excluded.origin, stamp = excluded.stamp";

/** How a write changes `recent`. */
export interface RecentChange {
  /** The highest visible version after the write. */
  readonly to: string;
  /** Whether a node was published below the highest visible version, and the marks of its key; left out for never. */
  readonly late?: { readonly isLate: string; readonly marks: string };
}

/** The text of `recent`, which is the column `hash` of the counter's row, after a write. */
export function recentText({ to, late }: RecentChange): string {
  return `right(hash || ${
    late
      ? `CASE WHEN ${late.isLate} THEN ';' || ((late + 1) % ${LATE_CYCLE}) || ':' || ${late.marks} ELSE '' END || `
      : ""
  }CASE WHEN ${to} > max_version THEN ',' || (${to} - max_version) ELSE '' END, ` +
    `${MAX_RECENT_LENGTH})`;
}

/** The entries of a version vector as rows: `$1` has the replica ids, `$2` the dot versions. */
export const VECTOR = "unnest($1::text::text[], $2::text::bigint[])";

/** The entries of a version vector as two arrays: replica ids and dot versions. */
export function vectorParams(entries: VectorEntries): [replicaIds: string, dotVersions: string] {
  return [
    toArray(entries.map(([replicaId]) => replicaId)),
    toArray(entries.map(([, dotVersion]) => dotVersion)),
  ];
}

/**
 * The keys of a parameter, for a comparison. The subquery is run once. A cast alone would be parsed again for each row where
 * the table is scanned.
 */
export const ANY_KEY = "ANY (ARRAY(SELECT unnest($1::text::text[])))";

/** A list as PostgreSQL writes an array. */
export function toArray(values: readonly SQLValue[]): string {
  return `{${values.map(toItem).join()}}`;
}

function toItem(value: SQLValue): string {
  if (value === null) return "NULL";
  return typeof value === "number" ? String(value) : `"${value.replace(/["\\]/g, "\\$&")}"`;
}
