/**
 * A storage in this process's memory. Its data are lost when the process ends. Tests compare other storages with it.
 *
 * @module
 */
import { isNewer } from "../../src/store/node.ts";
import {
  type AppliedMeta,
  coversVector,
  createEpoch,
  createReplicaId,
  type Dot,
  dotOf,
  forgetReplicas,
  isSameDot,
  joinVectors,
  type MeshStorage,
  type NodeChange,
  type NodeLookup,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  type StorageDelta,
  type StorageFeatures,
  type StorageIdentity,
  type StorageReading,
  unknownEntries,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkCounter, checkMerges, checkMeta } from "../validate.ts";
import { readStorageOptions, type StorageOptions } from "../options.ts";
import { missingByVersion, missingPage } from "./delta.ts";
import { NodeColumns, type Placement } from "./node_columns.ts";
import { Numbering } from "./numbering.ts";
import { Tombstones } from "./tombstones.ts";

export type { CounterKind, StorageOptions } from "../options.ts";

/** How a {@linkcode MemoryStorage} numbers changes, and how long it keeps deletions. */
export type MemoryStorageOptions = StorageOptions;

const MAX_CHANGES = 10_000;

/**
 * Keeps nodes in memory, about 120 bytes each beside the text of the key. Every method settles at once. The cost of
 * `listChangedSince` depends on what it returns, not on what is stored.
 *
 * The data are lost when the process ends, and the next process has another epoch. Clients that send the epoch back
 * then fetch again. For clients that send none, versions suffice: changes are numbered by the microseconds since
 * 2020, so the next process does not give an earlier number again. `{ counter: "sequential" }` counts 1, 2, 3
 * instead. Then clients that send no epoch can miss changes after a restart.
 *
 * @example
 * ```ts
 * import { MemoryStorage } from "@rootlodge/reality-server/memory";
 *
 * const storage = new MemoryStorage();
 * const [meta] = await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert(meta !== undefined && meta.version > 0);
 * console.assert((await storage.getNode("user:1"))?.hash === "a1");
 * ```
 */
export class MemoryStorage implements MeshStorage {
  /** One counter; versions become visible in order; deletions are part of the history; no other process can write. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    exclusive: true,
    live: true,
    maxChanges: MAX_CHANGES,
    conditions: true,
  });

  readonly #now: () => number;
  readonly #vector = new Map<string, number>();
  readonly #nodes = new NodeColumns(() => this.#ensureIdentity().replicaId);
  readonly #numbering: Numbering;
  readonly #tombstones: Tombstones;
  readonly #lookup: NodeLookup = {
    get: (key) => this.#nodes.get(key),
    versionOf: (key) => this.#nodes.versionOf(key),
  };
  #identity: StorageIdentity | undefined;
  /** Entries that were forgotten. */
  #forgotten: VersionVector = new Map();
  #maxVersion = 0;
  /** How many nodes were published below the counter. */
  #late = 0;

  /**
   * Makes an empty storage.
   *
   * @param options How to number changes, and how long to keep deletions.
   * @throws {TypeError} When an option is unknown or wrong; the message names it.
   */
  constructor(options: MemoryStorageOptions = {}) {
    const { counter, now, elapsed, tombstoneTimeout } = readStorageOptions(options, "MemoryStorage");
    this.#now = now;
    this.#numbering = new Numbering(counter, this.#vector, now);
    this.#tombstones = new Tombstones(this.#nodes, elapsed, tombstoneTimeout);
  }

