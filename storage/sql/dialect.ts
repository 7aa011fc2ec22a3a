/**
 * What may differ between SQL databases, as one interface: the statements, each of which is atomic by itself.
 *
 * @module
 */
import type { Dot } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

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

/**
 * How a statement numbers: above the counter and above `floor`, by the highest number there or below with the residue
 * that the counter's row has, and a multiple of `step` more.
 */
export interface Numbering {
  /** What the counter counts up from at least. */
  readonly floor: number;
  /** How far numbers lie apart at least; 1 where they have no residue. */
  readonly step: number;
}

/** A node to be changed; its version lies `offset` above what numbers are counted up from. */
export interface PlacedChange {
  /** The node's key. */
  readonly key: string;
  /** How far above. */
  readonly offset: number;
  /** Its new hash. */
  readonly hash: string;
  /** The writing server's clock, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** For a deletion: for how long its tombstone is kept, in milliseconds; with a test's clock, until when. */
  readonly expiresAt: number | null;
}

/** A node to be taken in, or a change to be made in the place of one. */
export interface PlacedMerge {
  /** The node's key. */
  readonly key: string;
  /** For a node from elsewhere its version; for a change of the storage's own how far above the base it lies. */
  readonly place: number;
  /** Where a node from elsewhere comes from; `null` for a change of the storage's own. */
  readonly stamp: Dot | null;
  /** Its hash. */
  readonly hash: string;
  /** The writing server's clock, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** For a tombstone: for how long it is kept, in milliseconds; with a test's clock, until when. */
  readonly expiresAt: number | null;
  /** The stamp of the node that must be there; `null` where none may be. */
  readonly replaces: Dot | null;
}

/** How a list of takes moves the counter. */
export interface MergeBounds extends Numbering {
  /** The counter is lifted to this at least; changes of the storage's own lie above it. */
  readonly floor: number;
  /** The highest place of a change of the storage's own; 0 when there is none. */
  readonly total: number;
  /** The lowest version of a node from elsewhere; 2^53 − 1 when there is none. */
  readonly lowest: number;
  /** The highest version of a node from elsewhere; 0 when there is none. */
  readonly highest: number;
  /** What `recent` says of these nodes' keys if one of them lies at or below the highest visible version. */
  readonly marks: string;
  /** What `mesh` must still say for a node to be added where there is none; `null` for whatever it says. */
  readonly notes: string | null;
}

/** Stamps, each standing for all of its origin up to it. The origin `null` is the storage's own. */
export type StampList = readonly (readonly [origin: string | null, stamp: number])[];

/** What a counter's row is to say from now on of the storages beside this one. */
export interface Adoption {
  /** The text of the column `mesh`. */
  readonly mesh: string;
  /** The epoch. */
  readonly epoch: string;
}

/**
 * The statements of one database for one table. Nodes and counter share the table: the row with the empty key,
 * which no node can have, is the counter's. So a change and the counting of it are one statement on any
 * database, and whoever wants the counter's row next waits until the change is visible.
 *
 * Node rows have the columns `node_key`, `version`, `hash`, `updated_at` and `deleted` (0 or 1); where they are
 * said to be stamped also `origin` and `stamp`. The age of tombstones is judged by the clock of the database alone, in
 * the statements that write and sweep them: the clocks of the servers may differ. In the table both are empty as long as they need not be there: no
 * origin means this storage's own, no stamp means that it is the version.
 */
