/**
 * What differs between SQL databases, as one interface. Each statement is atomic by itself.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../src/types.ts";
import type {
  MergeBounds,
  Numbering,
  PlacedChange,
  PlacedConditional,
  PlacedMerge,
  PlacedRows,
} from "./placement.ts";

/** A value that is bound to a statement. */
export type SQLValue = string | number | null;

/** One row, by column name. Drivers give numbers as numbers, bigints or text. */
export type SQLRow = Readonly<Record<string, unknown>>;

/** A statement and the values that are bound to it. */
export interface Statement {
  /** The text. It is the same for every call of one kind, so that a driver can prepare it once. */
  readonly sql: string;
  /** The values for its placeholders, in order. */
  readonly params: SQLValue[];
  /**
   * For a write on a database that returns no rows for writes: makes the rows from the last value that was passed to
   * `LAST_INSERT_ID(expression)`. 0 means that no row was written.
   */
  readonly toRows?: (lastId: number) => SQLRow[];
}

/** The entries of a version vector. The replica id `null` stands for the storage's own. */
export type VectorEntries = readonly (readonly [replicaId: string | null, dotVersion: number])[];

/** The columns of the counter's row that an adoption of a version vector reads and writes. */
export interface MeshColumns {
  /** The text of the column `mesh`. */
  readonly mesh: string;
  /** The epoch. */
  readonly epoch: string;
}

/** The columns of the counter's row that decide whether a residue may be drawn. */
export interface DrawnColumns {
  /** The text of the column `mesh`. */
  readonly mesh: string;
  /** The number with which the last residue was drawn; 0 for none. */
  readonly drawn: number;
}

/**
 * The statements of one database for one table. Nodes and counter share the table: the row with the empty key, which no
 * node can have, is the counter's. So a change and its number are one statement on every database. A statement that needs
 * the counter's row next waits until the change is visible.
 *
 * Node rows have the columns `node_key`, `version`, `hash`, `updated_at` and `deleted` (0 or 1). *Replicated* rows have
 * `origin` (the replica id of the node's dot) and `stamp` (the dot's version) as well. The table leaves both empty where
 * it can: no `origin` means the storage's own replica id, no `stamp` means that it equals the version.
 *
 * Only the database's clock decides the age of tombstones, in the statements that write and collect them. The clocks of
 * the servers may differ.
 */
export interface SQLDialect {
  /** The most changes in one statement. */
  readonly maxChanges: number;
  /** The longest key, hash and replica id that the columns take, in bytes of UTF-8. Left out: any length. */
  readonly maxBytes?: { readonly key: number; readonly hash: number; readonly origin: number };
  /** Codes of errors after which nothing was written and the same statement may be sent again. */
  readonly retried: readonly unknown[];
  /** How an error says that the table or a column does not exist: its code, or a part of its message. */
  readonly missing: { readonly codes: readonly unknown[]; readonly message: RegExp };
  /** Whether rows that include the counter's row come from a server that takes no writes. */
  readonly tellsReadOnly?: (rows: readonly SQLRow[]) => boolean;
  /** The table's columns. */
  readonly columnNames: readonly string[];
  /** The statements that create the table. They do nothing where it exists. */
  readonly schema: readonly string[];
  /** The same for several servers that create it at once, where that needs other statements. */
  readonly createTable?: readonly string[];
  /**
   * Reads the table's columns: one row with `name` for each; no row where the table does not exist. On MySQL also with
   * `autocommit`, which is 0 on a connection that does not commit each statement, and `backslash`, which is
   * 0 where a bound backslash arrives as something else: the driver writes values into the text, and quotes them wrongly.
   */
  columns(): Statement;
  /** Adds the counter's row where there is none. */
  createCounter(epoch: string, replicaId: string): Statement;
  /** Reads the counter's row: `counter`, `drawn`, `max_version`, `max_stamp`, `epoch`, `origin`, `mesh`. */
  readCounter(): Statement;
  /** Reads the stored nodes of these keys. */
  readNodes(keys: readonly string[]): Statement;
  /**
   * Reads the stored nodes of these keys and the counter's row. In the counter's row, which has the empty key, the
   * highest visible version is in `version`, the epoch in `hash`, and the highest collected version in `updated_at`;
   * `late`, `origin` and `recent` have columns of their own. `toCounterMoment()` gives each its own name.
   */
  readMoment(keys: readonly string[]): Statement;
  /** Reads the first nodes and tombstones above a version, and the counter's row as `readMoment` does. */
  readChanges(version: number, limit: number): Statement;
  /** Reads nodes and tombstones above a version, in order of version. A limit never separates nodes of one version. */
  listChanged(version: number, limit: number | undefined): Statement;
  /**
   * Draws a residue: moves the counter and the highest own dot version to the next number with that residue. Returns a
   * row if the counter's row was unchanged since it was read.
   */
  drawResidue(before: DrawnColumns, residue: number, floor: number): Statement;
  /** Moves the counter to the next number. Returns a row with `version`; none if that is above 2^53 − 1. */
  increment(numbering: Numbering): Statement;
  /**
   * Writes changes at the next numbers and moves the counter to the last of them. Returns a row with the empty
   * `node_key` and the last number as `version`, possibly among others. Returns none, and writes nothing, above
   * 2^53 − 1 or without a counter's row.
   */
  applyChanges(changes: readonly PlacedChange[], numbering: Numbering): Statement;
  /**
   * The same for changes of which some have conditions. Writes nothing, and leaves the counter, if none is to be written.
   * Returns a row with `node_key` for each change that was written as well, unless `writesUnreported`.
   */
  applyConditional(changes: readonly PlacedConditional[], numbering: Numbering): Statement;
  /**
   * Writes a node unless a newer one is stored, and raises the counter. The node gets the next number as its dot version
   * if its version is at or below the highest own dot version that was ever visible, or lacks the residue. Returns at
   * least one row. Returns none without a counter's row, or if such a number is above 2^53 − 1.
   *
   * @param numbering With the mark of its key. It goes into `recent` if the node's version was already passed.
   */
  setNode(
    meta: RealityNodeMeta,
    expiresAt: number | null,
    numbering: Numbering & Pick<MergeBounds, "marks">,
  ): Statement;
  /** Reads the nodes and tombstones of these keys as replicated rows. */
  readReplicated(keys: readonly string[]): Statement;
  /**
   * Reads replicated rows whose dots `base` does not include and whose version or dot version is above `lowest`: all of
   * them, or at least `limit`. The counter's row of the same moment comes with them; its `mesh` column is in `hash`.
   */
  readMissing(base: VectorEntries, lowest: number, limit: number): Statement;
  /** Reads the first `limit` replicated rows whose dots `base` does not include and whose keys are above `after`, by key. */
  readMissingPage(base: VectorEntries, after: string, limit: number): Statement;
  /**
   * Raises the counter and writes the merges whose `replaces` is still stored. Returns a row with the empty `node_key`
   * and the counter as `version`, and a row with `node_key` for each node that was written, unless `writesUnreported`.
   * Returns none, and writes nothing, above 2^53 − 1 or without a counter's row.
   */
  mergeNodes(merges: readonly PlacedMerge[], bounds: MergeBounds): Statement;
  /** Set where `mergeNodes` and `applyConditional` cannot return which nodes were written. */
  readonly writesUnreported?: true;
  /** Replaces epoch and replica id. Returns a row if the counter's row was unchanged since it was read. */
  renewIdentity(before: MeshColumns, after: MeshColumns & { readonly replicaId: string }): Statement;
  /** Replaces epoch and `mesh`, and raises the counter. Returns a row if the counter's row was unchanged since it was read. */
  adoptVector(before: MeshColumns, after: MeshColumns, lowestCounter: number): Statement;
  /**
   * Summarizes the {@linkcode MAX_COLLECTED} oldest expired tombstones by replica: how many were `found`, their highest
   * `stamp` and `version`, and the latest `expires_at`. A row without `origin` is for the storage's own.
   *
   * @param now 0, or what a test's clock shows.
   */
  findExpired(now: number): Statement;
  /** Records how far the next collection goes. Returns a row if `mesh` was unchanged since it was read. */
  markCollected(before: string, after: string, version: number): Statement;
  /**
   * Deletes tombstones that expired at that moment or before: at most {@linkcode MAX_COLLECTED}, and none beyond what
   * `markCollected` has recorded.
   */
  collect(until: number, recorded: VectorEntries): Statement;
  /** The statements of the outbox. Left out: there is no outbox. */
  readonly outbox?: OutboxDialect;
}

