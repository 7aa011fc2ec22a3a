/**
 * The options of an SQL storage, and where they are checked.
 *
 * @module
 */
import { type ReadStorageOptions, readStorageOptions, type StorageOptions, wrongOption } from "../options.ts";
import { checkNames } from "../../src/check.ts";
import type { OutboxNames, SQLDialect, SQLValue } from "./dialect.ts";
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

/**
 * Runs statements in one transaction, in order, and returns for each what {@linkcode SQLQuery} does. Undoes all of them if
 * one fails, and rejects with its error.
 */
export type SQLTransaction = (
  statements: readonly { readonly sql: string; readonly params: SQLValue[] }[],
) => Promise<readonly (readonly object[] | SQLWritten)[]> | readonly (readonly object[] | SQLWritten)[];

/** The outbox of an SQL storage. */
export interface OutboxOptions {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters.
   *
   * @default the name of the nodes' table with `_outbox` in place of `_nodes`: "reality_outbox"
   */
  tableName?: string;
  /**
   * Whether a trigger on the table announces each commit with NOTIFY, so that servers which listen are woken at once.
   * PostgreSQL runs commits with a notification one after the other, for a moment each. With `false` servers find the
   * rows by polling. Only for PostgreSQL, and only when the table is created.
   *
   * @default {true}
   */
  notify?: boolean;
}

/** The option that a storage with an outbox has. */
export interface WithOutbox {
  /**
   * Whether there is an outbox: a second table, to which transactions of the application write which nodes they change.
   * Servers make the changes once such a transaction is committed (`docs/database.md`).
   *
   * @default {false}
   */
  outbox?: boolean | OutboxOptions;
}

/** How an SQL storage reaches its database, and its table there. */
export interface SQLStorageOptions extends StorageOptions, WithOutbox {
  /** Runs one statement, with `$1` (Postgres) or `?` as placeholders, and returns its rows. */
  query: SQLQuery;
  /**
   * Runs statements in one transaction. Only the outbox needs it, on MySQL and SQLite. Left out: two servers that apply the
   * same rows of the outbox may both make the changes, and their clients are told twice.
   */
  transaction?: SQLTransaction;
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
const OWN_OPTIONS = [
  ...[
    "query",
    "transaction",
    "dialect",
    "tableName",
    "createTables",
    "outbox",
    "inTransaction",
    "requestScopedIO",
  ],
];

/** The options of an SQL storage, checked and with every default filled in. */
export interface ReadSQLOptions {
  readonly shared: ReadStorageOptions;
  readonly query: SQLQuery;
  readonly transaction: SQLTransaction | undefined;
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
  const { query, transaction, tableName = DEFAULT_TABLE_NAME, createTables = true } = options;
  const { inTransaction = false, requestScopedIO = false } = options;
  if (typeof query !== "function") throw wrongOption("query", "a function", query);
  if (transaction !== undefined && typeof transaction !== "function") {
    throw wrongOption("transaction", "a function", transaction);
  }
  for (const [name, value] of Object.entries({ createTables, inTransaction, requestScopedIO })) {
    if (typeof value !== "boolean") throw wrongOption(name, "true or false", value);
  }
  checkTableName(tableName);
  const outbox = readOutbox(options.outbox, tableName);
  const isTimed = shared.testNow !== undefined;
  const dialect = findDialect(options.dialect)(tableName, isTimed, outbox);
  return { shared, query, transaction, dialect, tableName, createTables, inTransaction, requestScopedIO };
}

function checkTableName(tableName: unknown): void {
  if (typeof tableName === "string" && /^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(tableName)) return;
  throw wrongOption("tableName", "a letter or _, then letters, digits and _, at most 48", tableName);
}

/**
 * Reads the option `outbox`.
 *
 * @param nodes The name of the nodes' table.
 * @returns The outbox; `undefined` for none.
 * @throws {TypeError} When it is wrong; the message names it.
 */
export function readOutbox(given: WithOutbox["outbox"] = false, nodes: string): OutboxNames | undefined {
  if (typeof given !== "boolean" && (typeof given !== "object" || given === null)) {
    throw wrongOption("outbox", "true, false or an object", given);
  }
  if (given === false) return undefined;
  const options = given === true ? {} : given;
  checkNames("outbox", options, ["tableName", "notify"]);
  const { tableName: name = `${nodes.replace(/_nodes$/, "")}_outbox`, notify = true } = options;
  if (options.tableName !== undefined) checkTableName(name);
  if (name === nodes) throw wrongOption("outbox", "another table than the nodes'", name);
  if (typeof notify !== "boolean") throw wrongOption("notify", "true or false", notify);
  return { name, notify };
}

type CreateDialect = (tableName: string, isTimed: boolean, outbox: OutboxNames | undefined) => SQLDialect;

function findDialect(dialect: unknown): CreateDialect {
  if (dialect === "sqlite") return sqliteDialect;
  if (dialect === "postgres") return postgresDialect;
  if (dialect === "mysql") return mysqlDialect;
  throw wrongOption("dialect", '"postgres", "mysql" or "sqlite"', dialect);
}
