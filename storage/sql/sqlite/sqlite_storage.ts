/**
 * A storage in an SQLite file, which several processes of different runtimes may share.
 *
 * @module
 */
import { resolve } from "node:path";
import type { ChangeListener, MeshStorage, StorageOutbox } from "../../../src/store/contract.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "../../options.ts";
import { readOutbox, type WithOutbox } from "../sql_options.ts";
import { SQLStorage } from "../sql_storage.ts";
import { SQLiteConnection } from "./connection.ts";
import { openFile, type SQLiteDatabase } from "./database.ts";
import { sqliteDialect } from "./dialect.ts";
import { FileResidues } from "./file_residues.ts";
import { FileWatcher } from "./file_watcher.ts";

export type { CounterKind, StorageOptions } from "../../options.ts";
export type { SQLValue } from "../sql_storage.ts";
export type { SQLiteDatabase, SQLiteStatement } from "./database.ts";

/** How an SQLite file is opened and watched, and how its changes are numbered. */
export interface SQLiteOptions extends StorageOptions, WithOutbox {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use creates the table if it does not exist.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * How long a call waits for another process that writes, in milliseconds, before it fails. This process is blocked
   * meanwhile. 0 fails at once. Only for a file that is opened here.
   *
   * @default {5000}
   */
  busyTimeout?: number;
  /**
   * What a power cut may lose. With `"full"` every change is on the disk before its promise settles, and nothing is lost.
   * `"normal"` is many times faster; a power cut or a crash of the operating system may then lose the last changes, but
   * never damages the file. With numbers from the clock, their versions are not given again. A process that dies, for
   * example by `kill -9`, loses nothing with either. Only for a file that is opened here.
   *
   * @default {"full"}
   */
  synchronous?: "full" | "normal";
  /**
   * How often the file is polled for changes by other processes, in milliseconds, while there is a subscription. It is
   * polled five times as often while changes come. Lower reports changes sooner; higher costs less. At least 1.
   *
   * @default {25}
   */
  pollInterval?: number;
}

/** A storage in an SQLite file, from {@linkcode openSQLite}. It has every method that a storage can have. */
export interface SQLiteStorage extends Required<Omit<MeshStorage, "outbox">> {
  /** The outbox, where the option `outbox` asks for one. */
  readonly outbox?: StorageOutbox;
  /** The statements that create the table. */
  readonly schema: string;
}

const DEFAULT_TABLE_NAME = "reality_nodes";
const OWN_OPTIONS = ["tableName", "createTables", "outbox", "busyTimeout", "synchronous", "pollInterval"];
/** The options for a file that is opened here. */
const OPEN_OPTIONS = ["busyTimeout", "synchronous"] as const;

/**
 * Opens a file, or uses an open database, and returns a storage in one table of it.
 *
 * A file is opened with `node:sqlite` (Deno, Node 22 or newer, Bun) and a write-ahead log, so that readers and a writer do
 * not wait for each other. `":memory:"` opens a database that only this storage sees. Several processes may open the file
 * at once, on one machine: not over a network file system.
 *
 * A database that was opened elsewhere keeps its settings (a busy timeout and WAL are recommended), and `close()` does not
 * close it. A statement runs when it is called. So it is part of the transaction that the application has open on that
 * connection at that moment.
 *
 * @param database The file's path, or an open database.
 * @param options How to open and watch the file, and how to number changes.
 * @throws {TypeError} When an option is unknown or wrong; the message names it.
 * @throws {StorageError} When the file cannot be opened or is not a database.
 *
 * @example
 * ```ts
 * import { openSQLite } from "@rootlodge/reality-server/sqlite";
 *
 * const storage = openSQLite(":memory:");
 * await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert((await storage.getNode("user:1"))?.hash === "a1");
 * await storage.close();
 * ```
 */
export function openSQLite(database: string | SQLiteDatabase, options: SQLiteOptions = {}): SQLiteStorage {
  readStorageOptions(options, "openSQLite", OWN_OPTIONS);
  const { busyTimeout = 5000, synchronous = "full", pollInterval = 25, ...rest } = options;
  if (!Number.isInteger(busyTimeout) || busyTimeout < 0) {
    throw wrongOption("busyTimeout", "whole milliseconds, 0 or more", busyTimeout);
  }
  if (synchronous !== "full" && synchronous !== "normal") {
    throw wrongOption("synchronous", '"full" or "normal"', synchronous);
  }
  if (typeof pollInterval !== "number" || !(pollInterval >= 1)) {
    throw wrongOption("pollInterval", "milliseconds, 1 or more", pollInterval);
  }
  if (typeof database !== "string") {
    const given = OPEN_OPTIONS.find((name) => options[name] !== undefined);
    if (given) {
      throw new TypeError(`Option "${given}" is wrong: only for a file that openSQLite opens itself`);
    }
    return new SQLiteFileStorage(new SQLiteConnection(database, false), rest, pollInterval);
  }
  const connection = connectTo(database, options, { busyTimeout, synchronous });
  return new SQLiteFileStorage(connection, rest, pollInterval);
}

/** Opens a path. */
function connectTo(
  database: string,
  { tableName = DEFAULT_TABLE_NAME, now }: SQLiteOptions,
  { busyTimeout, synchronous }: Required<Pick<SQLiteOptions, "busyTimeout" | "synchronous">>,
): SQLiteConnection {
  if (database === "") throw new TypeError("Cannot open SQLite: expected a path, got an empty string");
  const isFile = !/^(:memory:$|file:)/.test(database);
  // The working directory may be another one when the file is opened again.
  const path = isFile ? resolve(database) : database;
  const residues = new FileResidues(tableName, now);
  const open = (replaced?: SQLiteDatabase) =>
    openFile(path, busyTimeout, (opened) => {
      opened.exec(`PRAGMA synchronous = ${synchronous}`);
      if (replaced) residues.renew(opened, replaced);
      return opened;
    });
  return new SQLiteConnection(open(), true, isFile ? { path, open } : undefined);
}

class SQLiteFileStorage extends SQLStorage implements SQLiteStorage {
  readonly #connection: SQLiteConnection;
  readonly #watcher: FileWatcher;

  constructor(connection: SQLiteConnection, options: SQLiteOptions, pollInterval: number) {
    super({
      ...options,
      dialect: "sqlite",
      query: (sql, params) => connection.all(sql, params),
      transaction: (statements) => connection.allTogether(statements),
    });
    this.#connection = connection;
    const { tableName = DEFAULT_TABLE_NAME, outbox } = options;
    const dialect = sqliteDialect(tableName, false, readOutbox(outbox, tableName));
    this.#watcher = new FileWatcher(connection, dialect, pollInterval);
  }

  async subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    // The table must exist before it is watched.
    await this.getMaxVersion();
    return this.#watcher.add(listener);
  }

  override async close(): Promise<void> {
    const closing = super.close();
    this.#watcher.stop();
    this.#connection.close();
    await closing;
  }
}
