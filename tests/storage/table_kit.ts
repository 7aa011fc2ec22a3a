/**
 * What the tests of the SQL storages on a database server share: a table for each test, over any driver.
 *
 * @module
 */
import process from "node:process";
import { randomName, type RealityStorage } from "../../src/store/contract.ts";
import { DEFAULT_TOMBSTONE_TIMEOUT } from "../../storage/options.ts";
import type { SQLQuery, SQLRow, SQLTransaction, SQLValue } from "../../storage/sql/sql_storage.ts";

/** A pool of connections, made with some driver. */
export interface Connected {
  /** Runs one statement on any of its connections. */
  readonly query: SQLQuery;
  /** Runs statements in one transaction. */
  readonly transaction?: SQLTransaction;
  /** Closes them. */
  end(): Promise<void>;
}

/** A driver, ready to connect to the test's database. */
export interface Driver {
  readonly name: string;
  connect(): Promise<Connected>;
}

/** Creates a storage in a table, with what releases it, and with what runs a statement of the application if it has an outbox. */
export type Open = (
  tableName: string,
  now: () => number,
) => Promise<[RealityStorage, () => Promise<void>, SQLQuery?]>;

interface Backing {
  readonly tableName: string;
  readonly clock: { now: number };
  readonly release: () => Promise<void>;
  readonly query: SQLQuery | undefined;
}

/** The address of a service that `deno task test` starts. */
export function addressOf(variable: string): string {
  const address = process.env[variable];
  if (address) return address;
  throw new Error(`${variable} is not set: run this through "deno task test", or name a server in it`);
}

/** A name that no other table has. The database belongs to the tests, so the tables are not removed. */
export function newTableName(): string {
  return `test_${randomName(12)}`;
}

/** Runs a statement that gives rows. */
export async function rowsOf({ query }: Connected, sql: string, ...params: string[]): Promise<SQLRow[]> {
  return await query(sql, params) as SQLRow[];
}

/** Keeps for every storage what is behind it. */
export class Tables {
  readonly #open: Open;
  readonly #backings = new Map<RealityStorage, Backing>();

  constructor(open: Open) {
    this.#open = open;
  }

  /** Makes a storage in a new table. */
  create = (): Promise<RealityStorage> => this.#add(newTableName(), { now: Date.UTC(2026, 0, 1) });

  /** Makes another storage in the table of this one. */
  share = (storage: RealityStorage): Promise<RealityStorage> => {
    const { tableName, clock } = this.#of(storage);
    return this.#add(tableName, clock);
  };

  /** Moves a storage's clock until its tombstones may be swept. */
  elapse = (storage: RealityStorage): void => {
    this.#of(storage).clock.now += DEFAULT_TOMBSTONE_TIMEOUT;
  };

  /** Runs a statement on a storage's database. */
  query = async (storage: RealityStorage, text: string, params: SQLValue[]): Promise<void> => {
    await this.#of(storage).query?.(text, params);
  };

  /** Closes a storage's connections under it. */
  disconnect = async (storage: RealityStorage): Promise<void> => await this.#of(storage).release();

  /** Releases a storage. */
  destroy = async (storage: RealityStorage): Promise<void> => {
    await storage.close?.();
    await this.#of(storage).release();
    this.#backings.delete(storage);
  };

  #of(storage: RealityStorage): Backing {
    const backing = this.#backings.get(storage);
    if (!backing) throw new Error("This storage is not one of these");
    return backing;
  }

  async #add(tableName: string, clock: { now: number }): Promise<RealityStorage> {
    const [storage, end, query] = await this.#open(tableName, () => clock.now);
    let ended: Promise<void> | undefined;
    this.#backings.set(storage, { tableName, clock, release: () => ended ??= end(), query });
    return storage;
  }
}
