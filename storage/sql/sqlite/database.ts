/**
 * An SQLite database as the drivers give it, and how a file is opened.
 *
 * @module
 */
import { statSync } from "node:fs";
import process from "node:process";
import { StorageError } from "../../../src/errors.ts";
import type { SQLValue } from "../dialect.ts";

/** The methods of an open database that are called. `node:sqlite`, `bun:sqlite`, better-sqlite3 and `jsr:@db/sqlite` fit. */
export interface SQLiteDatabase {
  /** Prepares a statement. */
  prepare(sql: string): SQLiteStatement;
  /** Runs statements that return no rows. */
  exec(sql: string): unknown;
  /** Closes the file. */
  close(): unknown;
}

/** The methods of a prepared statement that are called. */
export interface SQLiteStatement {
  /** Runs it and returns its rows as objects. */
  all(...params: SQLValue[]): unknown[];
  /** Frees it. */
  finalize?(): unknown;
}

/**
 * Opens a file with `node:sqlite` and a write-ahead log.
 *
 * @param path The file's path, or `":memory:"`.
 * @param busyTimeout How long a call waits for another process that writes, in milliseconds.
 * @param use Receives the database, and returns it once it can be used.
 * @throws {StorageError} When `node:sqlite` is missing, or the file cannot be opened.
 */
export function openFile(
  path: string,
  busyTimeout: number,
  use: (database: SQLiteDatabase) => SQLiteDatabase,
): SQLiteDatabase {
  // Not imported: older versions of Node lack the module, and can still use an open database.
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

/** Identifies the file at a path; `undefined` if it does not exist. */
export function fileAt(path: string): string | undefined {
  // As numbers, which cost half as much. They are exact except on Windows, where an open file cannot be replaced.
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}