/** The outbox of a table. */
export interface OutboxNames {
  /** Its name, checked before. */
  readonly name: string;
  /** Whether a trigger announces rows with NOTIFY. PostgreSQL. */
  readonly notify: boolean;
}

/** The same, as statements name it. */
export interface OutboxTable extends OutboxNames {
  /** Its name in quotes. */
  readonly quoted: string;
}

/** The statements of one database for the outbox: a table with `id`, `key`, `hash`, `format` and `created_at`. */
export interface OutboxDialect {
  /** The table's name. */
  readonly name: string;
  /** The statements that create the table. They do nothing where it exists. */
  readonly schema: readonly string[];
  /** The same for several servers that create it at once, where that needs other statements. */
  readonly createTable?: readonly string[];
  /** Reads the table's columns: one row with `name` for each; no row where the table does not exist. */
  columns(): Statement;
  /** Reads pending rows up to an id, in order: `id`, `key`, `hash`, `format`. */
  read(upTo: number, limit: number): Statement;
  /** Reads pending rows of some keys up to an id, in order of id within each key. */
  readKeys(keys: readonly string[], upTo: number, limit: number): Statement;
  /**
   * Writes the changes whose rows are still there, and removes their rows.
   */
  apply(changes: readonly PlacedRows[], numbering: Numbering): OutboxWrite;
  /**
   * Gives pending rows ids below those of all others and below 0: the negated id of a row may be taken, where ids are given
   * again. Each has the key that is named: `""` stands for none, and `null` for any.
   */
  setAside(rows: readonly (readonly [id: number, key: string | null])[]): Statement;
  /** Counts up to `limit` rows of each kind: `pending`, `oldest_age` in milliseconds, `set_aside`. */
  summarize(limit: number): Statement;
  /** Adds rows. An empty hash stands for no hash. */
  insert(changes: readonly { readonly key: string; readonly hash: string }[]): Statement;
}

/** The statements that apply rows of the outbox, in order. Where it is possible they are run in one transaction. */
export interface OutboxWrite {
  /** Locks the counter's row for the rest of the transaction, where `write` does not do it in time. */
  readonly lock?: Statement;
  /** Writes the changes whose rows are there. Returns what `applyChanges` does; no row if it wrote none. */
  readonly write: Statement;
  /** Removes the rows. Removes none if the changes were not written. Left out: `write` does it. */
  readonly remove?: Statement;
}

/** The columns of an outbox. */
export const OUTBOX_COLUMNS: readonly string[] = ["id", "key", "hash", "format", "created_at"];

/** The most tombstones that one collection deletes: some ten milliseconds in SQLite. */
export const MAX_COLLECTED = 500;
