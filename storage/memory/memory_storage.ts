/**
 * A storage in this process's memory: gone when the process ends, and the reference the others are compared
 * with.
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

/** How a {@linkcode MemoryStorage} counts and forgets. */
export type MemoryStorageOptions = StorageOptions;

const MAX_CHANGES = 10_000;

/** So many tombstones are swept at once, and two more for each node that was written before, ... */
const MAX_COLLECTED = 100;
/** ... up to so many nodes: a longer list is swept for in several steps. */
const MAX_COUNTED = 500;

/**
 * Keeps nodes in memory, about 110 bytes each beside the text of the key. Every method settles at once, and
 * `listChangedSince` costs what it returns, not what is stored.
 *
 * The data is gone when the process ends, and the next life has another epoch. Clients that send the epoch
 * back then refetch. Clients that send none are told by their versions: changes are numbered by the microseconds
 * since 2020, so that the next life does not give the numbers of an earlier one again. `{ counter: "sequential" }`
 * counts 1, 2, 3 instead; after a restart, clients that send no epoch can then miss changes.
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
  /** One counter, versions visible in order, deletions told, nobody else can write. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    exclusive: true,
    live: true,
    maxChanges: MAX_CHANGES,
  });

  readonly #options: ReadStorageOptions;
  #counterKind: CounterKind;
  /** Whether it stands beside others. */
  #isMesh = false;
  #identity: StorageIdentity | undefined;
  // A node is a slot in these columns: a fraction of what an object and its boxed numbers take.
  readonly #slots = new Map<string, number>();
  readonly #order = new VersionOrder();
  readonly #keys: string[] = [""];
  readonly #hashes: string[] = [""];
  #updatedAt = new Float64Array(1024);
  #deleted = new Uint8Array(1024);
  /** By slot: where in `#replicaIds` the origin of its stamp stands. */
  #replicaOf = new Uint32Array(1024);
  /** The own origin is the first. */
  readonly #replicaIds: string[] = [""];
  /** By slot, where it is not the version: the stamp of a node that was published below the counter. */
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
  /** The slots of tombstones in order of the moments from which on they may be swept. */
  readonly #tombstones = new VersionOrder();
  /** How many nodes were written for which no tombstones were swept yet. */
  #uncounted = 0;
  #counter = 0;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  #drawn = 0;
  #maxVersion = 0;
  /** What is told as seen of the own origin: nothing is ever published at or below it. */
  #maxDotVersion = 0;
  #collectedVersion = 0;
  /** How many nodes came with a version already passed. */
  #late = 0;

  /**
   * Makes an empty storage.
   *
   * @param options How to count and when to forget deletions.
   * @throws {TypeError} When an option is unknown or wrong; names it.
   */
  constructor(options: MemoryStorageOptions = {}) {
    this.#options = readStorageOptions(options, "MemoryStorage");
    this.#counterKind = this.#options.counter;
  }

  /** The node's current meta; `null` if it was never there or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#read(key) ?? null);
  }

  /** The current metas of those keys that are there. */
  getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return Promise.resolve(this.#readAll(keys));
  }

  /**
   * Counter and names of this moment, and every node, looked up when it is asked for.
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

  /** The highest version that a reader can see, or that was. */
  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#maxVersion);
  }

  /** The names of this storage, for as long as it lives. */
  getIdentity(): Promise<StorageIdentity> {
    return Promise.resolve(this.#ensureIdentity());
  }

  /** Begins another life of the data: another epoch, another origin, nothing seen of other storages. */
  newEpoch(): Promise<StorageIdentity> {
    this.#vector.clear();
    this.#identity = Object.freeze({ epoch: createEpoch(this.#options.now()), replicaId: createReplicaId() });
    return Promise.resolve(this.#identity);
  }

  /** True: memory answers as long as the process does. */
  isHealthy(): Promise<boolean> {
    return Promise.resolve(true);
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
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
   * Reserves the next version; no reader sees anything of it.
   *
   * @param _key Not used: one counter serves all keys.
   */
  // deno-lint-ignore require-await -- what it throws must reject
  async incrementVersion(_key: string): Promise<number> {
    const version = this.#next();
    checkCounter(version);
    return this.#counter = version;
  }

  /** Publishes a node unless a newer one is there, and lifts the counter to at least its version. */
  // deno-lint-ignore require-await -- what it throws must reject
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    checkMeta(key, meta);
    this.#collect();
    const slot = this.#slots.get(key);
    if (slot !== undefined && !isNewer(meta, this.#metaAt(slot))) return;
    // Its number may be counted as seen already, by storages that never saw this node.
    const next = this.#next();
    const isOwn = (next - meta.version) % counterStep(this.#counterKind) === 0;
    const dotVersion = meta.version <= this.#maxDotVersion || !isOwn ? next : meta.version;
    checkCounter(dotVersion);
    if (meta.version <= this.#maxVersion) this.#late++;
    this.#write(meta, meta.version, { version: dotVersion, replicaId: this.#ensureIdentity().replicaId });
    this.#maxDotVersion = dotVersion;
  }

  /** Takes a node away: a change with a version of its own, which leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.applyChanges([{ key, hash: "", updatedAt: this.#options.now(), deleted: true }]);
  }

  /**
   * Makes many changes at once, each with a version of its own, in the order given.
   *
   * @param changes At most 10 000, no two of the same key.
   * @returns The metas as written, in the order given.
   * @throws {TypeError} When two changes name one key, or a field is of the wrong kind; then none is made.
   * @throws {RangeError} When there are too many; then none is made.
   */
  applyChanges(changes: readonly NodeChange[]): RealityNodeMeta[] | Promise<RealityNodeMeta[]> {
    checkChanges(changes, MAX_CHANGES);
    this.#collect();
    const [first, step] = [this.#next(), counterStep(this.#counterKind)];
    // The end of all numbers is looked for first: there, none of the changes is made.
    checkCounter(first + (changes.length - 1) * step);
    return changes.map((change, i) => this.#apply(change, first + i * step));
  }

  /** What this storage has taken in. */
  readReplicaState(): Promise<ReplicaState> {
    return Promise.resolve(this.#replicaState());
  }

  /**
   * Nodes and tombstones with a stamp outside of `base`.
   *
   * @param base What the one who asks has seen; an empty map asks for everything.
   * @param limit When there are more, this page has the first so many, and `next`.
   * @param after `next` of the page before.
   */
  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const state = this.#replicaState();
    const found = after === undefined ? this.#missingByVersion(base, state.vector, limit) : undefined;
    return Promise.resolve(
      found ? { ...state, nodes: found, next: null } : { ...state, ...this.#missingPage(base, limit, after) },
    );
  }

  /** The nodes and tombstones of these keys, with their stamps. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = new Map<string, ReplicatedNode>();
    for (const key of keys) {
      const slot = this.#slots.get(key);
      if (slot !== undefined) nodes.set(key, this.#replicatedAt(slot));
    }
    return Promise.resolve(nodes);
  }

  /**
   * Writes nodes that came from other storages, each only if the node here is still the one it was judged
   * against.
   *
   * @param merges At most 10 000, no two of the same key.
   * @param collected The swept tombstones that were known when the takes were judged.
   * @returns For each the meta as written; `null` where another node was there.
   * @throws As `applyChanges` does; then nothing is written.
   */
  // deno-lint-ignore require-await -- what it throws must reject
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
   * Notes that everything up to `seen` was taken in, and takes an older epoch for its own.
   *
   * @param collected After a full copy: the tombstones that were swept where it came from.
   * @returns Whether the epoch is another one now.
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
   * Draws another residue where a storage in `seen`, or one that was taken in before, has the same.
   *
   * @param vector Origin → the highest stamp of that origin known to the other storage.
   */
  // deno-lint-ignore require-await -- what it throws must reject
  async avoidResidues(vector: VersionVector): Promise<void> {
    const others = joinVectors(this.#vector, vector);
    others.delete(this.#ensureIdentity().replicaId);
    if (isResidueTaken(others, this.#drawn)) this.#drawResidue(others);
  }

  /** From now on changes are numbered by the clock, as storages beside each other must. */
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

  /** All that lies outside of `base`, found by version; undefined when it is more than `limit`. */
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

  /** The next so many outside of `base`, in the order of their slots, which a key keeps. */
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

  /** A meta of the caller's own: what is done to it does not reach the storage. */
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

  /** The number that is given next. */
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

  /** Whether a tombstone is there that is not kept for ever. */
  #expires(slot: number): boolean {
    return this.#deleted[slot] === 1 && this.#options.tombstoneTimeout < Infinity;
  }

  /** The names are made at the first question: a Worker may not draw chance while it starts. */
  #ensureIdentity(): StorageIdentity {
    return this.#identity ??= Object.freeze({
      epoch: createEpoch(this.#options.now()),
      replicaId: createReplicaId(),
    });
  }

  /** Forgets the oldest tombstones whose time is over; so many at most that no write takes long. */
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
