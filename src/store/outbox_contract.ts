/**
 * The part of the storage contract that concerns an outbox: a table beside the nodes that transactions of the application
 * write to. Its rows become changes once they are committed.
 *
 * @module
 */

/** The version of the rows that this package writes and reads: the column `format`. */
export const OUTBOX_FORMAT = 1;

/** A row of an outbox, as it is stored. Any program may have written it, so nothing in it was checked. */
export interface OutboxRow {
  /** The number of the row. It is above 0. No row gets the number of another one, except where the database loses rows. */
  readonly id: number;
  /** The key of the node that changed. */
  readonly key: unknown;
  /** The hash of its new state; nothing or an empty text if the writer has none. */
  readonly hash: unknown;
  /** The version of the row's format. */
  readonly format: number;
}

/** A change that rows of an outbox ask for. */
export interface OutboxChange {
  /** The key of the node. */
  readonly key: string;
  /** The new hash. */
  readonly hash: string;
  /** The clock of the writing server, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** The ids of these rows. The change of a group has those of its members. */
  readonly rows: readonly number[];
}

/** How many rows an outbox has, as far as they were counted. */
export interface OutboxSummary {
  /** How many rows are pending: at most the limit. */
  readonly pending: number;
  /** How long ago the oldest pending row was written, in milliseconds, by the clock of the database; 0 for none. */
  readonly oldestAge: number;
  /** How many rows were set aside: at most the limit. */
  readonly setAside: number;
}

/** A statement that an application runs on its own transaction. */
export interface OutboxStatement {
  /** The text, with the placeholders of the storage's database. */
  readonly text: string;
  /** The values of its placeholders. */
  readonly params: (string | number | null)[];
}

/**
 * The outbox of a storage. Its readings have the highest id of a pending row (`StorageMoment.outbox`). Rows with an id
 * above 0 are pending. A row that was set aside has an id below 0, and stays until an operator removes it.
 */
export interface StorageOutbox {
  /**
   * Reads pending rows.
   *
   * @param upTo Rows with a higher id are left out.
   * @param limit The most rows.
   * @param keys Rows of other keys are left out. With keys, rows are in order of id within a key; without, altogether.
   */
  readRows(upTo: number, limit: number, keys?: readonly string[]): Promise<OutboxRow[]>;

  /**
   * Makes changes and removes their rows. A change is made if one of its rows is still there, and a row is removed only
   * after its change was made. Where the database allows it both are one atomic step, so that of two servers that
   * apply the same rows one changes nothing. Otherwise a row may become a change twice, but never none.
   *
   * Only rows with the key of the first change that has their id are meant. After a restored backup or a failover, the id may
   * be that of another row, which stays.
   *
   * @param changes At most `features.maxChanges`, no two of the same key. Together they have at most 5,000 rows, or as many as
   *   `features.maxChanges` if that is more.
   * @returns The highest version of the changes that were made; 0 if their rows were no longer there.
   */
  applyRows(changes: readonly OutboxChange[]): Promise<number>;

  /** Sets rows aside: gives them ids below 0. As with `applyRows`, a row that has the id of another one stays. */
  setAside(rows: readonly OutboxRow[]): Promise<void>;

  /**
   * Counts the rows.
   *
   * @param limit No more rows than this are counted.
   */
  summarize(limit: number): Promise<OutboxSummary>;

  /**
   * A statement that adds rows, for a transaction of the application.
   *
   * @param changes Keys and hashes that were checked. An empty hash stands for none.
   */
  insertion(changes: readonly { readonly key: string; readonly hash: string }[]): OutboxStatement;
}
