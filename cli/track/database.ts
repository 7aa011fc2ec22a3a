/**
 * A connection to a database whose tables are tracked.
 *
 * @module
 */
import type { SQLDialectName } from "../../storage/sql/sql_options.ts";
import { fileAt, openFile } from "../../storage/sql/sqlite/database.ts";
import { loadWith } from "../optional_package.ts";

/** A database by its address. */
export interface DatabaseAddress {
  /** The kind of database. */
  readonly dialect: SQLDialectName;
  /** A path for SQLite, a URL otherwise. */
  readonly address: string;
}

/** A row. */
export type Row = Readonly<Record<string, unknown>>;

/** A connection. */
export interface Connection {
  /** Runs a statement and returns its rows, if it has any. */
  run(sql: string, params?: readonly (string | null)[]): Promise<readonly Row[]>;
  /** Closes it. */
  close(): Promise<void>;
}

/** How long a statement may wait for another process that writes to an SQLite file, in milliseconds. */
const BUSY_TIMEOUT = 5000;

/**
 * Connects to a database.
 *
 * @throws {Error} When the file does not exist, the package of the driver is missing, or the server cannot be reached.
 */
export function connect({ dialect, address }: DatabaseAddress): Promise<Connection> {
  if (dialect === "sqlite") return openSQLite(address);
  return dialect === "postgres" ? openPostgres(address) : openMySQL(address);
}

async function openSQLite(path: string): Promise<Connection> {
  // Opening would create it.
  if (fileAt(path) === undefined) throw new Error("the file does not exist");
  const database = openFile(path, BUSY_TIMEOUT, (opened) => opened);
  await null;
  return {
    run: (sql, params = []) => {
      return Promise.resolve(database.prepare(sql).all(...params) as Row[]);
    },
    close: () => {
      database.close();
      return Promise.resolve();
    },
  };
}

/** The part of npm:postgres that is used. */
interface PostgresModule {
  default(url: string, options: object): {
    unsafe(sql: string, params?: readonly unknown[]): Promise<readonly Row[]>;
    end(options: object): Promise<void>;
  };
}

async function openPostgres(url: string): Promise<Connection> {
  const postgres = await load<PostgresModule>("postgres", "postgres");
  const client = postgres.default(url, {
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    connect_timeout: 10,
  });
  return {
    run: async (sql, params = []) => [...await client.unsafe(sql, params)],
    close: () => client.end({ timeout: 1 }),
  };
}

/** The part of npm:mysql2 that is used. */
interface MySQLModule {
  createConnection(options: object): Promise<{
    query(sql: string, params: readonly unknown[]): Promise<[unknown, unknown]>;
    end(): Promise<void>;
  }>;
}

async function openMySQL(url: string): Promise<Connection> {
  const { createConnection } = await load<MySQLModule>("mysql2", "mysql2/promise");
  const connection = await createConnection({ uri: url, connectTimeout: 10_000 });
  return {
    run: async (sql, params = []) => {
      const [rows] = await connection.query(sql, params);
      return Array.isArray(rows) ? rows : [];
    },
    close: () => connection.end(),
  };
}

/** By a name that no bundler sees, since only this command needs the package. */
function load<T>(name: string, module: string): Promise<T> {
  return loadWith(name, () => import(module) as Promise<T>);
}
