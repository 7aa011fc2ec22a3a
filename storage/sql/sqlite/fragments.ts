/**
 * Pieces of SQL text that SQLite's statements share. Pure.
 *
 * Numbers are read as REAL, which is exact up to 2^53. Some drivers truncate an INTEGER to 32 bits or return a bigint.
 *
 * @module
 */
import type { OutboxNames } from "../dialect.ts";
import { dotVersionOf, LATE_CYCLE, MAX_RECENT_LENGTH, type SQLTable } from "../fragments.ts";

/** The table, as SQLite's statements name it. */
export function sqliteTable(name: string, isTimed: boolean, outbox?: OutboxNames): SQLTable {
  // julianday() gives milliseconds since 1970 in SQLite below 3.42 as well.
  const now = isTimed ? "0" : "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
  return { name, quoted: `"${name}"`, now, outbox: outbox && { ...outbox, quoted: `"${outbox.name}"` } };
}

/** A number that is read. */
export function toReal(number: string): string {
  return `CAST(${number} AS REAL)`;
}

/** The columns of a node row. */
export function nodeColumns(row: string = ""): string {
  return `${row}node_key, CAST(${row}version AS REAL) AS version, ${row}hash, CAST(${row}updated_at AS REAL) AS updated_at`;
}

/** A field of an item that `json_each()` returns. */
export function field(index: number): string {
  return `json_extract(value, '$[${index}]')`;
}

/** The columns that a write replaces. */
export const WRITTEN: readonly string[] = [
  "version",
  "hash",
  "updated_at",
  "expires_at",
  "origin",
  "stamp",
  "max_version",
  "max_stamp",
];

/** Replaces a row that is there already. */
export function upsert(more: readonly string[] = []): string {
  return `ON CONFLICT (node_key) DO UPDATE SET ` +
    [...WRITTEN, ...more].map((name) => `${name} = excluded.${name}`).join(", ");
}

/**
 * The text of `recent`, which is the column `hash` of the counter's row, after a write.
 *
 * @param next The highest visible version after the write.
 * @param hash The text before it.
 * @param isLate Whether a node was published below the highest visible version; left out for never.
 */
export function recentText(next: string, hash: string = "hash", isLate: string = ""): string {
  return `substr(${hash} || ${
    isLate && `iif(${isLate}, ';' || ((late + 1) % ${LATE_CYCLE}) || ':' || marks, '') || `
  }iif(${next} > max_version, ',' || (${next} - max_version), ''), -${MAX_RECENT_LENGTH})`;
}

/** The base of numbers: the greater of the counter and the floor. */
export function baseOf(counter: string, floor: string): string {
  return `max(${counter}, ${floor})`;
}

/** What decides which of two nodes is newer. */
export function rank(row: string): string {
  return `(${row}.version, ${row}.updated_at, ${row}.hash, ${row}.expires_at IS NOT NULL)`;
}

/** The columns of a replicated row. */
export function selectReplicated(): string {
  return `SELECT ${nodeColumns("node.")}, node.expires_at IS NOT NULL AS deleted, ` +
    `coalesce(node.origin, state.origin) AS origin, CAST(${dotVersionOf("node")} AS REAL) AS stamp `;
}

/** Every row as `node`, beside the storage's own replica id as `state.origin`. */
export function fromNodes({ quoted }: SQLTable): string {
  return `(SELECT origin FROM ${quoted} WHERE node_key = '') AS state CROSS JOIN ${quoted} AS node`;
}
