/**
 * A storage in one table of the database behind a Drizzle db.
 *
 * @module
 */
import { kindOf } from "../src/store/node.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "./options.ts";
import { type SQLDialectName, SQLStorage, type SQLValue, type SQLWritten } from "./sql/sql_storage.ts";

export type { CounterKind, StorageOptions } from "./options.ts";
export type { SQLDialectName, SQLStorage } from "./sql/sql_storage.ts";

/**
 * What is called of a Drizzle db. What `drizzle(client)` gives fits, for PostgreSQL and MySQL (`execute`) and for
 * SQLite (`all` and `run`), and so does the `tx` of a transaction.
 */
export type DrizzleDatabase =
  | { execute(query: never): unknown }
  | { all(query: never): unknown; run(query: never): unknown };

/** Where a {@linkcode createDrizzleAdapter} storage keeps its nodes, and how it counts and forgets. */
export interface DrizzleAdapterOptions extends StorageOptions {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters. Its indexes begin with it.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use makes the table where it is not there. With `false` it must have been made from
   * {@linkcode SQLStorage.schema}.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * The database's kind.
   *
   * @default what the db says of itself
   */
  dialect?: SQLDialectName;
  /**
   * Whether nothing goes on once a request was answered, as on Cloudflare Workers: the same as the server's option of
   * this name. Then a write waits for the piece of sweeping that it begins.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

/** A statement in the shape of Drizzle's `SQL`, which is how a db takes text with bound values. */
interface DrizzleStatement {
  getSQL(): DrizzleStatement;
  toQuery(): { sql: string; params: SQLValue[] };
}

/** The db's methods as they are called here. */
type Run = (query: DrizzleStatement) => unknown;

const OWN_OPTIONS = ["tableName", "createTables", "dialect", "requestScopedIO"];
/** The name that each class of Drizzle carries, whichever copy of the package it comes from. */
const ENTITY_KIND: unique symbol = Symbol.for("drizzle:entityKind") as never;
const DIALECTS: ReadonlyMap<string, SQLDialectName> = new Map([
  ["PgDatabase", "postgres"],
  ["MySqlDatabase", "mysql"],
  ["BaseSQLiteDatabase", "sqlite"],
]);

/**
 * Makes a storage in one table of the database behind a Drizzle db: an {@linkcode SQLStorage} whose statements
 * run through it. The db needs no schema. postgres-js, node-postgres, PGlite, mysql2, libSQL, better-sqlite3 and
 * D1 are tested; with read replicas (`withReplicas`) the primary is asked.
 *
 * With the `tx` of a transaction as the db, what is written is part of that transaction; every other change waits
 * for its end, so that it is best written last.
 *
 * Drizzle Kit does not know the table; `tablesFilter: ["!reality_*"]` in its configuration keeps `push` from
 * proposing to drop it.
 *
 * @param db What `drizzle(client)` gives.
 * @param options The table's name, and how to count and forget.
 * @throws {TypeError} When the db is none, is of a kind that is not supported, or an option is unknown or wrong.
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
 * console.assert((await storage.getNode("user:1"))?.version === 1);
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
  return new SQLStorage({ ...options, query, dialect, inTransaction });
}

/** The kinds of the db's class and of those that it stems from. */
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
    // better-sqlite3 refuses to ask for the rows of a statement that has none.
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

/** Rows come as an array (postgres-js), or in `rows` (node-postgres, PGlite, …). */
function readPostgres(result: unknown): readonly object[] {
  return (Array.isArray(result) ? result : (result as { rows?: unknown } | null)?.rows) as readonly object[];
}

/** mysql2 gives rows, or what was written, first in an array; drivers over HTTP give both in one object. */
function readMySQL(result: unknown): readonly object[] | SQLWritten {
  if (Array.isArray(result)) {
    const [first] = result;
    return Array.isArray(first) || first && "affectedRows" in first ? first : result;
  }
  const { rows } = result as { rows?: readonly object[] };
  return rows && rows.length > 0 ? rows : result as SQLWritten;
}

/**
 * Drizzle's own `sql` would have to be imported, lazily at that, and what bundles an application for a Worker
 * must then find the package, used or not. A db asks a statement for no more than this.
 */
function toStatement(sql: string, params: SQLValue[]): DrizzleStatement {
  const statement: DrizzleStatement = { getSQL: () => statement, toQuery: () => ({ sql, params }) };
  return statement;
}

/** What the driver threw. Drizzle wraps it in an error whose message spells out statement and values. */
function causeOf(error: unknown): unknown {
  return error instanceof Error && "query" in error && error.cause !== undefined ? error.cause : error;
}

function wrongDatabase(found: string): TypeError {
  return new TypeError(
    `Cannot use this db: expected what drizzle(client) gives for PostgreSQL, MySQL or SQLite, ${found}`,
  );
}
