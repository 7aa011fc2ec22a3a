/**
 * The options of a PostgreSQL storage, the client that it uses, and the storage's type.
 *
 * @module
 */
import type {
  AppliedMeta,
  MeshStorage,
  NodeChange,
  StorageChanges,
  StorageFeatures,
  StorageIdentity,
  StorageReading,
} from "../../../src/store/contract.ts";
import type { StorageOptions } from "../../options.ts";
import type { SQLValue } from "../dialect.ts";
import type { WithOutbox } from "../sql_options.ts";

/** The methods of a client that are called. What `postgres()` of npm:postgres returns fits. */
export interface PostgresClient {
  /** Runs one statement on any connection of the pool. */
  unsafe(sql: string, params?: SQLValue[], options?: { prepare?: boolean }): PromiseLike<readonly object[]>;
  /** Listens to a channel, on a connection of its own that is made again when it is lost. */
  listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten?: () => void,
  ): Promise<{ unlisten(): Promise<void> }>;
  /** Ends all connections. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** How a PostgreSQL database is reached, and how changes are numbered and announced. */
export interface PostgresOptions extends StorageOptions, WithOutbox {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use creates the table if it does not exist.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * The most connections for statements. Listening takes one more. A server runs at most one write and a few reads at
   * once, so more than the default helps little. At least 1. Only for an address.
   *
   * @default 4, or what the address has as connection_limit
   */
  maxConnections?: number;
  /**
   * How long one statement may take, including the time to connect, in milliseconds. Then the connection is replaced by a
   * new one. A statement that was sent on an older connection is sent once more, so a call takes at most twice as long. A
   * call that finds no free connection waits for the same time at most. Lower notices a lost connection sooner; higher
   * allows slower statements. At least 1, and less than half of the server's `storageTimeout`. Only for an address.
   *
   * @default {4000}
   */
  statementTimeout?: number;
  /**
   * How long a connection may live, in milliseconds. Each lives for a random half to whole of it, the one that listens
   * too. After the address leads to another server, an earlier primary that still takes writes may answer for this long.
   * Lower follows the address sooner; higher connects less often. At least 1. Only for an address.
   *
   * @default {60000}
   */
  maxLifetime?: number;
  /**
   * Whether changes are announced with NOTIFY and received with LISTEN. LISTEN does not work behind a pooler that assigns
   * a connection for one transaction, such as PgBouncer. Then set `false`, and use an address that ends in
   * `?prepare=false`; or use one with `?pgbouncer=true`, which means both. Other processes then find changes by polling.
   *
   * @default true, and false for an address with pgbouncer=true
   */
  listen?: boolean;
  /**
   * Receives a warning, while the storage is opened, about a parameter in the address that is not supported and weakens
   * security: `channel_binding=require` without `sslmode=verify-full`. Other such parameters are refused. Only for an
   * address.
   *
   * @default console.warn
   */
  onWarning?: (message: string) => void;
}

/** A storage in PostgreSQL, from {@linkcode openPostgres}. */
export interface PostgresStorage extends MeshStorage {
  /** The statements that create the table. */
  readonly schema: string;
  /** One counter; versions become visible in order; deletions are part of the history. */
  readonly features: StorageFeatures;
  /** Makes many changes with one statement. */
  applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]>;
  /** Nodes, counter and identity of one moment. */
  readNodes(keys: readonly string[]): Promise<StorageReading>;
  /** The changes after a version, with counter and identity of the same moment. */
  readChanges(version: number, limit: number): Promise<StorageChanges>;
  /** Gives the data another epoch and replica id. Call it after a backup was restored. */
  newEpoch(): Promise<StorageIdentity>;
  /** Ends the connections that were opened here. */
  close(): Promise<void>;
}
