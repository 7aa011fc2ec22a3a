/**
 * A storage in one table of DynamoDB, for servers that share it.
 *
 * What makes it right: one item, the counter's, is written by every commit, in one transaction with the nodes,
 * on the condition that it is still as the writer read it. So commits come one after the other, each with the
 * versions that follow. What makes it less than simple: DynamoDB shows a transaction item by item to whoever
 * reads without a transaction, so a counter of 7 can be read while node 6 still shows its old row, also with
 * consistent reads, and reading in transactions would turn down the writers. Therefore the counter's item also
 * tells what the last commits wrote, and every reading lays that over the rows; a commit leaves the item only
 * when all that it wrote is known to be visible. And since the item tells every commit of a stretch without a
 * gap, two readings of it, before and after the rows, make a reading of one moment.
 *
 * @module
 */
import { ClosedError, StorageError } from "../../src/errors.ts";
import { isNewer } from "../../src/store/node.ts";
import {
  alignNumber,
  counterFloor,
  type CounterKind,
  counterStep,
  coversVector,
  createEpoch,
  createReplicaId,
  dotOf,
  drawResidue,
  isResidueTaken,
  isSameDot,
  joinVectors,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  RESIDUES,
  spreadFloor,
  type StorageChanges,
  type StorageDelta,
  type StorageFeatures,
  type StorageIdentity,
  type StorageMoment,
  type StorageReading,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkCounter, checkMerges, checkMeta } from "../validate.ts";
import { ServiceClock } from "./service_clock.ts";
import {
  type Ask,
  Call,
  checkTableName,
  connect,
  type DynamoDBMethods,
  type DynamoDBSender,
  MissingTableError,
} from "./client.ts";
import { readDelta } from "./delta.ts";
import { TableReader, type TableReading } from "./table_reader.ts";
import { createTable } from "./create_table.ts";
import { collectedAt, collectedVersionAt, expiryOf } from "./expiry.ts";
import type { Draft } from "./next_state.ts";
import { MAX_REPLICAS, maxReportedDot, recentAt, type State, vectorOf } from "./state.ts";
import { dotFields, keepIndexPosition, type NewNode, toMeta, toReplicated } from "./stored_node.ts";
import { fitsTable, MAX_KEY_BYTES } from "./table.ts";
import { TableWriter } from "./table_writer.ts";
import { type ReadStorageOptions, readStorageOptions, type StorageOptions, wrongOption } from "../options.ts";

export type { DynamoDBMethods, DynamoDBSender } from "./client.ts";
export type { CounterKind } from "../options.ts";

/** How a {@linkcode DynamoDBStorage} reaches its table. */
export interface DynamoDBStorageOptions extends StorageOptions {
  /**
   * A `DynamoDB` of `@aws-sdk/client-dynamodb` 3. A `DynamoDBClient` and what wraps one does as well; its
   * commands are then imported from that package when they are first needed, so a bundle that has the package
   * inside itself takes a `DynamoDB`. It stays the caller's: `close()` does not touch it.
   */
  client: DynamoDBMethods | DynamoDBSender;
  /** The table's name, or its ARN. */
  tableName: string;
  /**
   * Whether the first use makes the table where it is not there, which takes some seconds and the permission
   * to. Otherwise it has been made by `createTable()` or from a template.
   *
   * @default {false}
   */
  createTables?: boolean;
  /**
   * How long one call may take with all its retries, in milliseconds. Lower fails sooner; higher bears more
   * throttling. Must be at least 1 and is best kept under the server's `storageTimeout`.
   *
   * @default {8000}
   */
  operationTimeout?: number;
}

const OWN_OPTIONS = ["client", "tableName", "createTables", "operationTimeout"];
const DEFAULT_OPERATION_TIMEOUT = 8000;
/** A transaction takes 100 items, and one of them is the counter's. */
const MAX_CHANGES = 99;
/** How long a table may take to be made, in milliseconds. */
const CREATE_TIMEOUT = 120_000;

