/**
 * The embedded default: a storage in an SQLite file that several processes, of different runtimes, may share.
 *
 * @module
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { ClosedError, StorageError } from "../../../src/errors.ts";
import { isConfirmed } from "../../../src/store/history.ts";
import { kindOf } from "../../../src/store/node.ts";
import {
  type ChangeListener,
  counterFloor,
  drawResidue,
  type MeshStorage,
  RESIDUES,
} from "../../../src/store/contract.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "../../options.ts";
import { type SQLRow, SQLStorage, type SQLValue } from "../sql_storage.ts";
import { parseMesh } from "../mesh_column.ts";
import { sqliteDialect } from "./dialect.ts";

export type { CounterKind, StorageOptions } from "../../options.ts";
export type { SQLValue } from "../sql_storage.ts";

/** What is called of an open database; `node:sqlite`, `bun:sqlite`, better-sqlite3 and `jsr:@db/sqlite` fit. */
export interface SQLiteDatabase {
  /** Prepares a statement. */
  prepare(sql: string): SQLiteStatement;
  /** Runs statements that give no rows. */
  exec(sql: string): unknown;
  /** Lets go of the file. */
  close(): unknown;
}

/** What is called of a prepared statement. */
export interface SQLiteStatement {
  /** Runs it and gives its rows as objects. */
  all(...params: SQLValue[]): unknown[];
  /** Lets go of it. */
  finalize?(): unknown;
}

/** How an SQLite file is opened, counted and watched. */
export interface SQLiteOptions extends StorageOptions {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use makes the table where it is not there.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * How long to wait for another process that is writing, in milliseconds, before a call fails. The process
   * stands still meanwhile, as long as the other's write takes. 0 fails at once. Only for a file that is
   * opened here.
   *
   * @default {5000}
   */
  busyTimeout?: number;
  /**
   * What a power cut may cost. With `"full"` every change is on the disk before its promise settles, and it
   * costs nothing. `"normal"` is many times faster and lets a power cut, or a crash of the operating system,
   * take the changes of the last moments, though the file stays sound; numbered by the clock, their versions are
   * not given again. The death of the process, by `kill -9` or anything,
   * costs nothing with either. Only for a file that is opened here.
   *
   * @default {"full"}
   */
  synchronous?: "full" | "normal";
  /**
   * How often the file is looked at for changes by other processes, in milliseconds, while somebody has
   * subscribed; five times as often while changes come. Lower tells sooner; higher costs less. At least 1.
   *
   * @default {25}
   */
  pollInterval?: number;
}

/** A storage in an SQLite file, from {@linkcode openSQLite}: everything that a storage can have. */
export interface SQLiteStorage extends Required<MeshStorage> {
  /** The statements that make the table. */
  readonly schema: string;
}

const DEFAULT_TABLE = "reality_nodes";
const OWN_OPTIONS = ["tableName", "createTables", "busyTimeout", "synchronous", "pollInterval"];
/** Those that say how a file is opened. */
const OPEN_OPTIONS = ["busyTimeout", "synchronous"] as const;
/** More changed keys than this between two looks are told as "look again at everything". */
const MAX_TOLD = 1000;
/** No sooner is it looked at whether a file was replaced, for what is read, in milliseconds. */
const LOOK_INTERVAL = 25;

/**
 * Opens a file, or takes an open database, and gives a storage in one table of it.
 *
 * A file is opened with `node:sqlite` (Deno, Node 22 or newer, Bun), with a write-ahead log, so that readers
 * and a writer do not wait for each other; `":memory:"` gives a database that only this storage sees. Several
 * processes may have the file open at once, but on one machine: not over a network file system.
 *
 * A database that is handed in keeps its own settings (a busy timeout and WAL are advised) and is not closed
 * by {@linkcode SQLiteStorage.close}. Statements run when called, so they are part of any transaction that
 * the application has open on that same connection at that moment.
 *
 * @param database The file's path, or an open database.
 * @param options How to open, count and watch.
 * @throws {TypeError} When an option is unknown or wrong; names it.
 * @throws {StorageError} When the file cannot be opened or is no database.
 *
 * @example
 * ```ts
 * import { openSQLite } from "@rootlodge/reality-server/sqlite";
 *
 * const storage = openSQLite(":memory:");
 * await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert((await storage.getNode("user:1"))?.version === 1);
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
    return new FileStorage(new Connection(database, false), rest, pollInterval);
  }
  if (database === "") throw new TypeError("Cannot open SQLite: expected a path, got an empty string");
  const isFile = !/^(:memory:$|file:)/.test(database);
  // The process may stand elsewhere when it is opened again.
  const path = isFile ? resolve(database) : database;
  const residues = new Residues(rest.tableName, rest.now);
  const open = (replaced?: SQLiteDatabase) =>
    openFile(path, busyTimeout, (opened) => {
      opened.exec(`PRAGMA synchronous = ${synchronous}`);
      if (replaced) residues.renew(opened, replaced);
      return opened;
    });
  const connection = new Connection(open(), true, isFile ? { path, open } : undefined);
  return new FileStorage(connection, rest, pollInterval);
}

function openFile<T>(path: string, busyTimeout: number, use: (database: SQLiteDatabase) => T): T {
  // Asked for here, not imported: the module is missing on older Node, where a handed-in database works.
  const sqlite = process.getBuiltinModule?.("node:sqlite");
  if (!sqlite) {
    throw new StorageError(
      "open",
      "node:sqlite is not there: use Node 22 or newer, or hand in an open database",
    );
  }
  let database: SQLiteDatabase | undefined;
  try {
    database = new sqlite.DatabaseSync(path) as SQLiteDatabase;
    database.exec(`PRAGMA busy_timeout = ${busyTimeout}`);
    database.exec("PRAGMA journal_mode = WAL");
    return use(database);
  } catch (error) {
    database?.close();
    throw error instanceof TypeError ? error : new StorageError("open", error);
  }
}

/** A file, and how it is opened. */
interface FileSource {
  readonly path: string;
  /** Opens what is at the path now, in the place of the file that was open before. */
  readonly open: (replaced: SQLiteDatabase) => SQLiteDatabase;
}

