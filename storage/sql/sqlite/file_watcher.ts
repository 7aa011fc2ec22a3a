/**
 * Watches an SQLite file for changes by other processes.
 *
 * @module
 */
import { isConfirmed } from "../../../src/store/history.ts";
import type { ChangeListener, StorageMoment } from "../../../src/store/contract.ts";
import type { SQLDialect } from "../dialect.ts";
import { toCounterMoment } from "../rows.ts";
import type { SQLiteConnection } from "./connection.ts";

/** The most changed keys that are named. With more, listeners are told that any key may have changed. */
const MAX_KEYS = 1000;

/** The state of the table that listeners know. */
interface TableSnapshot {
  readonly fileVersion: unknown;
  /** What the counter's row says; `undefined` if the row is missing. */
  readonly moment: StorageMoment | undefined;
}

/** Polls a file while there are listeners, and calls them with the keys that other processes changed. */
export class FileWatcher {
  readonly #connection: SQLiteConnection;
  readonly #dialect: SQLDialect;
  readonly #pollInterval: number;
  readonly #listeners = new Set<{ readonly call: ChangeListener }>();
  #snapshot: TableSnapshot | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param connection The file's connection.
   * @param dialect The statements of the table.
   * @param pollInterval How often the file is polled, in milliseconds.
   */
  constructor(connection: SQLiteConnection, dialect: SQLDialect, pollInterval: number) {
    this.#connection = connection;
    this.#dialect = dialect;
    this.#pollInterval = pollInterval;
  }

  /** Adds a listener, and returns a function that removes it. */
  add(call: ChangeListener): () => Promise<void> {
    const listener = { call };
    if (this.#listeners.size === 0) {
      [this.#snapshot] = this.#read(this.#fileVersion());
      this.#schedule(this.#pollInterval);
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) clearTimeout(this.#timer);
      return Promise.resolve();
    };
  }

  /** Removes all listeners. */
  stop(): void {
    this.#listeners.clear();
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => {
      const keys = this.#poll();
      // The next poll is scheduled before the listeners are called, so that one that throws stops nothing.
      this.#schedule(keys === undefined ? Math.min(delayMs * 2, this.#pollInterval) : this.#pollInterval / 5);
      if (keys !== undefined) { for (const { call } of [...this.#listeners]) call(keys); }
    }, delayMs);
  }

  /** The keys that changed since the last snapshot; `null` for any key, `undefined` for none. */
  #poll(): string[] | null | undefined {
    try {
      const fileVersion = this.#fileVersion();
      if (fileVersion === this.#snapshot?.fileVersion) return undefined;
      const before = this.#snapshot?.moment;
      const [snapshot, keys] = this.#read(fileVersion, before?.maxVersion);
      this.#snapshot = snapshot;
      // The rows of the outbox are read, and named, by the server.
      const isNamed = snapshot.moment?.outbox === undefined && keys.length <= MAX_KEYS;
      return isContinued(before, snapshot.moment) && isNamed ? keys : null;
    } catch {
      // The file is busy or broken, so the changes are unknown. Readers find out by themselves.
      this.#snapshot = undefined;
      return undefined;
    }
  }

  /** Differs whenever another connection has written to the file. Costs microseconds. */
  #fileVersion(): unknown {
    const [row] = this.#connection.all("PRAGMA data_version");
    return `${this.#connection.replacements}:${row?.data_version}`;
  }

  /** The table's state, and the keys that changed after a version. */
  #read(fileVersion: unknown, after: number = Number.MAX_SAFE_INTEGER): [TableSnapshot, string[]] {
    const { sql, params } = this.#dialect.readChanges(after, MAX_KEYS + 1);
    const rows = this.#connection.all(sql, params);
    const counter = rows.find((row) => row.node_key === "");
    const moment = counter && toCounterMoment(counter, "subscribe");
    return [
      { fileVersion, moment },
      rows.filter((row) => row !== counter).map((row) => String(row.node_key)),
    ];
  }
}

/** Whether the history goes on. Otherwise the epoch is another, a node was published below the counter, or it was set back. */
function isContinued(before: StorageMoment | undefined, moment: StorageMoment | undefined): boolean {
  return before !== undefined && moment !== undefined && moment.epoch === before.epoch &&
    moment.late === before.late && isConfirmed(moment, before.maxVersion);
}