/**
 * Keeps nodes in one table of DynamoDB that other servers may share. Each commit is one transaction of up to
 * 99 changes; versions become visible in order, and all reads are strongly consistent.
 *
 * The table is made by {@linkcode DynamoDBStorage.createTable}, or from a template in `storage/README.md`,
 * where costs and limits stand as well.
 *
 * @example
 * ```ts
 * import { DynamoDB } from "@aws-sdk/client-dynamodb";
 * import { DynamoDBStorage } from "@rootlodge/reality-server/dynamodb";
 *
 * const dynamodb = new DynamoDB({ region: "us-east-1" });
 * const storage = new DynamoDBStorage({ client: dynamodb, tableName: "reality-nodes" });
 * // Once, and harmless where the table is there: await storage.createTable();
 * console.assert(storage.features.ordered);
 * await storage.close();
 * dynamodb.destroy();
 * ```
 */
export class DynamoDBStorage implements MeshStorage {
  /** One counter, versions visible in order, deletions told. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    maxChanges: MAX_CHANGES,
  });

  readonly #ask: Ask;
  readonly #tableName: string;
  readonly #createTables: boolean;
  readonly #operationTimeout: number;
  readonly #options: ReadStorageOptions;
  readonly #clock: ServiceClock;
  #counterKind: CounterKind;
  /** Whether it stands beside others. */
  #isMesh = false;
  readonly #reader: TableReader;
  readonly #writer: TableWriter;
  #creating: Promise<void> | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  /**
   * Makes a storage; nothing is asked of DynamoDB before the first use.
   *
   * @param options How to reach the table.
   * @throws {TypeError} When an option is unknown, missing or wrong; names it.
   */
  constructor(options: DynamoDBStorageOptions) {
    this.#options = readStorageOptions(options, "DynamoDBStorage", OWN_OPTIONS);
    const { client, tableName, createTables = false, operationTimeout = DEFAULT_OPERATION_TIMEOUT } = options;
    if (typeof createTables !== "boolean") throw wrongOption("createTables", "true or false", createTables);
    if (typeof operationTimeout !== "number" || !(operationTimeout >= 1 && operationTimeout < 2 ** 31)) {
      throw wrongOption("operationTimeout", "milliseconds, 1 or more", operationTimeout);
    }
    this.#counterKind = this.#options.counter;
    const ask = connect(client);
    const clock = this.#clock = new ServiceClock(client, this.#options.testNow);
    this.#ask = async (...request) => {
      try {
        return await ask(...request);
      } finally {
        // A refusal has a date as well.
        clock.hear();
      }
    };
    this.#tableName = checkTableName(tableName);
    this.#createTables = createTables;
    this.#operationTimeout = operationTimeout;
    this.#reader = new TableReader(
      this.#tableName,
      clock,
      (counter) => this.#counterKind === "sequential" ? 0 : this.#numberAbove(counter, new Map()),
    );
    this.#writer = new TableWriter(this.#reader, this.#tableName, { clock, now: this.#options.now });
  }

  /**
   * The node's current meta; `null` if it was never there or is deleted.
   *
   * @throws {StorageError} When DynamoDB fails or takes too long, as every method here.
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    return (await this.#readNodes("getNode", [key])).nodes.get(key) ?? null;
  }

  /** The current metas of those keys that are there. An empty list asks nothing. */
  async getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return keys.length === 0 ? new Map() : (await this.#readNodes("getNodes", keys)).nodes;
  }

  /**
   * Nodes, counter and epoch of one moment. Where so much is written that six attempts do not find one, nodes
   * may be newer than `maxVersion` says, never older.
   */
  async readNodes(keys: readonly string[]): Promise<StorageReading> {
    return await this.#readNodes("readNodes", keys);
  }

  /**
   * What came after a version, with counter and epoch of the same moment. Costs one read of the counter's item
   * when nothing came, or only what that item still tells.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
   */
  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    return await this.#run("readChanges", async (call) => {
      const { state, nodes } = await this.#reader.readHistory(call, version, limit);
      return { nodes: nodes.map(toMeta), ...this.#momentOf(state) };
    });
  }

  /** The highest version that a reader can see, or that was. */
  async getMaxVersion(): Promise<number> {
    return await this.#run("getMaxVersion", async (call) => (await this.#reader.readState(call)).maxVersion);
  }

  /** The names that the table was given when it was first used. */
  async getIdentity(): Promise<StorageIdentity> {
    return await this.#run("getIdentity", async (call) => {
      const { epoch, replicaId } = await this.#reader.readState(call);
      return { epoch, replicaId };
    });
  }

  /**
   * Begins another life of the data: another epoch, another origin, nothing seen of other storages. Nodes and the
   * counter stay.
   *
   * @returns The new names.
   */
  async newEpoch(): Promise<StorageIdentity> {
    return await this.#run("newEpoch", async (call) => {
      const names = { epoch: createEpoch(this.#options.now()), replicaId: createReplicaId() };
      await this.#writer.commit(call, async () => {
        const state = await this.#reader.readState(call);
        return [state, { nodes: [], counter: state.counter, ...names }];
      });
      return names;
    });
  }

  /** Whether DynamoDB answers and the table is there. Never rejects. */
  async isHealthy(): Promise<boolean> {
    return await this.getMaxVersion().then(() => true, () => false);
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
   */
  async listChangedSince(version: number, limit: number = Infinity): Promise<RealityNodeMeta[]> {
    return await this.#run("listChangedSince", async (call) => {
      return (await this.#reader.readHistory(call, version, limit)).nodes.map(toMeta);
    });
  }

  /**
   * Reserves the next version; no reader sees anything of it.
   *
   * @param _key Not used: one counter serves all keys.
   * @throws {RangeError} When the counter has come to 2^53 − 1.
   */
  async incrementVersion(_key: string): Promise<number> {
    return await this.#run("incrementVersion", async (call) => {
      await this.#ensureResidue(call);
      return await this.#writer.increment(call, (state) => this.#next(state));
    });
  }

  /**
   * Publishes a node unless a newer one is there, and lifts the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field is of the wrong kind.
   * @throws {RangeError} When its version is no integer from 1 to 2^53 − 1, or its key has more than 1024 bytes.
   */
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    await this.#run("setNode", async (call) => {
      checkMeta(key, meta);
      checkKey(key);
      await this.#ensureResidue(call);
      await this.#writer.commit(call, async () => {
        const { state, nodes } = await this.#reader.readNodes(call, [key]);
        const stored = nodes.get(key);
        if (stored && !isNewer(meta, stored)) return [state, undefined];
        const next = this.#next(state);
        // Its number may be counted as seen already, by storages that never saw this node.
        const isOwn = (next - meta.version) % counterStep(this.#counterKind) === 0;
        const dotVersion = meta.version <= maxReportedDot(state) || !isOwn ? next : meta.version;
        checkCounter(dotVersion);
        const trace = dotFields(meta.version, {
          dotVersion,
          indexPosition: Math.max(dotVersion, meta.version),
        });
        const node = { ...this.#storedNode(meta), ...trace };
        const counter = Math.max(state.counter, meta.version, dotVersion);
        return [state, { nodes: [keepIndexPosition(node, stored)], counter }];
      });
    });
  }

  /** Takes a node away: a change with a version of its own, which leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.#apply("deleteNode", [{ key, hash: "", updatedAt: this.#options.now(), deleted: true }]);
  }

  /**
   * Makes many changes at once, each with a version of its own, in the order given, in one transaction.
   *
   * @param changes At most 99, no two of the same key.
   * @returns The metas as written, in the order given.
   * @throws {TypeError} When two changes name one key, or a field is of the wrong kind; then none is made.
   * @throws {RangeError} When there are too many, a key has more than 1024 bytes, or the counter has come to
   *   its end; then none is made.
   */
  async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return await this.#apply("applyChanges", changes);
  }

  /** What this storage has taken in. Costs one read of the counter's item. */
  async readReplicaState(): Promise<ReplicaState> {
    return await this.#run("readReplicaState", async (call) => {
      await this.#ensureResidue(call);
      return this.#replicaStateOf(await this.#reader.readState(call));
    });
  }

  /**
   * Nodes and tombstones with a stamp outside of `base`. Costs one read of the counter's item when there are none,
   * or only what that item still tells; else the index is read from the lowest stamp on that is not in `base`, and
   * the whole table when an origin is not in it at all.
   *
   * @param base What the one who asks has seen; an empty map asks for everything.
   * @param limit When there are more, this page has the first so many, or fewer, and `next`.
   * @param after `next` of the page before.
   * @throws {RangeError} When `after` cannot be the `next` of a page.
   */
  async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    return await this.#run("readDelta", async (call) => {
      if (after !== undefined && !fitsTable(after)) {
        throw new RangeError(
          `Cannot read a page: expected what another one gave as next, got ${after.length} characters`,
        );
      }
      await this.#ensureResidue(call);
      const { state, nodes, next } = await readDelta(this.#reader, call, { base, limit, after });
      return {
        ...this.#replicaStateOf(state),
        nodes: nodes.map((node) => toReplicated(node, state.replicaId)),
        next,
      };
    });
  }

  /** The nodes and tombstones of these keys, with their stamps. */
  async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    if (keys.length === 0) return new Map();
    return await this.#run("readReplicated", async (call) => {
      const { state, nodes } = await this.#reader.readNodes(call, keys);
      return new Map([...nodes].map(([key, node]) => [key, toReplicated(node, state.replicaId)]));
    });
  }

  /**
   * Writes nodes that came from other storages, each only if the node here is still the one it was judged
   * against, in one transaction.
   *
   * @param merges At most 99, no two of the same key.
   * @returns For each the meta as written; `null` where another node was there.
   * @throws {TypeError} As `applyChanges` does; then nothing is written.
   * @throws {RangeError} As `applyChanges` does, and when a version or a stamp is none.
   */
  async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    return await this.#run("mergeNodes", async (call) => {
      checkMerges(merges, MAX_CHANGES);
      const keys = merges.map(({ node }) => node.key);
      keys.forEach(checkKey);
      if (merges.length === 0) return [];
      await this.#ensureResidue(call);
      const written = await this.#writer.commit(call, async () => {
        const view = await this.#reader.readNodes(call, keys);
        return [view.state, this.#draftMerges(merges, view, collected)];
      });
      const nodes = new Map(written.map((node) => [node.key, node]));
      return keys.map((key) => {
        const node = nodes.get(key);
        return node ? toMeta(node) : null;
      });
    });
  }

  /**
   * Notes that everything up to `seen` was taken in, and takes an older epoch for its own.
   *
   * @param collected After a full copy: the tombstones that were swept where it came from.
   * @returns Whether the epoch is another one now.
   * @throws {RangeError} When there are more origins than the counter's item has room for, 2000.
   */
  async adoptVector(
    vector: VersionVector,
    epoch: string,
    collected: VersionVector = new Map(),
  ): Promise<boolean> {
    return await this.#run("adoptVector", async (call) => {
      let isOlder = false;
      await this.#writer.commit(call, async () => {
        const state = await this.#reader.readState(call);
        isOlder = epoch < state.epoch;
        return [
          state,
          draftAdoption(state, { vector: vector, collected: collected, ...(isOlder ? { epoch } : {}) }),
        ];
      });
      return isOlder;
    });
  }

  /**
   * Draws another residue where a storage in `seen`, or one that was taken in before, has the same. Costs one read of
   * the counter's item, and a transaction where one is drawn.
   *
   * @param vector Origin → the highest stamp of that origin known to the other storage.
   */
  async avoidResidues(vector: VersionVector): Promise<void> {
    await this.#run("avoidResidues", async (call) => {
      await this.#writer.commit(call, async () => {
        const state = await this.#reader.readState(call);
        const others = otherReplicas(state, vector);
        return [state, isResidueTaken(others, state.drawn) ? this.#draftResidue(state, others) : undefined];
      });
    });
  }

  /** From now on changes are numbered by the clock, as storages beside each other must. */
  countByClock(): void {
    this.#counterKind = "clock";
    this.#isMesh = true;
  }

  /**
   * Makes the table, on-demand billing and expiry included, and settles once it can be used. Harmless where it
   * is there already and when several servers do it at once.
   *
   * @throws {StorageError} When a table of that name has another shape, or DynamoDB fails.
   */
  async createTable(): Promise<void> {
    if (this.#isClosed) throw new ClosedError("storage");
    this.#creating ??= this.#withCall(
      "createTable",
      CREATE_TIMEOUT,
      (call) => createTable(call, this.#tableName),
    )
      .finally(() => this.#creating = undefined);
    await this.#creating;
  }

  /** Lets what is under way come to its end; later calls reject. The client stays as it is. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled([...this.#running, this.#creating]);
  }

  async #run<T>(operation: string, work: (call: Call) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new ClosedError("storage");
    const running = this.#withCall(operation, this.#operationTimeout, async (call) => {
      try {
        return await work(call);
      } catch (error) {
        const isMissing = error instanceof StorageError && error.cause instanceof MissingTableError;
        if (!isMissing || !this.#createTables) throw error;
        await call.join(this.createTable());
        return await work(call);
      }
    });
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #withCall<T>(operation: string, timeout: number, work: (call: Call) => Promise<T>): Promise<T> {
    const call = new Call(operation, { ask: this.#ask, tableName: this.#tableName }, timeout);
    try {
      return await work(call);
    } finally {
      call.end();
    }
  }

  async #apply(operation: string, changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return await this.#run(operation, async (call) => {
      checkChanges(changes, MAX_CHANGES);
      for (const { key } of changes) checkKey(key);
      if (changes.length === 0) return [];
      await this.#ensureResidue(call);
      const written = await this.#writer.commit(call, async () => {
        const state = this.#reader.last ?? await this.#reader.readState(call);
        const [first, step] = [this.#next(state), counterStep(this.#counterKind)];
        const nodes = changes.map(({ key, hash, updatedAt, deleted }, i) => {
          const version = first + i * step;
          return this.#storedNode({ key, version, hash, updatedAt, ...(deleted ? { deleted } : {}) });
        });
        const counter = first + (changes.length - 1) * step;
        checkCounter(counter);
        return [state, { nodes, counter }];
      });
      return written.map(toMeta);
    });
  }

  /** What of the nodes to be taken is written, where the nodes that are there are these. */
  #draftMerges(
    merges: readonly NodeMerge[],
    { state, nodes: there }: TableReading,
    collected?: VersionVector,
  ): Draft | undefined {
    // Nothing was swept that the judgement did not know of: the commit fails if that changes meanwhile.
    const mayAdd = collected === undefined || coversVector(collected, collectedAt(state, this.#clock.late));
    let counter = state.counter;
    for (const { node, above = 0 } of merges) {
      counter = Math.max(counter, "replicaId" in node ? Math.max(node.version, node.dotVersion) : above);
    }
    const [step, nodes]: [number, NewNode[]] = [counterStep(this.#counterKind), []];
    let next = this.#next({ ...state, counter });
    for (const { node, replaces } of merges) {
      const stored = there.get(node.key);
      if (stored === undefined && !mayAdd) continue;
      if (!isSameDot(stored ? dotOf(toReplicated(stored, state.replicaId)) : null, replaces)) continue;
      let taken: NewNode;
      if ("replicaId" in node) taken = { ...this.#storedNode(node), ...dotFields(node.version, node) };
      else {
        taken = this.#storedNode({ ...node, version: counter = next });
        next += step;
      }
      nodes.push(keepIndexPosition(taken, stored));
    }
    checkCounter(counter);
    return nodes.length === 0 ? undefined : { nodes, counter };
  }

  /** The number that is given next. */
  #next(state: State): number {
    const step = counterStep(this.#counterKind);
    return alignNumber(Math.max(state.counter, this.#floor(state)), state.drawn, step) + step;
  }

  #floor(state: State | undefined): number {
    const now = this.#options.now();
    const hasMetNone = this.#isMesh && (state === undefined || otherReplicas(state, new Map()).size === 0);
    return hasMetNone ? spreadFloor(now) : counterFloor(this.#counterKind, now);
  }

  /** Draws a residue where the table has none: it was made by an older version, or numbered one by one. */
  async #ensureResidue(call: Call): Promise<void> {
    const { last } = this.#reader;
    if (this.#counterKind === "clock" && last?.drawn === 0 || last === undefined) {
      await this.#writer.commit(call, async () => {
        const state = await this.#reader.readState(call);
        // What was numbered by the clock stays so.
        if (state.drawn > 0) this.#counterKind = "clock";
        const isWanted = this.#counterKind === "clock" && state.drawn === 0;
        return [state, isWanted ? this.#draftResidue(state, otherReplicas(state, new Map())) : undefined];
      });
    }
  }

  /** A commit of no nodes, by which a residue is drawn that no other storage has. */
  #draftResidue(state: State, others: VersionVector): Draft {
    const drawn = this.#numberAbove(state.counter, others, state);
    checkCounter(drawn);
    return { nodes: [], counter: drawn, drawn };
  }

  #numberAbove(counter: number, others: VersionVector, state?: State): number {
    const base = Math.max(counter, this.#floor(state));
    return alignNumber(base, drawResidue(others), RESIDUES) + RESIDUES;
  }

  #replicaStateOf(state: State): ReplicaState {
    const { epoch, replicaId, maxVersion } = state;
    return {
      epoch,
      replicaId: replicaId,
      vector: vectorOf(state),
      collected: collectedAt(state, this.#clock.late),
      maxVersion,
    };
  }

  /** A node as it is stored: a tombstone gets the moment after which it may be forgotten. */
  #storedNode(meta: RealityNodeMeta): NewNode {
    const until = meta.deleted ? expiryOf(this.#clock.late, this.#options.tombstoneTimeout) : undefined;
    return until === undefined ? toMeta(meta) : { ...toMeta(meta), until };
  }

  async #readNodes(
    operation: string,
    keys: readonly string[],
  ): Promise<StorageReading & { readonly nodes: Map<string, RealityNodeMeta> }> {
    return await this.#run(operation, async (call) => {
      const { state, nodes: stored, isInconsistent } = await this.#reader.readNodes(call, keys);
      const nodes = new Map<string, RealityNodeMeta>();
      for (const node of stored.values()) if (!node.deleted) nodes.set(node.key, toMeta(node));
      const reading = { nodes, ...this.#momentOf(state) };
      return isInconsistent ? { ...reading, newest: null } : reading;
    });
  }

  #momentOf(state: State): StorageMoment {
    const { maxVersion, epoch, replicaId, late } = state;
    const collectedVersion = collectedVersionAt(state, this.#clock.late);
    return {
      maxVersion,
      epoch,
      replicaId: replicaId,
      collectedVersion: collectedVersion,
      late,
      recent: recentAt(state),
    };
  }
}

/** What was seen of other storages, here or by one that tells so. */
function otherReplicas(state: State, vector: VersionVector): Map<string, number> {
  const others = joinVectors(state.vector, vector);
  others.delete(state.replicaId);
  return others;
}

/** What changes when that much was taken in; nothing if it was before. */
function draftAdoption(
  state: State,
  adopted: { readonly vector: VersionVector; readonly collected: VersionVector; readonly epoch?: string },
): Draft | undefined {
  const { vector: vector, collected: collected, epoch } = adopted;
  let { counter } = state;
  for (const dotVersion of vector.values()) if (dotVersion > counter) counter = dotVersion;
  checkCounter(counter);
  const known = new Map(state.vector).set(state.replicaId, maxReportedDot(state));
  const isKnown = coversVector(known, vector) && coversVector(state.collected, collected);
  if (isKnown && epoch === undefined && counter === state.counter) return undefined;
  const origins = Math.max(joinVectors(known, vector).size, joinVectors(state.collected, collected).size);
  if (origins > MAX_REPLICAS) {
    throw new RangeError(`Cannot note what was seen: at most ${MAX_REPLICAS} origins, got ${origins}`);
  }
  return { nodes: [], counter, ...adopted };
}

function checkKey(key: string): void {
  if (fitsTable(key)) return;
  throw new RangeError(
    `Cannot write a node: expected a key of at most ${MAX_KEY_BYTES} bytes, which a sort key takes, got ${key.length} characters`,
  );
}