  /** The node's current meta; `null` if it never existed or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#nodes.get(key) ?? null);
  }

  /** The current metas of those keys that exist. */
  getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    const nodes = new Map<string, RealityNodeMeta>();
    for (const key of keys) {
      const meta = this.#nodes.get(key);
      if (meta) nodes.set(key, meta);
    }
    return Promise.resolve(nodes);
  }

  /**
   * Counter and identity of this moment, and every node, which is looked up when it is requested.
   *
   * @param _keys Not used: nothing has to be fetched.
   */
  readNodes(_keys: readonly string[]): StorageReading | Promise<StorageReading> {
    const { epoch, replicaId } = this.#ensureIdentity();
    return {
      nodes: this.#lookup,
      maxVersion: this.#maxVersion,
      epoch,
      replicaId,
      collectedVersion: this.#tombstones.collectedVersion,
      late: this.#late,
    };
  }

  /** The highest version that was ever visible. */
  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#maxVersion);
  }

  /** The storage's epoch and replica id. */
  getIdentity(): Promise<StorageIdentity> {
    return Promise.resolve(this.#ensureIdentity());
  }

  /** Gives the data another epoch and another replica id, and empties the version vector. */
  newEpoch(): Promise<StorageIdentity> {
    this.#vector.clear();
    this.#forgotten = new Map();
    this.#identity = Object.freeze({ epoch: createEpoch(this.#now()), replicaId: createReplicaId() });
    return Promise.resolve(this.#identity);
  }

  /** Always true. */
  isHealthy(): Promise<boolean> {
    return Promise.resolve(true);
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The most nodes. Nodes of one version are never separated, so there may be more.
   */
  listChangedSince(version: number, limit: number = Infinity): Promise<RealityNodeMeta[]> {
    const metas: RealityNodeMeta[] = [];
    let last = 0;
    const { order } = this.#nodes;
    for (let slot = order.firstAbove(version); slot !== 0; slot = order.next(slot)) {
      const current = order.versionOf(slot);
      if (metas.length >= limit && current !== last) break;
      metas.push(this.#nodes.metaAt(slot));
      last = current;
    }
    return Promise.resolve(metas);
  }

  /**
   * Reserves the next version. Readers do not see it.
   *
   * @param _key Not used: one counter serves all keys.
   */
  // deno-lint-ignore require-await -- an exception must become a rejection
  async incrementVersion(_key: string): Promise<number> {
    const version = this.#numbering.next();
    checkCounter(version);
    return this.#numbering.counter = version;
  }

  /**
   * Publishes a node unless a newer one is stored, and raises the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field has the wrong type.
   * @throws {RangeError} When its version is not an integer from 1 to 2^53 − 1.
   */
  // deno-lint-ignore require-await -- an exception must become a rejection
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    checkMeta(key, meta);
    this.#tombstones.collect();
    const slot = this.#nodes.slots.get(key);
    if (slot !== undefined && !isNewer(meta, this.#nodes.metaAt(slot))) return;
    // Other storages may have merged everything up to this number, without this node.
    const next = this.#numbering.next();
    const isOwn = (next - meta.version) % this.#numbering.step === 0;
    const dotVersion = meta.version <= this.#numbering.maxDotVersion || !isOwn ? next : meta.version;
    checkCounter(dotVersion);
    if (meta.version <= this.#maxVersion) this.#late++;
    const { replicaId } = this.#ensureIdentity();
    this.#write(meta, { version: meta.version, replicaId, dotVersion });
    this.#numbering.maxDotVersion = dotVersion;
  }

  /** Deletes a node. The deletion is a change with a version of its own, and leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.applyChanges([{ key, hash: "", updatedAt: this.#now(), deleted: true }]);
  }

  /**
   * Makes many changes in one step. Each gets a version of its own, in the order given.
   *
   * @param changes At most 10 000, no two of the same key.
   * @returns The metas as written, in the order given; with `unchanged`, as stored.
   * @throws {TypeError} When two changes have the same key, or a field has the wrong type; then none is made.
   * @throws {RangeError} When there are too many; then none is made.
   */
  applyChanges(changes: readonly NodeChange[]): AppliedMeta[] | Promise<AppliedMeta[]> {
    checkChanges(changes, MAX_CHANGES);
    this.#tombstones.collect();
    const [first, step] = [this.#numbering.next(), this.#numbering.step];
    // Checked first: at the end of all numbers none of the changes is made.
    checkCounter(first + (changes.length - 1) * step);
    // Decided for all before the first is written: conditions are about the nodes before the commit.
    const isConditional = changes.some(({ unless }) => unless !== undefined);
    const unchanged = isConditional ? changes.map((change) => this.#findUnchanged(change)) : undefined;
    return changes.map((change, i) => unchanged?.[i] ?? this.#apply(change, first + i * step));
  }

  /** The storage's version vector, collected tombstones and identity. */
  readReplicaState(): Promise<ReplicaState> {
    return Promise.resolve(this.#replicaState());
  }

  /**
   * Nodes and tombstones whose dots `base` does not include.
   *
   * @param base The version vector of the storage that asks. An empty map asks for everything.
   * @param limit The most nodes of a page. When there are more, the page has `next`.
   * @param after `next` of the page before.
   */
  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const state = this.#replicaState();
    const vectors = { base, vector: state.vector };
    const nodes = after === undefined ? missingByVersion(this.#nodes, vectors, limit) : undefined;
    const page = nodes ? { nodes, next: null } : missingPage(this.#nodes, base, { limit, after });
    return Promise.resolve({ ...state, ...page });
  }

  /** The nodes and tombstones of these keys, with their dots. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = new Map<string, ReplicatedNode>();
    for (const key of keys) {
      const slot = this.#nodes.slots.get(key);
      if (slot !== undefined) nodes.set(key, this.#nodes.replicatedAt(slot));
    }
    return Promise.resolve(nodes);
  }

  /**
   * Writes nodes of other storages in one step. Each is written only if the stored node is still the one that it was
   * merged with.
   *
   * @param merges At most 10 000, no two of the same key.
   * @param collected The collected tombstones that were known when the nodes were merged. Nodes of keys that are not
   *   stored are only written if no other tombstone was collected since. Left out: they are written.
   * @returns For each merge the meta as written; `null` where another node was stored.
   * @throws {TypeError} When two merges have the same key, or a field has the wrong type; then nothing is written.
   * @throws {RangeError} When there are too many, or a version or dot is invalid; then nothing is written.
   */
  // deno-lint-ignore require-await -- an exception must become a rejection
  async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    checkMerges(merges, MAX_CHANGES);
    const mayAdd = collected === undefined || coversVector(collected, this.#tombstones.collected);
    for (const { node, above = 0 } of merges) {
      this.#numbering.raise("replicaId" in node ? Math.max(node.version, node.dotVersion) : above);
    }
    const { step } = this.#numbering;
    let next = this.#numbering.next();
    checkCounter(next + (merges.filter(({ node }) => !("replicaId" in node)).length - 1) * step);
    return merges.map(({ node, replaces }) => {
      const slot = this.#nodes.slots.get(node.key);
      const stored = slot === undefined ? null : dotOf(this.#nodes.replicatedAt(slot));
      if (!isSameDot(stored, replaces) || stored === null && !mayAdd) return null;
      if (!("replicaId" in node)) {
        const version = next;
        next += step;
        return this.#apply(node, version);
      }
      if (node.version <= this.#maxVersion) this.#late++;
      return this.#nodes.metaAt(this.#write(node, node));
    });
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
  adoptVector(
    vector: VersionVector,
    epoch: string,
    collected: VersionVector = new Map(),
    replicaId?: string,
  ): Promise<boolean> {
    const identity = this.#ensureIdentity();
    if (replicaId !== undefined && replicaId !== identity.replicaId) return Promise.resolve(false);
    for (const [replicaId, dotVersion] of unknownEntries(vector, this.#forgotten)) {
      this.#numbering.raise(dotVersion);
      if (replicaId === identity.replicaId || (this.#vector.get(replicaId) ?? 0) >= dotVersion) continue;
      this.#vector.set(replicaId, dotVersion);
    }
    for (const [replicaId, dotVersion] of unknownEntries(collected, this.#forgotten)) {
      this.#tombstones.record(replicaId, dotVersion);
    }
    if (epoch >= identity.epoch) return Promise.resolve(false);
    this.#identity = Object.freeze({ epoch, replicaId: identity.replicaId });
    return Promise.resolve(true);
  }

  /**
   * Draws another residue if a storage in `vector`, or one that was merged before, has the same.
   *
   * @param vector Replica id → the highest dot version of that replica that the other storage knows.
   */
  // deno-lint-ignore require-await -- an exception must become a rejection
  async avoidResidues(vector: VersionVector): Promise<void> {
    const others = joinVectors(this.#vector, vector);
    others.delete(this.#ensureIdentity().replicaId);
    this.#numbering.avoidResidues(others);
  }

  /**
   * Removes replicas that are gone from the version vector and from the collected tombstones.
   *
   * @param replicas Replica id → its entry in the version vector. One whose entry is another one by now stays.
   * @param own The own dot that stands for their collected tombstones. Of another replica id: nothing is removed.
   */
  forgetReplicas(replicas: VersionVector, own: Dot): Promise<void> {
    if (own.replicaId !== this.#ensureIdentity().replicaId) return Promise.resolve();
    const before = {
      vector: this.#vector,
      collected: this.#tombstones.collected,
      forgotten: this.#forgotten,
    };
    const { vector, collected, forgotten = this.#forgotten } = forgetReplicas(before, replicas, own);
    for (const replicaId of this.#vector.keys()) if (!vector.has(replicaId)) this.#vector.delete(replicaId);
    this.#tombstones.collected = collected;
    this.#forgotten = forgotten;
    return Promise.resolve();
  }

  /** Numbers changes by the clock from now on. Storages of a mesh must do so. */
  countByClock(): void {
    this.#numbering.joinMesh();
  }

  #replicaState(): ReplicaState {
    this.#tombstones.collect();
    this.#numbering.ensureResidue();
    const { epoch, replicaId } = this.#ensureIdentity();
    return {
      epoch,
      replicaId,
      vector: new Map(this.#vector).set(replicaId, this.#numbering.maxDotVersion),
      collected: new Map(this.#tombstones.collected),
      ...(this.#forgotten.size > 0 ? { forgotten: this.#forgotten } : {}),
      maxVersion: this.#maxVersion,
    };
  }

  /** What a change that is not to be written returns; `undefined` for one that is. */
  #findUnchanged({ key, hash, updatedAt, unless }: NodeChange): AppliedMeta | undefined {
    if (unless === undefined || this.#vector.size > 0) return undefined;
    if (!unless.every((node) => this.#nodes.get(node.key)?.hash === node.hash)) return undefined;
    return { ...this.#nodes.get(key) ?? { key, version: 0, hash, updatedAt }, unchanged: true };
  }

  /** Writes a change of this storage's own. */
  #apply(change: NodeChange, version: number): RealityNodeMeta {
    const { key, hash, updatedAt, deleted } = change;
    const { replicaId } = this.#ensureIdentity();
    this.#write(change, { version, replicaId, dotVersion: version });
    this.#numbering.maxDotVersion = version;
    const meta: RealityNodeMeta = { key, version, hash, updatedAt };
    if (deleted) meta.deleted = true;
    return meta;
  }

  /** Writes a node or tombstone, and returns its slot. */
  #write(node: NodeChange | RealityNodeMeta, at: Placement): number {
    const slot = this.#nodes.ensureSlot(node.key);
    if (this.#nodes.isDeleted(slot)) this.#tombstones.remove(slot);
    this.#nodes.fill(slot, node, at);
    this.#tombstones.countWrite();
    if (node.deleted) this.#tombstones.add(slot);
    this.#numbering.raise(Math.max(at.version, at.dotVersion));
    this.#maxVersion = Math.max(this.#maxVersion, at.version);
    return slot;
  }

  /** The identity is made at the first use: a Worker must not use random numbers while it starts. */
  #ensureIdentity(): StorageIdentity {
    return this.#identity ??= Object.freeze({
      epoch: createEpoch(this.#now()),
      replicaId: createReplicaId(),
    });
  }
}
