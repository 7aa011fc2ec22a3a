/**
 * Pieces of SQL text and of parameters that MySQL's statements share. Pure.
 *
 * Keys, hashes and replica ids are bytes: every text collation treats some different keys as equal, if only by trailing
 * spaces. Lists travel as one JSON text. No LIMIT is bound, since a prepared statement would get it as a floating-point
 * number.
 *
 * @module
 */
import type { OutboxNames, SQLRow, SQLValue } from "../dialect.ts";
import { align, LATE_CYCLE, MAX_RECENT_LENGTH, type SQLTable } from "../fragments.ts";

/** The table, as MySQL's statements name it. */
export function mysqlTable(name: string, isTimed: boolean, outbox?: OutboxNames): SQLTable {
  // In UTC, where no hour comes twice, whatever the session's time zone.
  const now = isTimed
    ? "0"
    : "(TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000)";
  const quoted = `\`${name}\``;
  return { name, quoted, now, outbox: outbox && { ...outbox, quoted: `\`${outbox.name}\`` } };
}

/** The type of a text in a JSON list. */
export const TEXT = "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/** A column of bytes as text. */
export function decode(column: string): string {
  return `CONVERT(${column} USING utf8mb4)`;
}

/** The columns of a node row. */
export function selectNode(deleted: string, replicaId: string = "NULL"): string {
  return `SELECT ${decode("node.node_key")} AS node_key, node.version, ${decode("node.hash")} AS hash, ` +
    `node.updated_at, ${deleted} AS deleted, 0 AS late, ${replicaId} AS origin, NULL AS recent`;
}

/** Whether two values are the same bytes, or both NULL. */
export function isSame(a: string, b: string): string {
  return `CAST(${a} AS BINARY) <=> CAST(${b} AS BINARY)`;
}

/** The version of a node's dot. */
export function dotVersionOf(row: string): string {
  return `COALESCE(${row}.stamp, ${row}.version)`;
}

/** Bound parameters as a table `given`. They get a type here: GREATEST would compare a text and a number as texts. */
export function given(fields: Readonly<Record<string, "BINARY" | "SIGNED">>): string {
  return `(SELECT ${
    Object.entries(fields).map(([name, type]) => `CAST(? AS ${type}) AS ${name}`).join(", ")
  }) AS given`;
}

/** The base of numbers: the greater of the counter and the floor. */
export const BASE = "GREATEST(state.counter, given.floor)";

/** The base, rounded down to the residue of the counter's row. */
export const START: string = align(BASE, "state.updated_at", "given.step");

/** The last number that a write gives. */
export const NEXT: string = `${START} + given.total`;

/**
 * The items of a write as a table `item`. The item with place 0 and the empty key stands for the counter's row.
 *
 * @param more Further columns.
 */
export function items(more: string = ""): string {
  return `JSON_TABLE(?, '$[*]' COLUMNS (name ${TEXT} PATH '$[0]', place BIGINT PATH '$[1]', ` +
    `hash ${TEXT} PATH '$[2]', time BIGINT PATH '$[3]', expiry BIGINT PATH '$[4]'${more})) AS item`;
}

/** The items as JSON text, after the one for the counter's row. */
export function itemsParam(items: readonly SQLValue[][]): string {
  return JSON.stringify([["", 0, "", 0, null], ...items]);
}

const NODE_COLUMNS = ["version", "hash", "updated_at", "expires_at", "origin", "stamp"];
const COUNTER_COLUMNS = ["counter", "max_version", "max_stamp", "late"];

/** Locks the counter's row first, and replaces rows that are there already. */
export function lockAndReplace({ quoted }: SQLTable): string {
  const update = [...NODE_COLUMNS, ...COUNTER_COLUMNS].map((name) =>
    `${quoted}.${name} = VALUES(${quoted}.${name})`
  ).join(", ");
  return `FOR UPDATE ON DUPLICATE KEY UPDATE ${update}`;
}

/** What a write stores in the columns of a node's row. */
export interface NodeValues {
  readonly version: string;
  readonly replicaId: string;
  readonly dotVersion: string;
}

/** What a write stores in the columns of the counter's row. */
export interface CounterValues {
  readonly counter: string;
  readonly maxVersion: string;
  readonly maxDotVersion: string;
  /** Whether a node is published at or below the highest visible version. */
  readonly isLate: string;
}

/** A write of nodes and of the counter's row. */
export interface Write {
  readonly node: NodeValues;
  readonly counter: CounterValues;
  /** What is joined to the counter's row, which is `state`. */
  readonly from: string;
}

/** The beginning of a write, up to its WHERE. */
export function insertRows({ quoted, now }: SQLTable, { node, counter, from }: Write): string {
  return `INSERT INTO ${quoted} (node_key, ${NODE_COLUMNS.join(", ")}, ${COUNTER_COLUMNS.join(", ")}) ` +
    `SELECT item.name, IF(item.place = 0, 0, ${node.version}), ` +
    `IF(item.place = 0, ${recentText(counter.maxVersion, counter.isLate)}, item.hash), ` +
    `IF(item.place = 0, state.updated_at, item.time), item.expiry + ${now}, ` +
    `IF(item.place = 0, state.origin, ${node.replicaId}), IF(item.place = 0, NULL, ${node.dotVersion}), ` +
    `IF(item.place = 0, ${counter.counter}, NULL), IF(item.place = 0, ${counter.maxVersion}, NULL), ` +
    `IF(item.place = 0, ${counter.maxDotVersion}, NULL), IF(item.place = 0, state.late + (${counter.isLate}), NULL) ` +
    `FROM ${quoted} AS state JOIN ${from}`;
}

/** The text of `recent`, which is the column `hash` of the counter's row, after a write. */
function recentText(to: string, isLate: string): string {
  return `RIGHT(CONCAT(state.hash, ${
    isLate === "0"
      ? ""
      : `IF(${isLate}, CONCAT(';', (state.late + 1) % ${LATE_CYCLE}, ':', given.marks), ''), `
  }` +
    `IF(${to} > state.max_version, CONCAT(',', ${to} - state.max_version), '')), ${MAX_RECENT_LENGTH})`;
}

/** The counter's row, with what a write moved the counter to; no row where it wrote none. */
export function toRows(lastId: number): SQLRow[] {
  return lastId > 0 ? [{ node_key: "", version: lastId }] : [];
}

/** A version vector in one parameter: the dot version that it has for a replica id. */
export function vectorEntry(replicaId: string): string {
  const vector = `JSON_TABLE(?, '$[*]' COLUMNS (origin ${TEXT} PATH '$[0]', stamp BIGINT PATH '$[1]'))`;
  // A join would use a buffer, and then the nodes would be sorted once more.
  return `(SELECT MAX(told.stamp) FROM ${vector} AS told WHERE ${isSame("told.origin", replicaId)})`;
}
