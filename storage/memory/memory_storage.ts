/**
 * A storage in this process's memory. Its data are lost when the process ends. Tests compare other storages with it.
 *
 * @module
 */
import { isNewer } from "../../src/store/node.ts";
import {
  alignNumber,
  counterFloor,
  counterStep,
  coversVector,
  createEpoch,
  createReplicaId,
  type Dot,
  dotOf,
  drawResidue,
  includesDot,
  isResidueTaken,
  isSameDot,
  joinVectors,
  lowestMissing,
  type MeshStorage,
  type NodeChange,
  type NodeLookup,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  RESIDUES,
  spreadFloor,
  type StorageDelta,
  type StorageFeatures,
  type StorageIdentity,
  type StorageReading,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkCounter, checkMerges, checkMeta } from "../validate.ts";
import {
  type CounterKind,
  type ReadStorageOptions,
  readStorageOptions,
  type StorageOptions,
} from "../options.ts";
import { VersionOrder } from "./version_order.ts";

export type { CounterKind, StorageOptions } from "../options.ts";

/** How a {@linkcode MemoryStorage} numbers changes, and how long it keeps deletions. */
export type MemoryStorageOptions = StorageOptions;

const MAX_CHANGES = 10_000;

/** How many tombstones one write collects, plus two for each node that was written since the last collection, ... */
const MAX_COLLECTED = 100;
/** ... up to this many nodes. More nodes are counted for later writes. */
const MAX_COUNTED = 500;

