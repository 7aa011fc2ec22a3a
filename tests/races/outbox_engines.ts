/**
 * How a process of an outbox race opens the storage, and connections for transactions of the application.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import type { RealityStorage } from "../../src/store/contract.ts";
import type { OutboxQuery } from "../../src/types.ts";
import { runTogether } from "../../bench/storage/mysql_transaction.ts";

/** Where the shared storage is. */
export interface OutboxPlace {
  readonly engine: "sqlite" | "postgres" | "mysql";
  /** The file, or the server's address. */
  readonly address: string;
}

/** A connection of the application, with a transaction at a time. */
export interface AppConnection {
  begin(): Promise<void>;
  /** Writes the application's own row. */
  note(id: string): Promise<void>;
  /** Runs a statement in the transaction. */
  readonly query: OutboxQuery;
  end(how: "COMMIT" | "ROLLBACK"): Promise<void>;
  /** Connects again after a failure. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** A storage with an outbox, and the application's database. */
export interface OpenedOutbox {
  readonly storage: RealityStorage;
  connect(): Promise<AppConnection>;
  close(): Promise<void>;
}

/** Creates the application's table. */
const CREATE = "CREATE TABLE IF NOT EXISTS transactions (id VARCHAR(100) PRIMARY KEY)";

/** Opens the storage at a place. */
export async function openOutbox({ engine, address }: OutboxPlace): Promise<OpenedOutbox> {
  if (engine === "sqlite") return await openSQLiteOutbox(address);
  return engine === "postgres" ? await openPostgresOutbox(address) : await openMySQLOutbox(address);
}

/** The transactions that are committed. */
export async function readTransactions(place: OutboxPlace): Promise<Set<string>> {
  const { connect, close } = await openOutbox(place);
  const connection = await connect();
  const rows = await connection.query("SELECT id FROM transactions", []) as { id: string }[];
  await connection.close();
  await close();
  return new Set(rows.map(({ id }) => id));
}

/** Creates the tables. */
export async function createTables(place: OutboxPlace): Promise<void> {
  const { storage, connect, close } = await openOutbox(place);
  await storage.getMaxVersion();
  const connection = await connect();
  await connection.query(CREATE, []);
  await connection.close();
  await close();
}

async function openSQLiteOutbox(path: string): Promise<OpenedOutbox> {
  const { openSQLite } = await import("../../storage/sql/sqlite/sqlite_storage.ts");
  const storage = openSQLite(path, { outbox: true, synchronous: "normal" });
  const connect = () => {
    const database = new DatabaseSync(path);
    database.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = normal");
    const run = (sql: string) => Promise.resolve(database.exec(sql));
    return Promise.resolve({
      // Waits for no other loop of this process: a transaction begins and ends without one in between.
      begin: () => run("BEGIN IMMEDIATE"),
      note: (id: string) => run(`INSERT INTO transactions VALUES ('${id}')`),
      query: (text: string, params: (string | number | null)[]) => database.prepare(text).all(...params),
      end: (how: string) => run(how),
      reset: () => database.isTransaction ? run("ROLLBACK") : Promise.resolve(),
      close: () => Promise.resolve(database.close()),
    });
  };
  return { storage, connect, close: () => storage.close() };
}

async function openPostgresOutbox(address: string): Promise<OpenedOutbox> {
  const { openPostgres } = await import("../../storage/sql/postgres/postgres_storage.ts");
  const { default: pg } = await import("pg");
  const storage = openPostgres(address, { outbox: true });
  const connect = async (): Promise<AppConnection> => {
    let client: InstanceType<typeof pg.Client>;
    const open = async () => {
      for (;;) {
        client = new pg.Client({ connectionString: address });
        client.on("error", () => {});
        try {
          return await client.connect();
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    };
    await open();
    const run = async (sql: string) => void await client.query(sql);
    return {
      begin: () => run("BEGIN"),
      note: (id) => run(`INSERT INTO transactions VALUES ('${id}')`),
      query: (text, params) => client.query(text, params).then(({ rows }) => rows),
      end: run,
      async reset() {
        await client.end().catch(() => {});
        await open();
      },
      close: () => client.end(),
    };
  };
  return { storage, connect, close: async () => await storage.close?.() };
}

async function openMySQLOutbox(address: string): Promise<OpenedOutbox> {
  const { SQLStorage } = await import("../../storage/sql/sql_storage.ts");
  const { createConnection, createPool } = await import("mysql2/promise");
  const pool = createPool({ uri: address, connectionLimit: 4 });
  const storage = new SQLStorage({
    query: (sql, params) => pool.execute(sql, params).then(([result]) => result),
    transaction: runTogether(pool),
    dialect: "mysql",
    outbox: true,
  });
  const connect = async (): Promise<AppConnection> => {
    let connection: Awaited<ReturnType<typeof createConnection>>;
    const open = async () => {
      for (;;) {
        try {
          connection = await createConnection(address);
          connection.on("error", () => {});
          return;
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    };
    await open();
    const run = async (sql: string) => void await connection.query(sql);
    return {
      begin: () => run("BEGIN"),
      note: (id) => run(`INSERT INTO transactions VALUES ('${id}')`),
      query: (text, params) => connection.execute(text, params).then(([rows]) => rows),
      end: run,
      async reset() {
        connection.destroy();
        await open();
      },
      close: () => connection.end(),
    };
  };
  return { storage, connect, close: () => pool.end() };
}
