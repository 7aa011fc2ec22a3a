/**
 * A storage in one table of the database behind a Drizzle db.
 *
 * @module
 */
import { kindOf } from "../src/store/node.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "./options.ts";
import {
  type SQLDialectName,
  SQLStorage,
  type SQLTransaction,
  type SQLValue,
  type SQLWritten,
  type WithOutbox,
} from "./sql/sql_storage.ts";

export type { CounterKind, StorageOptions } from "./options.ts";
export type { SQLDialectName, SQLStorage } from "./sql/sql_storage.ts";

/**
 * The methods of a Drizzle db that are used. The result of `drizzle(client)` has them: `execute` for PostgreSQL and
 * MySQL, `all` and `run` for SQLite. The `tx` of a transaction has them as well.
 */
export type DrizzleDatabase =
  | { execute(query: never): unknown }
  | { all(query: never): unknown; run(query: never): unknown };

/** The table of a {@linkcode createDrizzleAdapter} storage, how it numbers changes, and how long it keeps deletions. */
export interface DrizzleAdapterOptions extends StorageOptions, WithOutbox {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters. Its indexes begin with it.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use creates the table if it is missing. With `false`, create it with the statements of
   * {@linkcode SQLStorage.schema}.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * The dialect of the database.
   *
   * @default the dialect of the db's class
   */
  dialect?: SQLDialectName;
  /**
   * Whether nothing may continue after a request was answered, as on Cloudflare Workers. Set it together with the
   * server's option of this name. A write then waits for the collection step that it starts.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

/** A statement with the methods of Drizzle's `SQL`. A db runs such an object as text with bound values. */
interface DrizzleStatement {
  getSQL(): DrizzleStatement;
  toQuery(): { sql: string; params: SQLValue[] };
}

/** A method of a db. */
type Run = (query: DrizzleStatement) => unknown;

/** The method of a db that begins a transaction. */
type Begin = (use: (tx: object) => Promise<Results>) => Promise<Results>;

/** What statements return. */
type Results = (readonly object[] | SQLWritten)[];

const OWN_OPTIONS = ["tableName", "createTables", "outbox", "dialect", "requestScopedIO"];
/** The property with the name of a class of Drizzle. It is the same in every copy of the package. */
const ENTITY_KIND: unique symbol = Symbol.for("drizzle:entityKind") as never;
const DIALECTS: ReadonlyMap<string, SQLDialectName> = new Map([
  ["PgDatabase", "postgres"],
  ["MySqlDatabase", "mysql"],
  ["BaseSQLiteDatabase", "sqlite"],
]);

/**
 * Makes an {@linkcode SQLStorage} that runs its statements on a Drizzle db. The db needs no schema. It is tested with
 * postgres-js, node-postgres, PGlite, mysql2, libSQL, better-sqlite3 and D1. With read replicas (`withReplicas`), all
 * statements run on the primary.
 *
 * With the `tx` of a transaction as the db, changes are part of that transaction. All other changes wait until it
 * ends, so make the change last.
 *
 * Drizzle Kit does not know the table. Set `tablesFilter: ["!reality_*"]` in its configuration, or `push` proposes to
 * drop the table.
 *
 * @param db The result of `drizzle(client)`.
 * @param options The table's name, how to number changes, and how long to keep deletions.
 * @throws {TypeError} When `db` is not a Drizzle db or its database is not supported, or an option is unknown or wrong.
 *
 * @example
 * ```ts
 * import { createDrizzleAdapter } from "@rootlodge/reality-server/drizzle";
 * import Database from "better-sqlite3";
 * import { drizzle } from "drizzle-orm/better-sqlite3";
 *
 * const client = new Database(":memory:");
 * const storage = createDrizzleAdapter(drizzle(client), { tableName: "reality_nodes" });
 * await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert((await storage.getNode("user:1"))?.hash === "a1");
 * client.close();
 * ```
 */
export function createDrizzleAdapter(db: DrizzleDatabase, options: DrizzleAdapterOptions = {}): SQLStorage {
  readStorageOptions(options, "createDrizzleAdapter", OWN_OPTIONS);
  if (typeof db !== "object" || db === null) throw wrongDatabase(`got ${kindOf(db)}`);
  const primary = "$primary" in db ? db.$primary as DrizzleDatabase : db;
  const kinds = kindsOf(primary);
  const { dialect = findDialect(kinds) } = options;
  if (![...DIALECTS.values()].includes(dialect)) {
    throw wrongOption("dialect", '"postgres", "mysql" or "sqlite"', dialect);
  }
  const send = dialect === "sqlite" ? sendToSQLite(primary) : sendToServer(primary, dialect);
  const query = async (sql: string, params: SQLValue[]) => {
    try {
      return await send(sql, toStatement(sql, params));
    } catch (error) {
      throw causeOf(error);
    }
  };
  const inTransaction = kinds.some((kind) => kind.endsWith("Transaction"));
  const begin = dialect === "mysql" && !inTransaction && (primary as { transaction?: Begin }).transaction;
  const transaction = begin &&
    ((statements: Parameters<SQLTransaction>[0]) =>
      begin.call(primary, async (tx) => {
        const sendIn = sendToServer(tx, dialect);
        const results: Results = [];
        for (const { sql, params } of statements) results.push(await sendIn(sql, toStatement(sql, params)));
        return results;
      }).catch((error) => {
        throw causeOf(error);
      }));
  return new SQLStorage({ ...options, query, ...(transaction && { transaction }), dialect, inTransaction });
}

/**
 * Runs statements on a Drizzle db or on the `tx` of a transaction: the first parameter of `updateIn` and `invalidateIn`.
 *
 * @param db The `tx` of a transaction, or a db.
 * @returns Runs a statement with its values. Its result is what Drizzle returns.
 * @throws {TypeError} When `db` is not a Drizzle db.
 *
 * @example
 * ```ts
 * import { drizzleQuery } from "@rootlodge/reality-server/drizzle";
 * import Database from "better-sqlite3";
 * import { drizzle } from "drizzle-orm/better-sqlite3";
 *
 * const client = new Database(":memory:");
 * const query = drizzleQuery(drizzle(client));
 * query("CREATE TABLE messages (text TEXT)", []);
 * query("INSERT INTO messages VALUES (?)", ["hello"]);
 * client.close();
 * ```
 */
export function drizzleQuery(db: DrizzleDatabase): (text: string, params: SQLValue[]) => unknown {
  if (typeof db !== "object" || db === null) throw wrongDatabase(`got ${kindOf(db)}`);
  const { execute, run } = db as { execute?: Run; run?: Run };
  const send = execute ?? run;
  if (typeof send !== "function") throw wrongDatabase("got one without execute() or run()");
  return (text, params) => send.call(db, toStatement(text, params));
}

/** The Drizzle names of the db's class and of its base classes. */
function kindsOf(db: object): string[] {
  const kinds: string[] = [];
  let type: unknown = db.constructor;
  for (; typeof type === "function"; type = Object.getPrototypeOf(type)) {
    if (Object.hasOwn(type, ENTITY_KIND)) {
      kinds.push(String((type as { [ENTITY_KIND]?: unknown })[ENTITY_KIND]));
    }
  }
  return kinds;
}

function findDialect(kinds: readonly string[]): SQLDialectName {
  for (const kind of kinds) {
    const dialect = DIALECTS.get(kind);
    if (dialect) return dialect;
  }
  throw wrongDatabase(
    kinds.length > 0 ? `got a ${kinds.join(", a ")}` : "got an object that is not Drizzle's",
  );
}

function sendToSQLite(db: object): (sql: string, statement: DrizzleStatement) => Promise<readonly object[]> {
  const { all, run } = db as { all?: Run; run?: Run };
  if (typeof all !== "function" || typeof run !== "function") {
    throw wrongDatabase("got one without all() and run(), which SQLite's have");
  }
  return async (sql, statement) => {
    // better-sqlite3 rejects all() for a statement that returns no rows.
    if (sql.startsWith("CREATE")) {
      await run.call(db, statement);
      return [];
    }
    const rows = await all.call(db, statement) as readonly object[];
    if (!Array.isArray(rows[0])) return rows;
    throw new TypeError(
      "Cannot read this Drizzle db's rows: expected objects, got arrays; give SQLStorage the function behind it",
    );
  };
}

function sendToServer(
  db: object,
  dialect: SQLDialectName,
): (sql: string, statement: DrizzleStatement) => Promise<readonly object[] | SQLWritten> {
  const { execute } = db as { execute?: Run };
  if (typeof execute !== "function") {
    throw wrongDatabase("got one without execute(), which those of PostgreSQL and MySQL have");
  }
  const read = dialect === "mysql" ? readMySQL : readPostgres;
  return async (_sql, statement) => read(await execute.call(db, statement));
}

/** The result is an array of rows (postgres-js), or an object with `rows` (node-postgres, PGlite, …). */
function readPostgres(result: unknown): readonly object[] {
  return (Array.isArray(result) ? result : (result as { rows?: unknown } | null)?.rows) as readonly object[];
}

/** mysql2 returns an array that begins with the rows or with a write result. Drivers over HTTP return one object. */
function readMySQL(result: unknown): readonly object[] | SQLWritten {
  if (Array.isArray(result)) {
    const [first] = result;
    return Array.isArray(first) || first && "affectedRows" in first ? first : result;
  }
  const { rows } = result as { rows?: readonly object[] };
  return rows && rows.length > 0 ? rows : result as SQLWritten;
}

/**
 * Makes a statement without Drizzle's `sql`. An import of it, even a dynamic one, would make Drizzle necessary for
 * every bundle. A db calls only these two methods.
 */
function toStatement(sql: string, params: SQLValue[]): DrizzleStatement {
  const statement: DrizzleStatement = { getSQL: () => statement, toQuery: () => ({ sql, params }) };
  return statement;
}

/** The driver's error. Drizzle wraps it in an error whose message contains the statement and its values. */
function causeOf(error: unknown): unknown {
  return error instanceof Error && "query" in error && error.cause !== undefined ? error.cause : error;
}

function wrongDatabase(found: string): TypeError {
  return new TypeError(
    `Cannot use this db: expected what drizzle(client) gives for PostgreSQL, MySQL or SQLite, ${found}`,
  );
}
