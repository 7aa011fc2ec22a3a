/**
 * Storages whose statements are counted: a callback is called before each statement is sent.
 *
 * @module
 */
import process from "node:process";
import type { Sql } from "postgres";
import type { RealityStorage } from "../../src/store/contract.ts";
import type { PostgresClient } from "../../storage/sql/postgres/postgres_storage.ts";
import { openSQLite, type SQLiteDatabase } from "../../storage/sql/sqlite/sqlite_storage.ts";

/** Called before each statement is sent. */
export type OnAsk = () => void;

/** One of our storages, with a function that closes it. */
export interface Opened {
  readonly storage: RealityStorage;
  close(): Promise<void>;
}

/** Opens a file as `openSQLite` does, with the driver alone. */
export function openDatabase(path: string): SQLiteDatabase {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(path) as SQLiteDatabase;
  database.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = full");
  return database;
}

/** Opens a storage on a file. */
export function openFile(path: string, tableName: string, onAsk?: OnAsk): Opened {
  if (!onAsk) {
    const storage = openSQLite(path, { tableName });
    return { storage, close: () => storage.close() };
  }
  const database = openDatabase(path);
  const storage = openSQLite({
    prepare(sql) {
      const statement = database.prepare(sql);
      return {
        all(...params) {
          onAsk();
          return statement.all(...params);
        },
      };
    },
    exec: (sql) => database.exec(sql),
    close: () => database.close(),
  }, { tableName });
  return {
    storage,
    async close() {
      await storage.close();
      database.close();
    },
  };
}

/** A client of npm:postgres that tells of what it sends. */
export function countQueries(client: Sql, onAsk: OnAsk): PostgresClient {
  return {
    unsafe(...given: Parameters<Sql["unsafe"]>) {
      onAsk();
      return client.unsafe(...given);
    },
    listen: (...given) => client.listen(...given),
    end: (...given) => client.end(...given),
  };
}
