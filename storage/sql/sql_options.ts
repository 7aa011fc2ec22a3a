/**
 * The options of an SQL storage, and where they are checked.
 *
 * @module
 */
import { type ReadStorageOptions, readStorageOptions, type StorageOptions, wrongOption } from "../options.ts";
import type { SQLDialect, SQLValue } from "./dialect.ts";
import { mysqlDialect } from "./mysql/dialect.ts";
import { postgresDialect } from "./postgres/dialect.ts";
import { sqliteDialect } from "./sqlite/dialect.ts";

/**
 * The databases that an SQL storage supports: SQLite 3.37, PostgreSQL 12, MySQL 8, MariaDB 10.6 and newer, and databases
 * built on them.
 */
export type SQLDialectName = "sqlite" | "postgres" | "mysql";

/** What MySQL's drivers return for a write. */
export interface SQLWritten {
  /** The value that the statement passed to `LAST_INSERT_ID()`. */
  readonly insertId?: number | bigint | string;
}

/**
 * Runs one statement and returns its rows as objects: an empty array for a statement without rows. With dialect
 * `"mysql"` it returns what the driver returns for a write. Each call may use another connection. Each call must be a
 * transaction of its own. An error that it throws or rejects with is the `cause` of the `StorageError` that the caller
 * gets.
 */
export type SQLQuery = (
  sql: string,
  params: SQLValue[],
) => Promise<readonly object[] | SQLWritten> | readonly object[] | SQLWritten;

/** How an SQL storage reaches its database, and its table there. */
export interface SQLStorageOptions extends StorageOptions {
  /** Runs one statement, with `$1` (Postgres) or `?` as placeholders, and returns its rows. */
  query: SQLQuery;
  /** The kind of database. */
  dialect: SQLDialectName;
  /**
   * The table's name: letters, digits and `_`, at most 48 characters. The names of its indexes begin with it.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use creates the table if it does not exist. With `false` create it from `storage.schema`.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * Whether `query` runs inside a transaction of the application, so that changes are part of it. Then no statement is
   * sent again after a deadlock or a serialization failure, because the database has undone the application's own
   * statements as well: the call rejects with that error as its cause, and the application begins its transaction again.
   * No tombstone is collected.
   *
   * @default {false}
   */
  inTransaction?: boolean;
  /**
   * Whether nothing may continue after a request was answered, as on Cloudflare Workers. Set it where the server's option
   * of this name is set. Then a write waits for the collection of tombstones that it starts: at most one a minute unless
   * there is a backlog. Otherwise collections run in the background.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

const DEFAULT_TABLE_NAME = "reality_nodes";
const OWN_OPTIONS = ["query", "dialect", "tableName", "createTables", "inTransaction", "requestScopedIO"];

/** The options of an SQL storage, checked and with every default filled in. */
export interface ReadSQLOptions {
  readonly shared: ReadStorageOptions;
  readonly query: SQLQuery;
  readonly dialect: SQLDialect;
  readonly tableName: string;
  readonly createTables: boolean;
  readonly inTransaction: boolean;
  readonly requestScopedIO: boolean;
}

/**
 * Checks the options and fills in their defaults.
 *
 * @param options The caller's options.
 * @returns All of them.
 * @throws {TypeError} When an option is unknown, missing or wrong; the message names it.
 */
export function readSQLOptions(options: SQLStorageOptions): ReadSQLOptions {
  const shared = readStorageOptions(options, "SQLStorage", OWN_OPTIONS);
  const { query, tableName = DEFAULT_TABLE_NAME, createTables = true } = options;
  const { inTransaction = false, requestScopedIO = false } = options;
  if (typeof query !== "function") throw wrongOption("query", "a function", query);
  for (const [name, value] of Object.entries({ createTables, inTransaction, requestScopedIO })) {
    if (typeof value !== "boolean") throw wrongOption(name, "true or false", value);
  }
  checkTableName(tableName);
  const dialect = findDialect(options.dialect, tableName, shared.testNow !== undefined);
  return { shared, query, dialect, tableName, createTables, inTransaction, requestScopedIO };
}

function checkTableName(tableName: unknown): void {
  if (typeof tableName === "string" && /^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(tableName)) return;
  throw wrongOption("tableName", "a letter or _, then letters, digits and _, at most 48", tableName);
}

function findDialect(dialect: unknown, tableName: string, isTimed: boolean): SQLDialect {
  if (dialect === "sqlite") return sqliteDialect(tableName, isTimed);
  if (dialect === "postgres") return postgresDialect(tableName, isTimed);
  if (dialect === "mysql") return mysqlDialect(tableName, isTimed);
  throw wrongOption("dialect", '"postgres", "mysql" or "sqlite"', dialect);
}