export interface SQLDialect {
  /** The most changes that one statement takes. */
  readonly maxChanges: number;
  /** The longest key, hash and origin that the columns take, in bytes of UTF-8. Left out: any. */
  readonly maxBytes?: { readonly key: number; readonly hash: number; readonly origin: number };
  /** The codes of errors after which nothing was done and the same statement may be sent again. */
  readonly retried: readonly unknown[];
  /** What an error says where the table, or a column of it, is not there: its code, or a part of its message. */
  readonly missing: { readonly codes: readonly unknown[]; readonly message: RegExp };
  /** Whether rows with the counter's among them say that they come from a server that takes no writes. */
  readonly tellsReadOnly?: (rows: readonly SQLRow[]) => boolean;
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
  /** The counter's row: `counter`, `drawn`, `max_version`, `max_stamp`, `epoch`, `origin`, `mesh`. */
  readCounter(): Statement;
  /** Those nodes that are there. */
  readNodes(keys: readonly string[]): Statement;
  /**
   * Those nodes that are there and, under the empty key, the counter's row: the highest visible version as
   * `version`, the epoch as `hash`, the swept version as `updated_at`, `late`, `origin` and
   * `recent`.
   */
  readMoment(keys: readonly string[]): Statement;
  /** The first nodes and tombstones above a version, and the counter's row as `readMoment` has it. */
  readChanges(version: number, limit: number): Statement;
  /** Nodes and tombstones above a version, in order of it; with a limit, up to the end of a version. */
  listChanged(version: number, limit: number | undefined): Statement;
  /**
   * Draws a residue: moves the counter, and the highest stamp, to the next number that has it. A row if `mesh` and the
   * number with which the last one was drawn still were as they were read.
   */
  draw(before: { readonly mesh: string; readonly drawn: number }, residue: number, floor: number): Statement;
  /** Moves the counter to the next number; a row with `version`, or none past 2^53 − 1. */
  increment(numbering: Numbering): Statement;
  /**
   * Writes changes at the next numbers, and moves the counter to the last. A row with an
   * empty `node_key` and the last as `version`, among any others; none at all, and nothing done, past 2^53 − 1
   * or without counter.
   */
  applyChanges(changes: readonly PlacedChange[], numbering: Numbering): Statement;
  /**
   * Writes a node unless a newer one is there, and lifts the counter. A node at or below the highest stamp that
   * was ever visible, or without the residue, gets the next number as its stamp. A row at least, or none without
   * counter and, where such a stamp is needed, past 2^53 − 1.
   *
   * @param numbering With the mark of its key, for `recent` if it lies at or below the highest visible version.
   */
  setNode(
    meta: RealityNodeMeta,
    expiresAt: number | null,
    numbering: Numbering & Pick<MergeBounds, "marks">,
  ): Statement;
  /** Those nodes and tombstones, stamped. */
  readReplicated(keys: readonly string[]): Statement;
  /**
   * Nodes and tombstones, stamped, outside of `base` and with a version or stamp above `lowest`: all of them, or
   * at least so many. And of the same moment, under the empty key, the counter's row with `mesh` as `hash`.
   */
  readNews(base: StampList, lowest: number, limit: number): Statement;
  /** The first so many nodes and tombstones, stamped, outside of `base` and with keys above `after`, by key. */
  readPage(base: StampList, after: string, limit: number): Statement;
  /**
   * Lifts the counter and writes those nodes that may be written. A row with an empty `node_key` and the counter
   * as `version`, and a row with `node_key` for each node that was written, unless `takesUnheard`; none at all,
   * and nothing done, past 2^53 − 1 or without counter.
   */
  takeNodes(takes: readonly PlacedMerge[], bounds: MergeBounds): Statement;
  /** Whether `takeNodes` cannot tell which nodes were written. */
  readonly takesUnheard?: true;
  /** Gives the counter's row other names. A row if it still was as it was read. */
  renew(before: Adoption, after: Adoption & { readonly replicaId: string }): Statement;
  /** Changes the counter's row from what it was read to say, and lifts the counter. A row if it still said so. */
  adopt(before: Adoption, after: Adoption, lift: number): Statement;
  /**
   * Of the oldest {@linkcode MAX_SWEPT} tombstones that have expired, origin by origin, how many were `found`, their
   * highest `stamp` and `version`, and until when the last of them was kept as `expires_at`; a row without `origin` for
   * the storage's own.
   *
   * @param now 0; with a test's clock, what it shows.
   */
  findExpired(now: number): Statement;
  /** Notes in the counter's row how far the coming sweep goes. A row if `mesh` still was as it was read. */
  markCollected(before: string, after: string, version: number): Statement;
  /**
   * Forgets tombstones that were kept until that moment or an earlier one, {@linkcode MAX_SWEPT} at most and none beyond
   * what is noted.
   */
  sweep(until: number, noted: StampList): Statement;
}

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

/** The most tombstones that one piece of sweeping forgets: some ten milliseconds in SQLite. */
export const MAX_SWEPT = 500;

/** The column `mesh` of a storage that has met no other. */
export const NO_MESH = '{"seen":{},"swept":{}}';