/**
 * Keeps nodes in memory, about 110 bytes each beside the text of the key. Every method settles at once. The cost of
 * `listChangedSince` depends on what it returns, not on what is stored.
 *
 * The data are lost when the process ends, and the next process has another epoch. Clients that send the epoch back then
 * fetch again. For clients that send none, versions suffice: changes are numbered by the microseconds since 2020, so the
 * next process does not give an earlier number again. `{ counter: "sequential" }` counts 1, 2, 3 instead. Then clients
 * that send no epoch can miss changes after a restart.
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
  });

  readonly #options: ReadStorageOptions;
  #counterKind: CounterKind;
  /** Whether the storage is part of a mesh. */
  #isMesh = false;
  #identity: StorageIdentity | undefined;
  // A node is a slot in these columns. That takes a fraction of the memory of an object with boxed numbers.
  readonly #slots = new Map<string, number>();
  readonly #order = new VersionOrder();
  readonly #keys: string[] = [""];
  readonly #hashes: string[] = [""];
  #updatedAt = new Float64Array(1024);
  #deleted = new Uint8Array(1024);
  /** By slot: the index in `#replicaIds` of its dot's replica id. */
  #replicaOf = new Uint32Array(1024);
  /** The first one stands for the storage's own. */
  readonly #replicaIds: string[] = [""];
  /** By slot, where it is not the version: the version of the node's dot. */
  readonly #lateDots = new Map<number, number>();
  readonly #vector = new Map<string, number>();
  readonly #collected = new Map<string, number>();
  readonly #freeSlots: number[] = [];
  readonly #lookup: NodeLookup = {
    get: (key) => this.#read(key),
    versionOf: (key) => {
      const slot = this.#slots.get(key);
      return slot === undefined || this.#deleted[slot] === 1 ? 0 : this.#order.versionOf(slot);
    },
  };
  /** The slots of tombstones, in order of the times from which on they may be collected. */
  readonly #tombstones = new VersionOrder();
  /** How many nodes were written that no collection has counted yet. */
  #uncounted = 0;
  #counter = 0;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  #drawn = 0;
  #maxVersion = 0;
  /** The highest own dot version in the version vector. No own dot at or below it is ever published. */
  #maxDotVersion = 0;
  #collectedVersion = 0;
  /** How many nodes were published below the counter. */
  #late = 0;

  /**
   * Makes an empty storage.
   *
   * @param options How to number changes, and how long to keep deletions.
   * @throws {TypeError} When an option is unknown or wrong; the message names it.
   */
  constructor(options: MemoryStorageOptions = {}) {
    this.#options = readStorageOptions(options, "MemoryStorage");
    this.#counterKind = this.#options.counter;
  }

  /** The node's current meta; `null` if it never existed or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#read(key) ?? null);
  }

  /** The current metas of those keys that exist. */
  getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return Promise.resolve(this.#readAll(keys));
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
      collectedVersion: this.#collectedVersion,
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
    this.#identity = Object.freeze({ epoch: createEpoch(this.#options.now()), replicaId: createReplicaId() });
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
    for (let slot = this.#order.firstAbove(version); slot !== 0; slot = this.#order.next(slot)) {
      const current = this.#order.versionOf(slot);
      if (metas.length >= limit && current !== last) break;
      metas.push(this.#metaAt(slot));
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
    const version = this.#next();
    checkCounter(version);
    return this.#counter = version;
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
    this.#collect();
    const slot = this.#slots.get(key);
    if (slot !== undefined && !isNewer(meta, this.#metaAt(slot))) return;
    // Other storages may have merged everything up to this number, without this node.
    const next = this.#next();
    const isOwn = (next - meta.version) % counterStep(this.#counterKind) === 0;
    const dotVersion = meta.version <= this.#maxDotVersion || !isOwn ? next : meta.version;
    checkCounter(dotVersion);
    if (meta.version <= this.#maxVersion) this.#late++;
    this.#write(meta, meta.version, { version: dotVersion, replicaId: this.#ensureIdentity().replicaId });
    this.#maxDotVersion = dotVersion;
  }

  /** Deletes a node. The deletion is a change with a version of its own, and leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.applyChanges([{ key, hash: "", updatedAt: this.#options.now(), deleted: true }]);
  }

  /**
   * Makes many changes in one step. Each gets a version of its own, in the order given.
   *
   * @param changes At most 10 000, no two of the same key.
   * @returns The metas as written, in the order given.
   * @throws {TypeError} When two changes have the same key, or a field has the wrong type; then none is made.
   * @throws {RangeError} When there are too many; then none is made.
   */
  applyChanges(changes: readonly NodeChange[]): RealityNodeMeta[] | Promise<RealityNodeMeta[]> {
    checkChanges(changes, MAX_CHANGES);
    this.#collect();
    const [first, step] = [this.#next(), counterStep(this.#counterKind)];
    // Checked first: at the end of all numbers none of the changes is made.
    checkCounter(first + (changes.length - 1) * step);
    return changes.map((change, i) => this.#apply(change, first + i * step));
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
    const found = after === undefined ? this.#missingByVersion(base, state.vector, limit) : undefined;
    return Promise.resolve(
      found ? { ...state, nodes: found, next: null } : { ...state, ...this.#missingPage(base, limit, after) },
    );
  }

  /** The nodes and tombstones of these keys, with their dots. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = new Map<string, ReplicatedNode>();
    for (const key of keys) {
      const slot = this.#slots.get(key);
      if (slot !== undefined) nodes.set(key, this.#replicatedAt(slot));
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
    const mayAdd = collected === undefined || coversVector(collected, this.#collected);
    for (const { node, above = 0 } of merges) {
      const highest = "replicaId" in node ? Math.max(node.version, node.dotVersion) : above;
      this.#counter = Math.max(this.#counter, highest);
    }
    const step = counterStep(this.#counterKind);
    let next = this.#next();
    checkCounter(next + (merges.filter(({ node }) => !("replicaId" in node)).length - 1) * step);
    return merges.map(({ node, replaces }) => {
      const slot = this.#slots.get(node.key);
      const there = slot === undefined ? null : dotOf(this.#replicatedAt(slot));
      if (!isSameDot(there, replaces) || there === null && !mayAdd) return null;
      if (!("replicaId" in node)) {
        const version = next;
        next += step;
        return this.#apply(node, version);
      }
      if (node.version <= this.#maxVersion) this.#late++;
      this.#write(node, node.version, dotOf(node));
      return this.#metaAt(this.#slots.get(node.key) ?? 0);
    });
  }

  /**
   * Joins the version vector of another storage whose nodes were merged, and adopts its epoch if that is older.
   *
   * @param vector Its version vector.
   * @param epoch Its epoch.
   * @param collected Its collected tombstones, after a full copy.
   * @returns Whether the epoch changed.
   */
  adoptVector(vector: VersionVector, epoch: string, collected: VersionVector = new Map()): Promise<boolean> {
    const identity = this.#ensureIdentity();
    for (const [replicaId, dotVersion] of vector) {
      this.#counter = Math.max(this.#counter, dotVersion);
      if (replicaId === identity.replicaId || (this.#vector.get(replicaId) ?? 0) >= dotVersion) continue;
      this.#vector.set(replicaId, dotVersion);
    }
    for (const [replicaId, dotVersion] of collected) {
      this.#collected.set(replicaId, Math.max(this.#collected.get(replicaId) ?? 0, dotVersion));
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
    if (isResidueTaken(others, this.#drawn)) this.#drawResidue(others);
  }

  /** Numbers changes by the clock from now on. Storages of a mesh must do so. */
  countByClock(): void {
    this.#counterKind = "clock";
    this.#isMesh = true;
  }

  #replicaState(): ReplicaState {
    this.#collect();
    if (this.#counterKind === "clock" && this.#drawn === 0) this.#drawResidue(this.#vector);
    const { epoch, replicaId } = this.#ensureIdentity();
    const vector = new Map(this.#vector).set(replicaId, this.#maxDotVersion);
    return {
      epoch,
      replicaId,
      vector: vector,
      collected: new Map(this.#collected),
      maxVersion: this.#maxVersion,
    };
  }

  /** All nodes whose dots `base` does not include, found by version; `undefined` if there are more than `limit`. */
  #missingByVersion(base: VersionVector, vector: VersionVector, limit: number): ReplicatedNode[] | undefined {
    const nodes: ReplicatedNode[] = [];
    const lowest = lowestMissing(base, vector);
    for (let slot = this.#order.firstAbove(lowest); slot !== 0; slot = this.#order.next(slot)) {
      const node = this.#replicatedAt(slot);
      if (this.#lateDots.has(slot) || includesDot(base, dotOf(node))) continue;
      if (nodes.push(node) > limit) return undefined;
    }
    for (const [slot, dot] of this.#lateDots) {
      if (dot <= lowest) continue;
      const node = this.#replicatedAt(slot);
      if (!includesDot(base, dotOf(node)) && nodes.push(node) > limit) return undefined;
    }
    return nodes;
  }

  /** The next nodes whose dots `base` does not include, in the order of their slots, which a key keeps. */
  #missingPage(
    base: VersionVector,
    limit: number,
    after: string = "0",
  ): Pick<StorageDelta, "nodes" | "next"> {
    const nodes: ReplicatedNode[] = [];
    for (let slot = Number(after) + 1; slot < this.#keys.length; slot++) {
      if (this.#keys[slot] === "") continue;
      const node = this.#replicatedAt(slot);
      if (includesDot(base, dotOf(node))) continue;
      if (nodes.push(node) >= limit) return { nodes, next: String(slot) };
    }
    return { nodes, next: null };
  }

  /** Writes a change of this storage's own. */
  #apply(change: NodeChange, version: number): RealityNodeMeta {
    const { key, hash, updatedAt, deleted } = change;
    this.#write(change, version, { version, replicaId: this.#ensureIdentity().replicaId });
    this.#maxDotVersion = version;
    const meta: RealityNodeMeta = { key, version, hash, updatedAt };
    if (deleted) meta.deleted = true;
    return meta;
  }

  #read(key: string): RealityNodeMeta | undefined {
    const slot = this.#slots.get(key);
    return slot === undefined || this.#deleted[slot] === 1 ? undefined : this.#metaAt(slot);
  }

  #readAll(keys: readonly string[]): Map<string, RealityNodeMeta> {
    const nodes = new Map<string, RealityNodeMeta>();
    for (const key of keys) {
      const meta = this.#read(key);
      if (meta) nodes.set(key, meta);
    }
    return nodes;
  }

  /** A copy for the caller. Changing it does not change the storage. */
  #metaAt(slot: number): RealityNodeMeta {
    const meta: RealityNodeMeta = {
      key: this.#keys[slot] ?? "",
      version: this.#order.versionOf(slot),
      hash: this.#hashes[slot] ?? "",
      updatedAt: this.#updatedAt[slot] ?? 0,
    };
    if (this.#deleted[slot] === 1) meta.deleted = true;
    return meta;
  }

  #replicatedAt(slot: number): ReplicatedNode {
    const meta = this.#metaAt(slot);
    const replicaId = this.#replicaIds[this.#replicaOf[slot] ?? 0] || this.#ensureIdentity().replicaId;
    return { ...meta, replicaId: replicaId, dotVersion: this.#lateDots.get(slot) ?? meta.version };
  }

  #replicaIndex(replicaId: string): number {
    if (replicaId === this.#ensureIdentity().replicaId) return 0;
    const slot = this.#replicaIds.indexOf(replicaId);
    return slot !== -1 ? slot : this.#replicaIds.push(replicaId) - 1;
  }

  /** The next number. */
  #next(): number {
    if (this.#counterKind === "clock" && this.#drawn === 0) this.#drawResidue(this.#vector);
    const base = Math.max(this.#counter, this.#floor());
    const step = counterStep(this.#counterKind);
    return alignNumber(base, this.#drawn, step) + step;
  }

  #floor(): number {
    const now = this.#options.now();
    return this.#isMesh && this.#vector.size === 0 ? spreadFloor(now) : counterFloor(this.#counterKind, now);
  }

  /** Draws a residue that no other storage has, with a number that no node will have. */
  #drawResidue(others: VersionVector): void {
    const base = Math.max(this.#counter, this.#floor());
    const number = alignNumber(base, drawResidue(others), RESIDUES) + RESIDUES;
    checkCounter(number);
    this.#counter = this.#maxDotVersion = this.#drawn = number;
  }

  #write(
    { key, hash, updatedAt, deleted }: NodeChange | RealityNodeMeta,
    version: number,
    dot: Dot,
  ): void {
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = this.#freeSlots.pop() ?? this.#keys.length;
      if (slot >= this.#updatedAt.length) this.#grow(slot);
      this.#slots.set(key, slot);
      this.#keys[slot] = key;
    } else {
      this.#order.remove(slot);
      if (this.#expires(slot)) this.#tombstones.remove(slot);
    }
    this.#order.insert(slot, version);
    this.#hashes[slot] = hash;
    this.#updatedAt[slot] = updatedAt;
    this.#deleted[slot] = deleted ? 1 : 0;
    this.#replicaOf[slot] = this.#replicaIndex(dot.replicaId);
    if (dot.version === version) this.#lateDots.delete(slot);
    else this.#lateDots.set(slot, dot.version);
    this.#uncounted++;
    this.#counter = Math.max(this.#counter, version, dot.version);
    this.#maxVersion = Math.max(this.#maxVersion, version);
    if (this.#expires(slot)) {
      const { elapsed, tombstoneTimeout } = this.#options;
      this.#tombstones.insert(slot, elapsed() + tombstoneTimeout);
    }
  }

  /** Whether the slot has a tombstone that is not kept for ever. */
  #expires(slot: number): boolean {
    return this.#deleted[slot] === 1 && this.#options.tombstoneTimeout < Infinity;
  }

  /** The identity is made at the first use: a Worker must not use random numbers while it starts. */
  #ensureIdentity(): StorageIdentity {
    return this.#identity ??= Object.freeze({
      epoch: createEpoch(this.#options.now()),
      replicaId: createReplicaId(),
    });
  }

  /** Deletes the oldest expired tombstones: so many at most that no write takes long. */
  #collect(): void {
    const now = this.#options.elapsed();
    const written = Math.min(this.#uncounted, MAX_COUNTED);
    this.#uncounted -= written;
    for (let left = MAX_COLLECTED + 2 * written; left > 0; left--) {
      const slot = this.#tombstones.next(0);
      if (slot === 0 || this.#tombstones.versionOf(slot) > now) return;
      const { key, version, replicaId, dotVersion } = this.#replicatedAt(slot);
      this.#collected.set(replicaId, Math.max(this.#collected.get(replicaId) ?? 0, dotVersion));
      this.#collectedVersion = Math.max(this.#collectedVersion, version);
      this.#lateDots.delete(slot);
      this.#tombstones.remove(slot);
      this.#order.remove(slot);
      this.#slots.delete(key);
      this.#keys[slot] = this.#hashes[slot] = "";
      this.#freeSlots.push(slot);
    }
  }

  #grow(slot: number): void {
    const size = Math.ceil(Math.max(slot + 1, this.#updatedAt.length * 1.5));
    const updatedAt = new Float64Array(size);
    updatedAt.set(this.#updatedAt);
    this.#updatedAt = updatedAt;
    const deleted = new Uint8Array(size);
    deleted.set(this.#deleted);
    this.#deleted = deleted;
    const replicaOf = new Uint32Array(size);
    replicaOf.set(this.#replicaOf);
    this.#replicaOf = replicaOf;
  }
}
