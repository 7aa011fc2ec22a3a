/**
 * Pieces of SQL text and of parameters that several dialects share. Pure.
 *
 * @module
 */
import type { NodeHash } from "../../src/store/contract.ts";
import { LATE_CYCLE, MAX_RECENT_LENGTH } from "../../src/store/history.ts";
import type { OutboxTable, SQLValue, Statement } from "./dialect.ts";
import { UNMERGED_MESH } from "./mesh_column.ts";
import type { PlacedChange, PlacedConditional, PlacedMerge } from "./placement.ts";

/** The columns that the table has in every database. */
export const COLUMNS: readonly string[] = [
  "node_key",
  "version",
  "hash",
  "updated_at",
  "expires_at",
  "origin",
  "stamp",
  "epoch",
  "max_version",
  "max_stamp",
  "swept_version",
  "late",
  "mesh",
];

/** The most changes in one statement. The JSON text of one statement stays below 2 MB, which is the limit of D1. */
export const MAX_CHANGES = 1000;

/** No version is above this. */
export const MAX_VERSION: number = Number.MAX_SAFE_INTEGER;

/** The longest text of `recent`, and the cycle of its late entries. */
export { LATE_CYCLE, MAX_RECENT_LENGTH };

/** The table that the statements of a dialect are for, as SQL text. */
export interface SQLTable {
  /** Its name, checked before. */
  readonly name: string;
  /** Its name in quotes. */
  readonly quoted: string;
  /** The current time in milliseconds since 1970, by the database's clock; `0` where a test's clock gives the time. */
  readonly now: string;
  /** The outbox, if there is one. */
  readonly outbox?: OutboxTable | undefined;
}

/**
 * The highest id of a pending row, as the column `outbox` of the counter's row; nothing where there is no outbox. Of the
 * first part of a union, as the text begins with a comma.
 */
export function pendingColumn({ outbox }: SQLTable, cast: (id: string) => string = (id) => id): string {
  return outbox ? `, (SELECT ${cast("max(id)")} FROM ${outbox.quoted} WHERE id > 0) AS outbox` : "";
}

/** The same column of a node row in the union. */
export function noPending({ outbox }: SQLTable): string {
  return outbox ? ", NULL" : "";
}

/** A statement with its parameters. */
export function statement(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

/**
 * The highest number at or below `base` that has the residue of `drawn`.
 *
 * @param base What is counted up from.
 * @param drawn A number with the residue.
 * @param step The distance between numbers of one residue.
 */
export function align(base: string, drawn: string, step: string): string {
  return `${base} - (${base} - ${drawn}) % ${step}`;
}

/** The version of a node's dot. PostgreSQL and SQLite. */
export function dotVersionOf(row: string): string {
  return `coalesce(${row}.stamp, ${row}.version)`;
}

/** The counter's row beside replicated rows: the column `mesh` is in `hash`. PostgreSQL and SQLite. */
export function selectMesh({ quoted }: SQLTable): string {
  return `SELECT '' AS node_key, 0 AS version, mesh AS hash, 0 AS updated_at, 0 AS deleted, origin, ` +
    `0 AS stamp FROM ${quoted} WHERE node_key = ''`;
}

/** The statements that create the table's indexes. PostgreSQL and SQLite. */
export function createIndexes({ name, quoted }: SQLTable): string[] {
  return [
    `CREATE INDEX IF NOT EXISTS "${name}_version" ON ${quoted} (version)`,
    `CREATE INDEX IF NOT EXISTS "${name}_expires_at" ON ${quoted} (expires_at) WHERE expires_at IS NOT NULL`,
    `CREATE INDEX IF NOT EXISTS "${name}_stamp" ON ${quoted} (stamp) WHERE stamp IS NOT NULL`,
  ];
}

/** A change as one item of a JSON list. SQLite and MySQL. */
export function changeItem({ key, offset, hash, updatedAt, expiresAt }: PlacedChange): SQLValue[] {
  return [key, offset, hash, updatedAt, expiresAt];
}

/**
 * Changes with their conditions: one item for each condition of a change, and one without a condition for a change that
 * is written in any case. A change is written if one of its items is not as the condition says.
 */
export function conditionalItems(changes: readonly PlacedConditional[]): SQLValue[][] {
  return changes.flatMap((change) => {
    const conditions: readonly (NodeHash | undefined)[] = change.unless ?? [undefined];
    return conditions.map((node) => [...changeItem(change), node?.key ?? null, node?.hash ?? null]);
  });
}

/**
 * Whether an item of {@linkcode conditionalItems} is to be written. `item` has the condition, `node` is the stored node
 * that it names, and `state` the counter's row.
 *
 * @param isSame Compares two texts.
 * @param left The first characters of the column `mesh`.
 */
export function isWritten(isSame: (a: string, b: string) => string, left: string): string {
  return `(item.cond_key IS NULL OR node.node_key IS NULL OR node.expires_at IS NOT NULL ` +
    `OR NOT (${isSame("node.hash", "item.cond_hash")}) OR ${left} <> '${UNMERGED_MESH}')`;
}

/** How many characters of the column `mesh` {@linkcode isWritten} compares. */
export const UNMERGED_LENGTH: number = UNMERGED_MESH.length;

/** A merge as one item of a JSON list. SQLite and MySQL. */
export function mergeItem(merge: PlacedMerge): SQLValue[] {
  const { key, hash, updatedAt, expiresAt, replaces } = merge;
  return [
    ...[key, placeOf(merge), hash, updatedAt, expiresAt],
    ...(merge.kind === "replica" ? [merge.dot.version, merge.dot.replicaId] : [null, null]),
    ...(replaces ? [replaces.version, replaces.replicaId] : [null, null]),
  ];
}

/** What a statement gets as the column `place` of a merge: the version of a replica, or the offset of an own change. */
export function placeOf(merge: PlacedMerge): number {
  return merge.kind === "replica" ? merge.version : merge.offset;
}
