/**
 * The databases that are measured: each with its driver, the statements that are sent through it, and our storage.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createPool } from "mysql2/promise";
import postgres from "postgres";
import { openPostgres } from "../../storage/sql/postgres/postgres_storage.ts";
import { SQLStorage, type SQLValue } from "../../storage/sql/sql_storage.ts";
import type { SQLDialect } from "../../storage/sql/dialect.ts";
import { mysqlDialect } from "../../storage/sql/mysql/dialect.ts";
import { postgresDialect } from "../../storage/sql/postgres/dialect.ts";
import { sqliteDialect } from "../../storage/sql/sqlite/dialect.ts";
import { openSQLite, type SQLiteDatabase } from "../../storage/sql/sqlite/sqlite_storage.ts";
import { runTogether } from "./mysql_transaction.ts";
import { countQueries, type OnAsk, openDatabase, type Opened, openFile } from "./counted.ts";

export type { OnAsk, Opened } from "./counted.ts";

/** Runs one statement, prepared once, on any of its connections. */
export type Run = (sql: string, params: SQLValue[]) => unknown;

/** A database that is measured. */
export interface Engine {
  readonly name: string;
  /** The statements for a table, as our storage sends them. */
  dialect(tableName: string): SQLDialect;
  /** Connects with the driver alone. */
  connect(onAsk?: OnAsk): { run: Run; end(): Promise<void> };
  /** Opens our storage; another time for another server. */
  open(tableName: string, onAsk?: OnAsk): Opened;
  /** Opens our storage with an outbox. */
  openOutbox(tableName: string): Opened;
  /**
   * Opens a transaction that sees the rows of this moment, as a backup does, so that the database keeps all that are removed
   * until it ends.
   *
   * @returns Ends it.
   */
  holdSnapshot(): Promise<() => Promise<void>>;
  /** Where its file is, if it has one. */
  readonly folder?: string;
  /** Takes away what was made. */
  remove?(): void;
}

/** As many connections as `openPostgres` has by itself. */
const CONNECTIONS = 4;

const postgresAddress = process.env.REALITY_BENCH_POSTGRES;
const mysqlAddress = process.env.REALITY_BENCH_MYSQL;

/** Those that can be reached: a server is named in a variable, a file can always be made. */
export function findEngines(): Engine[] {
  return [
    createSQLite(mkdtempSync(join(tmpdir(), "reality-bench-"))),
    ...(postgresAddress
      ? [createPostgres(postgresAddress, true), createPostgres(postgresAddress, false)]
      : []),
    ...(mysqlAddress ? [createMySQL(mysqlAddress)] : []),
  ];
}

/** The one of that name, for another process; a file lies in the same folder. */
export function findEngine(name: string, folder: string): Engine {
  if (name.startsWith("SQLite")) return createSQLite(folder);
  if (name === "MariaDB") return createMySQL(mysqlAddress ?? "");
  return createPostgres(postgresAddress ?? "", name.includes("LISTEN"));
}

function createSQLite(folder: string): Engine {
  const path = join(folder, "reality.db");
  const connect = (onAsk: OnAsk = () => {}) => {
    const database = openDatabase(path);
    const statements = new Map<string, ReturnType<SQLiteDatabase["prepare"]>>();
    const run: Run = (sql, params) => {
      onAsk();
      let statement = statements.get(sql);
      if (statement === undefined) statements.set(sql, statement = database.prepare(sql));
      return statement.all(...params);
    };
    return {
      run,
      end() {
        database.close();
        return Promise.resolve();
      },
    };
  };
  return {
    name: "SQLite, synchronous = full",
    folder,
    dialect: sqliteDialect,
    connect,
    open: (tableName, onAsk) => openFile(path, tableName, onAsk),
    openOutbox(tableName) {
      const storage = openSQLite(path, { tableName, outbox: true });
      return { storage, close: () => storage.close() };
    },
    holdSnapshot() {
      const database = openDatabase(path);
      database.exec("BEGIN; SELECT count(*) FROM sqlite_master");
      return Promise.resolve(() => {
        database.close();
        return Promise.resolve();
      });
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}

function createPostgres(address: string, listen: boolean): Engine {
  const connect = () =>
    postgres(address, { max: CONNECTIONS, max_lifetime: null, fetch_types: false, onnotice: () => {} });
  return {
    name: `PostgreSQL${listen ? " with LISTEN" : ""}`,
    dialect: postgresDialect,
    connect(onAsk = () => {}) {
      const client = connect();
      return {
        run(sql, params) {
          onAsk();
          return client.unsafe(sql, params, { prepare: true });
        },
        end: () => client.end(),
      };
    },
    open(tableName, onAsk) {
      if (!onAsk) {
        const storage = openPostgres(address, { tableName, listen });
        return { storage, close: () => storage.close() };
      }
      const client = connect();
      const storage = openPostgres(countQueries(client, onAsk), { tableName, listen });
      return {
        storage,
        async close() {
          await storage.close();
          await client.end();
        },
      };
    },
    openOutbox(tableName) {
      const storage = openPostgres(address, { tableName, listen, outbox: true });
      return { storage, close: () => storage.close() };
    },
    async holdSnapshot() {
      const client = postgres(address, { max: 1, max_lifetime: null, onnotice: () => {} });
      await client.unsafe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()");
      return () => client.end();
    },
  };
}

function createMySQL(address: string): Engine {
  const connect = (onAsk: OnAsk = () => {}) => {
    const pool = createPool({ uri: address, connectionLimit: CONNECTIONS });
    return {
      run(sql: string, params: SQLValue[]) {
        onAsk();
        return pool.execute(sql, params).then(([result]) => result);
      },
      end: () => pool.end(),
    };
  };
  return {
    name: "MariaDB",
    dialect: mysqlDialect,
    connect,
    open(tableName, onAsk) {
      const { run, end } = connect(onAsk);
      return { storage: new SQLStorage({ query: run, dialect: "mysql", tableName }), close: end };
    },
    openOutbox(tableName) {
      const pool = createPool({ uri: address, connectionLimit: CONNECTIONS });
      const query = (sql: string, params: SQLValue[]) => pool.execute(sql, params).then(([result]) => result);
      const options = { query, transaction: runTogether(pool), dialect: "mysql", tableName } as const;
      return { storage: new SQLStorage({ ...options, outbox: true }), close: () => pool.end() };
    },
    async holdSnapshot() {
      const pool = createPool({ uri: address, connectionLimit: 1 });
      await pool.query("START TRANSACTION WITH CONSISTENT SNAPSHOT");
      return () => pool.end();
    },
  };
}
