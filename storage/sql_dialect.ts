/**
 * What may differ between SQL databases, as one interface: the statements, each of which is atomic by itself.
 *
 * @module
 */
import type { CounterKind } from "../src/storage.ts";
import type { RealityNodeMeta } from "../src/types.ts";

/** A value that is bound to a statement. */
export type SQLValue = string | number | null;

/** One row, by column name. Numbers may come as numbers, bigints or text. */
export type SQLRow = Readonly<Record<string, unknown>>;

/** A statement and what is bound to it. */
export interface Statement {
  /** The text; the same for every call of one kind, so that it can be prepared once. */
  readonly sql: string;
  /** What its placeholders stand for, in order. */
  readonly params: SQLValue[];
  /**
   * For a write on a database that gives no rows for it: makes the rows of what `LAST_INSERT_ID(expression)`
   * last got. 0 says that it got nothing, since no row was written.
   */
  readonly toRows?: (lastId: number) => SQLRow[];
}

/** A node to be changed; its version lies `offset` above what the counter counts up from. */
export interface PlacedChange {
  /** The node's key. */
  readonly key: string;
  /** How far above. */
  readonly offset: number;
  /** Its new hash. */
  readonly hash: string;
  /** The writing server's clock, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** For a deletion: until when its tombstone is kept, in milliseconds since 1970. */
  readonly expiresAt: number | null;
}

/**
 * The statements of one database for one table. Nodes and counter share the table: the row with the empty key,
 * which no node can have, is the counter's. So a change and the counting of it are one statement on any
 * database, and whoever wants the counter's row next waits until the change is visible.
 *
 * Node rows have the columns `node_key`, `version`, `hash`, `updated_at` and `deleted` (0 or 1).
 */
export interface SQLDialect {
  /** How changes are numbered unless told otherwise. */
  readonly counter: CounterKind;
  /** The most changes that one statement takes. */
  readonly maxChanges: number;
  /** The longest key and hash that the columns take, in bytes of UTF-8. Left out: any. */
  readonly maxBytes?: { readonly key: number; readonly hash: number };
  /** The codes of errors after which nothing was done and the same statement may be sent again. */
  readonly retried: readonly unknown[];
  /** The table's columns. */
  readonly columnNames: readonly string[];
  /** What makes the table, statement by statement; harmless where it is there. */
  readonly schema: readonly string[];
  /** The same for when several servers do it at once, where that takes more. */
  readonly createTable?: readonly string[];
  /** The table's columns, a row each with `name`; no row where there is no table. */
  columns(): Statement;
  /** Adds the counter's row where there is none. */
  createCounter(epoch: string, origin: string): Statement;
  /** The counter's row: `counter`, `max_version`, `epoch`, `origin`. */
  readCounter(): Statement;
  /** Those nodes that are there. */
  readNodes(keys: readonly string[]): Statement;
  /**
   * Those nodes that are there and, under the empty key, the counter's row: the highest visible version as
   * `version`, the epoch as `hash`, the swept version as `updated_at`, and `late`.
   */
  readMoment(keys: readonly string[]): Statement;
  /** The first nodes and tombstones above a version, and the counter's row as `readMoment` has it. */
  readChanges(version: number, limit: number): Statement;
  /** Nodes and tombstones above a version, in order of it; with a limit, up to the end of a version. */
  listChanged(version: number, limit: number | undefined): Statement;
  /** Moves the counter to `max(counter, floor) + step`; a row with `version`, or none past 2^53 − 1. */
  increment(floor: number, step: number): Statement;
  /**
   * Writes changes at `max(counter, floor)` and their offset, and moves the counter to the last. A row with an
   * empty `node_key` and the last as `version`, among any others; none at all, and nothing done, past 2^53 − 1
   * or without counter.
   */
  applyChanges(changes: readonly PlacedChange[], floor: number): Statement;
  /** Writes a node unless a newer one is there, and lifts the counter. A row at least, or none without counter. */
  setNode(meta: RealityNodeMeta, expiresAt: number | null): Statement;
  /** A row if there are tombstones kept until this moment or an earlier one. */
  findExpired(now: number): Statement;
  /** Notes in the counter's row how far the coming sweep goes. */
  markSwept(now: number): Statement;
  /** Forgets some of the expired tombstones, none beyond what is noted. */
  sweep(now: number): Statement;
}

/** The columns that the table has in every database. */
export const COLUMNS: readonly string[] = [
  "node_key",
  "version",
  "hash",
  "updated_at",
  "expires_at",
  "epoch",
  "origin",
  "swept_version",
  "late",
];

/** The most tombstones that one sweep forgets. */
export const MAX_SWEPT = 1000;
