/**
 * A storage in one table of DynamoDB, which several servers can share.
 *
 * Every commit is one transaction. It writes the nodes and the counter's item, on the condition that the counter's item
 * is still the one that the writer read. So commits are made one after the other, and each gets the versions that
 * follow.
 *
 * A reader without a transaction sees the items of a transaction become visible one by one, even with strongly
 * consistent reads: it can read a counter of 7 and still the old row of node 6. A reader with a transaction would
 * make writers fail. Therefore the counter's item also contains the nodes of the last commits, and every reading adds
 * them to the rows. A commit is removed from the item only when all its rows are known to be visible. The commits in
 * the item have no gap. So a reading that reads the item before and after the rows can be completed to the state of
 * one moment.
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
  StorageReading,
  VersionVector,
} from "../../src/store/contract.ts";
import { ClosedError } from "../../src/errors.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { MAX_CHANGES } from "./client.ts";
import {
  type DynamoDBStorageOptions,
  type ReadDynamoDBOptions,
  readDynamoDBOptions,
} from "./dynamodb_options.ts";
import { Numbering } from "./numbering.ts";
import type { State } from "./state.ts";
import type { TableSession } from "./table_session.ts";

export type { DynamoDBMethods, DynamoDBSender } from "./client.ts";
export type { DynamoDBStorageOptions } from "./dynamodb_options.ts";
export type { CounterKind } from "../options.ts";

type Operations = typeof import("./table_operations.ts");

type Work<T> = (operations: Operations, table: TableSession) => Promise<T>;

/** What works on a table. Loaded at the first use, because `mod.ts` exports the storage to all servers. */
let operations: Operations | undefined;

/**
 * Keeps nodes in one table of DynamoDB that other servers may share. Each commit is one transaction of up to 99
 * changes. Versions become visible in order, and all reads are strongly consistent.
 *
 * Create the table with {@linkcode DynamoDBStorage.createTable} or from a template in `docs/storages.md`, which also
 * lists costs and limits.
 *
 * @example
 * ```ts
 * import { DynamoDB } from "@aws-sdk/client-dynamodb";
 * import { DynamoDBStorage } from "@rootlodge/reality-server/dynamodb";
 *
 * const dynamodb = new DynamoDB({ region: "us-east-1" });
 * const storage = new DynamoDBStorage({ client: dynamodb, tableName: "reality-nodes" });
 * // Creates the table once: await storage.createTable();
 * console.assert(storage.features.ordered);
 * await storage.close();
 * dynamodb.destroy();
 * ```
 */
export class DynamoDBStorage implements MeshStorage {
  /** One counter; versions become visible in order; deletions are part of the history. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    maxChanges: MAX_CHANGES,
    conditions: true,
  });

  readonly #options: ReadDynamoDBOptions;
  readonly #numbering: Numbering;
  #table: TableSession | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  /**
   * Makes a storage. It sends nothing to DynamoDB before the first use.
   *
   * @param options How to reach the table.
   * @throws {TypeError} When an option is unknown, missing or wrong; the message names it.
   */
  constructor(options: DynamoDBStorageOptions) {
    const { shared } = this.#options = readDynamoDBOptions(options);
    this.#numbering = new Numbering(shared.counter, shared.now);
  }

