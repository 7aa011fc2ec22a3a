/**
 * A storage in one table of an SQL database. The application gives a function that runs a statement.
 *
 * @module
 */
import type {
  AppliedMeta,
  Dot,
  MeshStorage,
  NodeChange,
  NodeMerge,
  ReplicaState,
  ReplicatedNode,
  StorageChanges,
  StorageDelta,
  StorageFeatures,
  StorageIdentity,
  StorageOutbox,
  StorageReading,
  VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkMerges, checkMeta } from "../validate.ts";
import { collectTombstones } from "./collection.ts";
import {
  getNodes,
  listChangedSince,
  readChanges,
  readMetas,
  readNodes,
  readReplicated,
} from "./node_reads.ts";
import { applyChanges, applyConditional, checkLengths, incrementVersion, setNode } from "./node_writes.ts";
import {
  adoptVector,
  avoidResidues,
  forgetReplicas,
  mergeNodes,
  newEpoch,
  readDelta,
  readReplicaState,
} from "./replication.ts";
import { SQLOutbox } from "./outbox.ts";
import { readSQLOptions, type SQLStorageOptions } from "./sql_options.ts";
import { TableClient } from "./table_client.ts";
import { TombstoneCollector } from "./tombstone_collector.ts";

export type { CounterKind, StorageOptions } from "../options.ts";
export type { SQLRow, SQLValue } from "./dialect.ts";
export type {
  OutboxOptions,
  SQLDialectName,
  SQLQuery,
  SQLStorageOptions,
  SQLTransaction,
  SQLWritten,
  WithOutbox,
} from "./sql_options.ts";

/**
 * Keeps nodes in one table of an SQL database that other servers may share. Each change is one atomic statement that
 * includes its number. So `query` may run every call on another pooled connection, and a server that crashes leaves
 * nothing half done.
 *
 * Works with PostgreSQL 12, MySQL 8, MariaDB 10.6 and SQLite 3.37 or newer, through any driver. For Postgres with
 * notifications use `openPostgres`; for a file of this process use `openSQLite`. The isolation level may be any that
 * hides uncommitted data.
 *
 * @example
 * ```ts
 * import { DatabaseSync } from "node:sqlite";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const database = new DatabaseSync(":memory:");
 * const storage = new SQLStorage({
 *   query: (sql, params) => database.prepare(sql).all(...params),
 *   dialect: "sqlite",
 * });
 * await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert((await storage.getNode("user:1"))?.hash === "a1");
 * database.close();
 * ```
 *
 * @example PostgreSQL, through node-postgres or Postgres.js
 * ```ts
 * import { Pool } from "pg";
 * import postgres from "postgres";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const pool = new Pool({ connectionString: "postgres://app:secret@localhost:5432/app" });
 * const storage = new SQLStorage({
 *   query: (sql, params) => pool.query(sql, params).then((r) => r.rows),
 *   dialect: "postgres",
 * });
 *
 * const sql = postgres("postgres://app:secret@localhost:5432/app");
 * const other = new SQLStorage({
 *   query: (text, params) => sql.unsafe(text, params, { prepare: true }),
 *   dialect: "postgres",
 * });
 *
 * console.assert(storage.schema === other.schema);
 * await Promise.all([pool.end(), sql.end()]);
 * ```
 *
 * @example MySQL and MariaDB, through mysql2
 * ```ts
 * import { createPool } from "mysql2/promise";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const pool = createPool("mysql://app:secret@localhost:3306/app");
 * const storage = new SQLStorage({
 *   query: (sql, params) => pool.execute(sql, params).then(([result]) => result),
 *   dialect: "mysql",
 * });
 *
 * console.assert(storage.schema.startsWith("CREATE TABLE"));
 * await pool.end();
 * ```
 */
export class SQLStorage implements MeshStorage {
  /** One counter; versions become visible in order; deletions are part of the history. */
  readonly features: StorageFeatures;
  /** The statements that create the table, for those who create tables by hand. */
  readonly schema: string;
  /** The outbox, where the option `outbox` asks for one. */
  readonly outbox?: StorageOutbox;

  readonly #table: TableClient;
  readonly #collector: TombstoneCollector;

