/**
 * How a process opens the storage that it shares with others, and counts what it asks of the database.
 *
 * @module
 */
import { countQueries, type Opened, openFile } from "../../bench/storage/counted.ts";
import type { SQLQuery } from "../../storage/sql/sql_storage.ts";

export type { Opened } from "../../bench/storage/counted.ts";

/** The databases that are shared, with the way to reach them. */
export type Engine = "sqlite" | "postgres" | "pg" | "mysql" | "dynamodb";

/** Where the shared storage is; handed to other processes as JSON. */
export interface Place {
  readonly engine: Engine;
  /** The file, or the server's address. */
  readonly address: string;
  readonly tableName: string;
  /** How long deletions are kept, in milliseconds; left out, a day. Only for `postgres`. */
  readonly tombstoneTimeout?: number;
}

/** How a storage is opened. */
export interface OpenOptions {
  /** How many connections there may be, where there are any. @default {4} */
  readonly connections?: number;
  /** Called before each statement or request is sent. */
  readonly onAsk?: () => void;
}

/** Opens the storage at a place. */
export async function open(place: Place, options: OpenOptions = {}): Promise<Opened> {
  const { engine, address, tableName } = place;
  if (engine === "sqlite") return openFile(address, tableName, options.onAsk);
  if (engine === "postgres") return await openListening(place, options);
  if (engine === "dynamodb") return await openDynamoDB(place, options);
  const { onAsk = () => {}, connections = 4 } = options;
  const { query, end } = await (engine === "pg" ? openPg : openMySQL)(address, connections);
  const { SQLStorage } = await import("../../storage/sql/sql_storage.ts");
  const storage = new SQLStorage({
    query(sql, params) {
      onAsk();
      return query(sql, params);
    },
    dialect: engine === "pg" ? "postgres" : "mysql",
    tableName,
  });
  return { storage, close: end };
}

async function openListening(place: Place, options: OpenOptions): Promise<Opened> {
  const { address, tableName, tombstoneTimeout } = place;
  const { onAsk, connections = 4 } = options;
  const kept = tombstoneTimeout === undefined ? {} : { tombstoneTimeout };
  const { openPostgres } = await import("../../storage/sql/postgres/postgres_storage.ts");
  if (!onAsk) {
    const storage = openPostgres(address, { tableName, maxConnections: connections, ...kept });
    return { storage, close: () => storage.close() };
  }
  const { default: postgres } = await import("postgres");
  const client = postgres(address, { max: connections, fetch_types: false, onnotice: () => {} });
  const storage = openPostgres(countQueries(client, onAsk), { tableName, ...kept });
  return {
    storage,
    async close() {
      await storage.close();
      await client.end({ timeout: 5 });
    },
  };
}

async function openDynamoDB({ address, tableName }: Place, { onAsk }: OpenOptions): Promise<Opened> {
  const { DynamoDB } = await import("@aws-sdk/client-dynamodb");
  const { DynamoDBStorage } = await import("../../storage/dynamodb/dynamodb_storage.ts");
  const client = new DynamoDB({
    endpoint: address,
    region: "us-east-1",
    credentials: { accessKeyId: "tests", secretAccessKey: "tests" },
  });
  client.middlewareStack.add((next) => (args) => {
    onAsk?.();
    return next(args);
  }, { step: "finalizeRequest" });
  const storage = new DynamoDBStorage({ client, tableName, createTables: true });
  return {
    storage,
    async close() {
      await storage.close();
      client.destroy();
    },
  };
}

interface Pool {
  readonly query: SQLQuery;
  end(): Promise<void>;
}

async function openPg(address: string, connections: number): Promise<Pool> {
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({ connectionString: address, max: connections });
  // A connection that breaks while idle would otherwise end the process.
  pool.on("error", () => {});
  return { query: (sql, params) => pool.query(sql, params).then(({ rows }) => rows), end: () => pool.end() };
}

async function openMySQL(address: string, connections: number): Promise<Pool> {
  const { createPool } = await import("mysql2/promise");
  const pool = createPool({ uri: address, connectionLimit: connections });
  return {
    query: (sql, params) => pool.execute(sql, params).then(([result]) => result),
    end: () => pool.end(),
  };
}