  /**
   * The node's current meta; `null` if it never existed or is deleted.
   *
   * @throws {StorageError} When DynamoDB fails or takes too long, as every method here.
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    return (await this.#read("getNode", [key])).get(key) ?? null;
  }

  /** The current metas of those keys that exist. An empty list sends no request. */
  async getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return keys.length === 0 ? new Map() : await this.#read("getNodes", keys);
  }

  /**
   * Nodes, counter and identity of one moment. If other servers write so much that 24 rounds of reading do not
   * find one, nodes may be newer than `maxVersion`, never older.
   */
  async readNodes(keys: readonly string[]): Promise<StorageReading> {
    return await this.#use(({ readNodes }, table) => readNodes(table, "readNodes", keys));
  }

  /**
   * The changes after a version, with counter and identity of the same moment. Costs one read of the counter's item if
   * there are none, or if that item contains them.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The most nodes. Nodes of one version are never separated, so there may be more.
   */
  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    return await this.#use(({ readChanges }, table) => readChanges(table, version, limit));
  }

  /** The highest version that was ever visible. */
  async getMaxVersion(): Promise<number> {
    return (await this.#readState("getMaxVersion")).maxVersion;
  }

  /** The epoch and replica id, which the table got at its first use. */
  async getIdentity(): Promise<StorageIdentity> {
    const { epoch, replicaId } = await this.#readState("getIdentity");
    return { epoch, replicaId };
  }

  /**
   * Gives the data another epoch and another replica id, and empties the version vector. Nodes and the counter stay.
   *
   * @returns The new identity.
   */
  async newEpoch(): Promise<StorageIdentity> {
    return await this.#use(({ newEpoch }, table) => newEpoch(table));
  }

  /** Whether DynamoDB answers and the table exists. Never rejects. */
  async isHealthy(): Promise<boolean> {
    return await this.getMaxVersion().then(() => true, () => false);
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The most nodes. Nodes of one version are never separated, so there may be more.
   */
  async listChangedSince(version: number, limit: number = Infinity): Promise<RealityNodeMeta[]> {
    return await this.#use(({ listChangedSince }, table) => listChangedSince(table, version, limit));
  }

  /**
   * Reserves the next version. Readers do not see it.
   *
   * @param _key Not used: one counter serves all keys.
   * @throws {RangeError} When the counter has reached 2^53 − 1.
   */
  async incrementVersion(_key: string): Promise<number> {
    return await this.#use(({ incrementVersion }, table) => incrementVersion(table));
  }

  /**
   * Publishes a node unless a newer one is stored, and raises the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field has the wrong type.
   * @throws {RangeError} When its version is not an integer from 1 to 2^53 − 1, or its key has more than 1024 bytes.
   */
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    await this.#use(({ setNode }, table) => setNode(table, key, meta));
  }

  /** Deletes a node. The deletion is a change with a version of its own, and leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    const deletion = { key, hash: "", updatedAt: this.#options.shared.now(), deleted: true } as const;
    await this.#use(({ applyChanges }, table) => applyChanges(table, "deleteNode", [deletion]));
  }

  /**
   * Makes many changes with one transaction. Each gets a version of its own, in the order given.
   *
   * @param changes At most 99, no two of the same key.
   * @returns The metas as written, in the order given; with `unchanged`, as stored.
   * @throws {TypeError} When two changes have the same key, or a field has the wrong type; then none is made.
   * @throws {RangeError} When there are too many, a key has more than 1024 bytes, or the counter has reached its end;
   *   then none is made.
   */
  async applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
    return await this.#use(({ applyChanges }, table) => applyChanges(table, "applyChanges", changes));
  }

  /** The storage's version vector, collected tombstones and identity. Costs one read of the counter's item. */
  async readReplicaState(): Promise<ReplicaState> {
    return await this.#use(({ readReplicaState }, table) => readReplicaState(table));
  }

  /**
   * Nodes and tombstones whose dots `base` does not include. Costs one read of the counter's item if there are none, or
   * if that item contains them. Otherwise the index is read from the lowest missing dot on. The whole table is read if
   * `base` does not contain one of the replica ids.
   *
   * @param base The version vector of the storage that asks. An empty map asks for everything.
   * @param limit The most nodes of a page. When there are more, the page has `next`. It may have fewer nodes then.
   * @param after `next` of the page before.
   * @throws {RangeError} When `after` cannot be the `next` of a page.
   */
  async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    return await this.#use(({ readDelta }, table) => readDelta(table, { base, limit, after }));
  }

  /** The nodes and tombstones of these keys, with their dots. */
  async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    return await this.#use(({ readReplicated }, table) => readReplicated(table, keys));
  }

  /**
   * Writes nodes of other storages with one transaction. Each is written only if the stored node is still the one that
   * it was merged with.
   *
   * @param merges At most 99, no two of the same key.
   * @param collected The collected tombstones that were known when the nodes were merged. Nodes of keys that are not
   *   stored are only written if no other tombstone was collected since. Left out: they are written.
   * @returns For each merge the meta as written; `null` where another node was stored.
   * @throws {TypeError} When two merges have the same key, or a field has the wrong type; then nothing is written.
   * @throws {RangeError} When there are too many, a key has more than 1024 bytes, a version or dot is invalid, or the
   *   counter has reached its end; then nothing is written.
   */
  async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    return await this.#use(({ mergeNodes }, table) => mergeNodes(table, merges, collected));
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
   * @throws {RangeError} When the version vector would have more than 2000 replica ids.
   */
  async adoptVector(
    vector: VersionVector,
    epoch: string,
    collected: VersionVector = new Map(),
    replicaId?: string,
  ): Promise<boolean> {
    const adopted = { vector, collected, epoch, replicaId };
    return await this.#use(({ adoptVector }, table) => adoptVector(table, adopted));
  }

  /**
   * Removes replicas that are gone from the version vector and from the collected tombstones. Costs one read of the
   * counter's item, and a transaction if one is removed.
   *
   * @param replicas Replica id → its entry in the version vector. One whose entry is another one by now stays.
   * @param own The own dot that stands for their collected tombstones. Of another replica id: nothing is removed.
   */
  async forgetReplicas(replicas: VersionVector, own: Dot): Promise<void> {
    await this.#use(({ forgetReplicas }, table) => forgetReplicas(table, replicas, own));
  }

  /**
   * Draws another residue if a storage in `vector`, or one that was merged before, has the same. Costs one read of the
   * counter's item, and a transaction if one is drawn.
   *
   * @param vector Replica id → the highest dot version of that replica that the other storage knows.
   */
  async avoidResidues(vector: VersionVector): Promise<void> {
    await this.#use(({ avoidResidues }, table) => avoidResidues(table, vector));
  }

  /** Numbers changes by the clock from now on. Storages of a mesh must do so. */
  countByClock(): void {
    this.#numbering.joinMesh();
  }

  /**
   * Creates the table with on-demand billing and expiry, and settles once the table can be used. Does nothing if the
   * table exists. Several servers may call it at the same time.
   *
   * @throws {ClosedError} When the storage is closed.
   * @throws {StorageError} When a table of that name has another shape, or DynamoDB fails.
   */
  async createTable(): Promise<void> {
    await this.#use((_, { calls }) => calls.createTable());
  }

  /** Waits for running calls. Later calls reject with a `ClosedError`. The client stays open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const closing = this.#table?.calls.close();
    await Promise.allSettled(this.#running);
    await closing;
  }

  async #read(operation: string, keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return (await this.#use(({ readNodes }, table) => readNodes(table, operation, keys))).nodes;
  }

  async #readState(operation: string): Promise<State> {
    return await this.#use((_, { calls, reader }) => calls.run(operation, (call) => reader.readState(call)));
  }

  /**
   * Works on the table.
   *
   * @throws {ClosedError} When the storage is closed.
   */
  async #use<T>(work: Work<T>): Promise<T> {
    if (this.#isClosed) throw new ClosedError("storage");
    const running = this.#start(work);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #start<T>(work: Work<T>): Promise<T> {
    // Keeps the module and not its promise: on Workers a request may not wait for a promise of another request.
    operations ??= await import("./table_operations.ts");
    this.#table ??= new operations.TableSession(this.#options, this.#numbering);
    return await work(operations, this.#table);
  }
}