  /**
   * Makes a storage on a table. It sends nothing to the database before the first use.
   *
   * @param options How to reach the database.
   * @throws {TypeError} When an option is unknown, missing or wrong; the message names it.
   */
  constructor(options: SQLStorageOptions) {
    const read = readSQLOptions(options);
    const { dialect, shared, inTransaction, requestScopedIO } = read;
    const table = this.#table = new TableClient(read);
    this.#collector = new TombstoneCollector(() => collectTombstones(table), {
      elapsed: shared.elapsed,
      tombstoneTimeout: inTransaction ? Infinity : shared.tombstoneTimeout,
      requestScopedIO,
    });
    this.schema = [...dialect.schema, ...dialect.outbox?.schema ?? []].map((sql) => `${sql};\n`).join("");
    if (dialect.outbox) this.outbox = new SQLOutbox(table, dialect.outbox);
    // In a transaction, other changes could become visible between the decision and the commit.
    const conditions = !inTransaction;
    this.features = Object.freeze({
      ordered: true,
      tombstones: true,
      maxChanges: dialect.maxChanges,
      conditions,
    });
  }

  /**
   * The node's current meta; `null` if it never existed or is deleted.
   *
   * @throws {StorageError} When the database fails, as every method here.
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    return (await readMetas(this.#table, "getNode", [key]))[0] ?? null;
  }

  /** The current metas of those keys that exist. An empty list sends no statement. */
  async getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return await getNodes(this.#table, keys);
  }

  /**
   * Nodes, counter and identity of one moment, with one statement. Keys of more than half a million characters together
   * take several: then nodes may be newer than `maxVersion`, never older.
   */
  async readNodes(keys: readonly string[]): Promise<StorageReading> {
    return await readNodes(this.#table, keys);
  }

  /**
   * The changes after a version, with counter and identity of the same moment, with one statement.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The most nodes.
   */
  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    return await readChanges(this.#table, version, limit);
  }

  /** The highest version that was ever visible. */
  async getMaxVersion(): Promise<number> {
    return (await this.#table.readCounter("getMaxVersion")).maxVersion;
  }

  /** The epoch and replica id, which the table got when it was created. */
  async getIdentity(): Promise<StorageIdentity> {
    const { epoch, replicaId } = await this.#table.readCounter("getIdentity");
    return { epoch, replicaId };
  }

  /**
   * Gives the data another epoch and another replica id, and empties the version vector. Nodes and the counter stay.
   *
   * @returns The new identity.
   */
  async newEpoch(): Promise<StorageIdentity> {
    return await newEpoch(this.#table);
  }

  /** Whether the database answers and the table has the right shape. Never rejects. */
  async isHealthy(): Promise<boolean> {
    try {
      await this.#table.readCounter("isHealthy");
      return true;
    } catch {
      return false;
    }
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The most nodes. Nodes of one version are never separated, so there may be more.
   */
  async listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
    return await listChangedSince(this.#table, version, limit);
  }

  /**
   * Reserves the next version. Readers do not see it.
   *
   * @param _key Not used: one counter serves all keys.
   * @throws {RangeError} When the counter has reached 2^53 − 1.
   */
  async incrementVersion(_key: string): Promise<number> {
    return await incrementVersion(this.#table);
  }

  /**
   * Publishes a node unless a newer one is stored, and raises the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field has the wrong type.
   * @throws {RangeError} When its version is not an integer from 1 to 2^53 − 1.
   */
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    checkMeta(key, meta);
    checkLengths(this.#table, meta);
    await setNode(this.#table, meta);
    await this.#collector.wake();
  }

  /** Deletes a node. The deletion is a change with a version of its own, and leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.#apply("deleteNode", [{ key, hash: "", updatedAt: this.#table.now(), deleted: true }]);
  }

  /**
   * Makes many changes with one statement. Each gets a version of its own, in the order given.
   *
   * @param changes At most `features.maxChanges`, no two of the same key.
   * @returns The metas as written, in the order given; with `unchanged`, as stored.
   * @throws {TypeError} When two changes have the same key, or a field has the wrong type; then none is made.
   * @throws {RangeError} When there are too many, or the counter has reached its end; then none is made.
   */
  async applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
    return await this.#apply("applyChanges", changes);
  }

  /** The storage's version vector, collected tombstones and identity. */
  async readReplicaState(): Promise<ReplicaState> {
    return await readReplicaState(this.#table);
  }

  /**
   * Nodes and tombstones whose dots `base` does not include. A small delta is found by version. A larger one is read
   * page by page, in the order of the keys.
   *
   * @param base The version vector of the storage that asks. An empty map asks for everything.
   * @param limit The most nodes of a page. When there are more, the page has `next`.
   * @param after `next` of the page before.
   */
  async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    return await readDelta(this.#table, { base, limit, after });
  }

  /** The nodes and tombstones of these keys, with their dots. */
  async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    return await readReplicated(this.#table, keys);
  }

  /**
   * Writes nodes of other storages with one statement. Each is written only if the stored node is still the one that it
   * was merged with. On MySQL and MariaDB a second statement reads which ones were written: a node that another server
   * replaced in between counts as not written.
   *
   * @param merges At most `features.maxChanges`, no two of the same key.
   * @param collected The collected tombstones that were known when the nodes were merged. Nodes of keys that are not
   *   stored are only written if no other tombstone was collected since. Left out: they are written.
   * @returns For each merge the meta as written; `null` where another node was stored.
   * @throws {TypeError} When two merges have the same key, or a field has the wrong type; then nothing is written.
   * @throws {RangeError} When there are too many, a version or dot is invalid, or the counter has reached its end; then
   *   nothing is written.
   */
  async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    checkMerges(merges, this.#table.dialect.maxChanges);
    for (const { node } of merges) checkLengths(this.#table, node);
    if (merges.length === 0) return [];
    const metas = await mergeNodes(this.#table, merges, collected);
    await this.#collector.wake();
    return metas;
  }

  /**
   * Joins the version vector of another storage whose nodes were merged, and adopts its epoch if that is older.
   *
   * @param vector Its version vector.
   * @param epoch Its epoch.
   * @param collected Its collected tombstones, after a full copy.
   * @param replicaId The replica id of this storage before the nodes were merged. If it has another one, nothing is
   *   recorded.
   * @returns Whether the epoch changed.
   */
  async adoptVector(
    vector: VersionVector,
    epoch: string,
    collected: VersionVector = new Map(),
    replicaId?: string,
  ): Promise<boolean> {
    return await adoptVector(this.#table, { vector, collected, epoch, replicaId });
  }

  /**
   * Removes replicas that are gone from the version vector and from the collected tombstones.
   *
   * @param replicas Replica id → its entry in the version vector. One whose entry is another one by now stays.
   * @param own The own dot that stands for their collected tombstones. Of another replica id: nothing is removed.
   */
  async forgetReplicas(replicas: VersionVector, own: Dot): Promise<void> {
    await forgetReplicas(this.#table, replicas, own);
  }

  /**
   * Draws another residue if a storage in `vector`, or one that was merged before, has the same.
   *
   * @param vector Replica id → the highest dot version of that replica that the other storage knows.
   */
  async avoidResidues(vector: VersionVector): Promise<void> {
    await avoidResidues(this.#table, vector);
  }

  /** Numbers changes by the clock from now on, in this process. Storages of a mesh must do so. */
  countByClock(): void {
    this.#table.numbering.joinMesh();
  }

  /**
   * Ends a collection of tombstones that is running, so that what `query` uses can be closed. `query` is left as it is.
   * Later calls reject with a `ClosedError`. May be called twice.
   */
  async close(): Promise<void> {
    this.#table.close();
    await this.#collector.end();
  }

  async #apply(operation: string, changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
    checkChanges(changes, this.#table.dialect.maxChanges);
    for (const change of changes) checkLengths(this.#table, change);
    if (changes.length === 0) return [];
    const isConditional = this.features.conditions && changes.some(({ unless }) => unless !== undefined);
    const apply = isConditional ? applyConditional : applyChanges;
    const metas = await apply(this.#table, operation, changes);
    await this.#collector.wake();
    return metas;
  }
}
