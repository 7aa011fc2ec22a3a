/**
 * What the tests of SQLStorage on SQLite share: a pool of connections, and deletions to collect.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { NodeChange } from "../../../src/store/contract.ts";
import {
  type SQLRow,
  SQLStorage,
  type SQLStorageOptions,
  type SQLValue,
} from "../../../storage/sql/sql_storage.ts";
import { inFolder } from "./sqlite/sqlite_kit.ts";

/** A pool of connections. Each statement runs on the next connection, and in a later microtask. */
export class Pool {
  readonly #connections: DatabaseSync[];
  #turn = 0;
  /** The statements that were run. */
  asked: string[] = [];

  constructor(path: string, size: number) {
    this.#connections = Array.from({ length: size }, () => {
      const connection = new DatabaseSync(path);
      connection.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
      return connection;
    });
  }

  async query(sql: string, params: readonly SQLValue[]): Promise<SQLRow[]> {
    const connection = this.#connections[this.#turn++ % this.#connections.length];
    assert.ok(connection, "the pool has connections");
    await Promise.resolve();
    this.asked.push(sql);
    return connection.prepare(sql).all(...params) as SQLRow[];
  }

  close(): void {
    for (const connection of this.#connections) if (connection.isOpen) connection.close();
  }
}

/** Calls `use` with a storage on a new file, over one connection. */
export async function withStorage(
  options: Partial<SQLStorageOptions>,
  use: (storage: SQLStorage, pool: Pool, path: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const pool = new Pool(path, 1);
    try {
      const query = (sql: string, params: readonly SQLValue[]) => pool.query(sql, params);
      await use(new SQLStorage({ query, dialect: "sqlite", ...options }), pool, path);
    } finally {
      pool.close();
    }
  });
}

/** The time at which the clocks of these tests start. */
export const START = 1_700_000_000_000;

/** Waits until the two steps of collecting tombstones that a write starts have run, each in a task of its own. */
export async function afterCollection(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Deletions of that many keys. */
export function deletions(count: number, prefix: string): NodeChange[] {
  return Array.from(
    { length: count },
    (_, i) => ({ key: `${prefix}:${i}`, hash: "", updatedAt: 1, deleted: true }),
  );
}