/**
 * Gives a file that takes the place of another one a residue of its own. Both may be written to in the same moment, and
 * no number of the one must be a number of the other: a client, or a server, that knows a lost number would take it for
 * the new one.
 */
class Residues {
  readonly #dialect: ReturnType<typeof sqliteDialect>;
  readonly #now: () => number;
  /** Residue → the number with which it was drawn, of all the files that were open here. */
  readonly #used = new Map<string, number>();

  constructor(tableName: string = DEFAULT_TABLE, now: () => number = Date.now) {
    this.#dialect = sqliteDialect(tableName);
    this.#now = now;
  }

  renew(database: SQLiteDatabase, replaced: SQLiteDatabase): void {
    const { drawn = 0 } = this.#read(replaced) ?? {};
    // Without residue it counts 1, 2, 3, or is empty.
    if (drawn === 0) return;
    this.#used.set(`${drawn % RESIDUES}`, drawn);
    for (let row = this.#read(database); row !== undefined && row.drawn > 0; row = this.#read(database)) {
      if (!this.#used.has(`${row.drawn % RESIDUES}`)) return;
      const residue = drawResidue(new Map([...parseMesh(row.mesh).vector, ...this.#used]));
      const { sql, params } = this.#dialect.drawResidue(row, residue, counterFloor("clock", this.#now()));
      database.prepare(sql).all(...params);
    }
  }

  #read(database: SQLiteDatabase): { readonly drawn: number; readonly mesh: string } | undefined {
    const { sql, params } = this.#dialect.readCounter();
    try {
      const [row] = database.prepare(sql).all(...params) as SQLRow[];
      return row && { drawn: Number(row.drawn), mesh: String(row.mesh) };
    } catch (error) {
      if (/no such (table|column)/.test(String(error))) return undefined;
      throw error;
    }
  }
}

/**
 * An open database and the statements prepared on it. A file that was put in the place of the one that is open, such as
 * a backup, is opened in its stead: what is read is at most 25 milliseconds older, and what is written is in the new one.
 */
class Connection {
  #database: SQLiteDatabase;
  readonly #isOwn: boolean;
  readonly #source: FileSource | undefined;
  readonly #statements = new Map<string, SQLiteStatement>();
  /** Which file is open, and when that was looked at last, by `performance.now()`. */
  #file: string | undefined;
  #lookedAt = -Infinity;
  #opened = 0;
  #isClosed = false;

  constructor(database: SQLiteDatabase, isOwn: boolean, source?: FileSource) {
    if (typeof database?.prepare !== "function" || typeof database.exec !== "function") {
      throw new TypeError(`Cannot open SQLite: expected a path or an open database, got ${kindOf(database)}`);
    }
    this.#database = database;
    this.#isOwn = isOwn;
    this.#source = source;
    this.#file = source && fileAt(source.path);
  }

  /** How often another file has taken the place of the one that was open. */
  get opened(): number {
    return this.#opened;
  }

  all(sql: string, params: readonly SQLValue[] = []): SQLRow[] {
    if (this.#isClosed) throw new ClosedError("storage");
    if (this.#source === undefined) return this.#run(sql, params);
    if (performance.now() - this.#lookedAt >= LOOK_INTERVAL) this.#follow(this.#source);
    const rows = this.#run(sql, params);
    if (/^(SELECT|PRAGMA)/.test(sql)) return rows;
    // What was written to a file that is not there any more is nowhere.
    return this.#follow(this.#source) ? this.#run(sql, params) : rows;
  }

  /** Opens the file that is at the path now, if it is another one than the one that is open; says whether it was. */
  #follow({ path, open }: FileSource): boolean {
    const file = fileAt(path);
    if (file === undefined) throw new Error("the file is not there any more");
    this.#lookedAt = performance.now();
    if (file === this.#file) return false;
    const database = open(this.#database);
    this.#release();
    this.#database = database;
    this.#file = file;
    this.#opened++;
    return true;
  }

  #run(sql: string, params: readonly SQLValue[]): SQLRow[] {
    if (sql.startsWith("CREATE ")) {
      this.#database.exec(sql);
      return [];
    }
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.#database.prepare(sql));
    return statement.all(...params) as SQLRow[];
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
  }

  #release(): void {
    for (const statement of this.#statements.values()) statement.finalize?.();
    this.#statements.clear();
    if (this.#isOwn) this.#database.close();
  }
}

/** Which file is at a path; undefined for none. */
function fileAt(path: string): string | undefined {
  // As numbers, which cost half as much: they are exact but on Windows, where no file that is open can be replaced.
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

class FileStorage extends SQLStorage implements SQLiteStorage {
  readonly #connection: Connection;
  readonly #watch: Watch;

  constructor(connection: Connection, options: SQLiteOptions, pollInterval: number) {
    super({ ...options, dialect: "sqlite", query: (sql, params) => connection.all(sql, params) });
    this.#connection = connection;
    this.#watch = new Watch(connection, options.tableName ?? DEFAULT_TABLE, pollInterval);
  }

  async subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    // The table must be there before it is watched.
    await this.getMaxVersion();
    return this.#watch.add(listener);
  }

  override async close(): Promise<void> {
    const closing = super.close();
    this.#watch.stop();
    this.#connection.close();
    await closing;
  }
}

/** What of the table was told last. */
interface Told {
  readonly fileVersion: unknown;
  readonly maxVersion: number;
  readonly epoch: unknown;
  readonly late: unknown;
  readonly recent: string;
}

/** Looks at the file while somebody listens, and tells which keys other processes changed. */
class Watch {
  readonly #connection: Connection;
  readonly #dialect: ReturnType<typeof sqliteDialect>;
  readonly #pollInterval: number;
  readonly #listeners = new Set<{ readonly call: ChangeListener }>();
  #told: Told | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, tableName: string, pollInterval: number) {
    this.#connection = connection;
    this.#dialect = sqliteDialect(tableName);
    this.#pollInterval = pollInterval;
  }

  add(call: ChangeListener): () => Promise<void> {
    const listener = { call };
    if (this.#listeners.size === 0) {
      [this.#told] = this.#look(this.#fileVersion());
      this.#wait(this.#pollInterval);
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) clearTimeout(this.#timer);
      return Promise.resolve();
    };
  }

  stop(): void {
    this.#listeners.clear();
    clearTimeout(this.#timer);
  }

  #wait(delayMs: number): void {
    this.#timer = setTimeout(() => {
      const keys = this.#poll();
      // The next look is arranged first, so that a listener that throws stops nothing.
      this.#wait(keys === undefined ? Math.min(delayMs * 2, this.#pollInterval) : this.#pollInterval / 5);
      if (keys !== undefined) { for (const { call } of [...this.#listeners]) call(keys); }
    }, delayMs);
  }

  /** The keys that changed since what was told last, `null` for any, nothing for none. */
  #poll(): string[] | null | undefined {
    try {
      const fileVersion = this.#fileVersion();
      const before = this.#told;
      if (fileVersion === before?.fileVersion) return undefined;
      const [told, keys] = this.#look(fileVersion, before?.maxVersion);
      this.#told = told;
      // Another life of the data, a node that took its place in the past, or data that were set back.
      const isBroken = before === undefined || told.epoch !== before.epoch || told.late !== before.late ||
        !isConfirmed(told, before.maxVersion);
      return isBroken || keys.length > MAX_TOLD ? null : keys;
    } catch {
      // Busy or broken: what happened meanwhile is not known. The readers who look again find out which.
      this.#told = undefined;
      return undefined;
    }
  }

  /** Changes whenever another connection has written to the file; costs microseconds. */
  #fileVersion(): unknown {
    const [row] = this.#connection.all("PRAGMA data_version");
    return `${this.#connection.opened}:${row?.data_version}`;
  }

  /** What is to be told now, and the keys that changed after a version. */
  #look(fileVersion: unknown, after: number = Number.MAX_SAFE_INTEGER): [Told, string[]] {
    const { sql, params } = this.#dialect.readChanges(after, MAX_TOLD + 1);
    const rows = this.#connection.all(sql, params);
    const state = rows.find((row) => row.node_key === "");
    const told = {
      fileVersion,
      maxVersion: Number(state?.version),
      epoch: state?.hash,
      late: state?.late,
      recent: String(state?.recent),
    };
    return [told, rows.filter((row) => row !== state).map((row) => String(row.node_key))];
  }
}
