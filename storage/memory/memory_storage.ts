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
const MAX_SWEPT = 100;
/** ... up to so many nodes: a longer list is swept for in several steps. */
const MAX_PAID = 500;

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
  #isBeside = false;
  #identity: StorageIdentity | undefined;
  // A node is a place in these columns: a fraction of what an object and its boxed numbers take.
  readonly #places = new Map<string, number>();
  readonly #order = new VersionOrder();
  readonly #keys: string[] = [""];
  readonly #hashes: string[] = [""];
  #updatedAt = new Float64Array(1024);
  #deleted = new Uint8Array(1024);
  /** By place: where in `#origins` the origin of its stamp stands. */
  #originOf = new Uint32Array(1024);
  /** The own origin is the first. */
  readonly #origins: string[] = [""];
  /** By place, where it is not the version: the stamp of a node that was published below the counter. */
  readonly #lateStamps = new Map<number, number>();
  readonly #vector = new Map<string, number>();
  readonly #collected = new Map<string, number>();
  readonly #freePlaces: number[] = [];
  readonly #lookup: NodeLookup = {
    get: (key) => this.#read(key),
    versionOf: (key) => {
      const place = this.#places.get(key);
      return place === undefined || this.#deleted[place] === 1 ? 0 : this.#order.versionOf(place);
    },
  };
  /** The places of tombstones in order of the moments from which on they may be swept. */
  readonly #tombstones = new VersionOrder();
  /** How many nodes were written for which no tombstones were swept yet. */
  #unpaid = 0;
  #counter = 0;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  #drawn = 0;
  #maxVersion = 0;
  /** What is told as seen of the own origin: nothing is ever published at or below it. */
  #maxStamp = 0;
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
    const { epoch, replicaId } = this.#identify();
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
    return Promise.resolve(this.#identify());
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
    for (let place = this.#order.firstAbove(version); place !== 0; place = this.#order.next(place)) {
      const current = this.#order.versionOf(place);
      if (metas.length >= limit && current !== last) break;
      metas.push(this.#metaAt(place));
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
    this.#sweep();
    const place = this.#places.get(key);
    if (place !== undefined && !isNewer(meta, this.#metaAt(place))) return;
    // Its number may be counted as seen already, by storages that never saw this node.
    const next = this.#next();
    const isOwn = (next - meta.version) % counterStep(this.#counterKind) === 0;
    const dotVersion = meta.version <= this.#maxStamp || !isOwn ? next : meta.version;
    checkCounter(dotVersion);
    if (meta.version <= this.#maxVersion) this.#late++;
    this.#write(meta, meta.version, { version: dotVersion, replicaId: this.#identify().replicaId });
    this.#maxStamp = dotVersion;
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
    this.#sweep();
    const [first, step] = [this.#next(), counterStep(this.#counterKind)];
    // The end of all numbers is looked for first: there, none of the changes is made.
    checkCounter(first + (changes.length - 1) * step);
    return changes.map((change, i) => this.#apply(change, first + i * step));
  }

  /** What this storage has taken in. */
  readReplicaState(): Promise<ReplicaState> {
    return Promise.resolve(this.#readSeen());
  }

  /**
   * Nodes and tombstones with a stamp outside of `base`.
   *
   * @param base What the one who asks has seen; an empty map asks for everything.
   * @param limit When there are more, this page has the first so many, and `next`.
   * @param after `next` of the page before.
   */
  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const state = this.#readSeen();
    const found = after === undefined ? this.#newest(base, state.vector, limit) : undefined;
    return Promise.resolve(
      found ? { ...state, nodes: found, next: null } : { ...state, ...this.#page(base, limit, after) },
    );
  }

  /** The nodes and tombstones of these keys, with their stamps. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = new Map<string, ReplicatedNode>();
    for (const key of keys) {
      const place = this.#places.get(key);
      if (place !== undefined) nodes.set(key, this.#stampedAt(place));
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
      const place = this.#places.get(node.key);
      const there = place === undefined ? null : dotOf(this.#stampedAt(place));
      if (!isSameDot(there, replaces) || there === null && !mayAdd) return null;
      if (!("replicaId" in node)) {
        const version = next;
        next += step;
        return this.#apply(node, version);
      }
      if (node.version <= this.#maxVersion) this.#late++;
      this.#write(node, node.version, dotOf(node));
      return this.#metaAt(this.#places.get(node.key) ?? 0);
    });
  }

  /**
   * Notes that everything up to `seen` was taken in, and takes an older epoch for its own.
   *
   * @param collected After a full copy: the tombstones that were swept where it came from.
   * @returns Whether the epoch is another one now.
   */
  adoptVector(vector: VersionVector, epoch: string, collected: VersionVector = new Map()): Promise<boolean> {
    const identity = this.#identify();
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
    others.delete(this.#identify().replicaId);
    if (isResidueTaken(others, this.#drawn)) this.#draw(others);
  }

  /** From now on changes are numbered by the clock, as storages beside each other must. */
  countByClock(): void {
    this.#counterKind = "clock";
    this.#isBeside = true;
  }

  #readSeen(): ReplicaState {
    this.#sweep();
    if (this.#counterKind === "clock" && this.#drawn === 0) this.#draw(this.#vector);
    const { epoch, replicaId } = this.#identify();
    const vector = new Map(this.#vector).set(replicaId, this.#maxStamp);
    return {
      epoch,
      replicaId,
      vector: vector,
      collected: new Map(this.#collected),
      maxVersion: this.#maxVersion,
    };
  }

  /** All that lies outside of `base`, found by version; undefined when it is more than `limit`. */
  #newest(base: VersionVector, vector: VersionVector, limit: number): ReplicatedNode[] | undefined {
    const nodes: ReplicatedNode[] = [];
    const lowest = lowestMissing(base, vector);
    for (let place = this.#order.firstAbove(lowest); place !== 0; place = this.#order.next(place)) {
      const node = this.#stampedAt(place);
      if (this.#lateStamps.has(place) || includesDot(base, dotOf(node))) continue;
      if (nodes.push(node) > limit) return undefined;
    }
    for (const [place, dot] of this.#lateStamps) {
      if (dot <= lowest) continue;
      const node = this.#stampedAt(place);
      if (!includesDot(base, dotOf(node)) && nodes.push(node) > limit) return undefined;
    }
    return nodes;
  }

  /** The next so many outside of `base`, in the order of their places, which a key keeps. */
  #page(base: VersionVector, limit: number, after: string = "0"): Pick<StorageDelta, "nodes" | "next"> {
    const nodes: ReplicatedNode[] = [];
    for (let place = Number(after) + 1; place < this.#keys.length; place++) {
      if (this.#keys[place] === "") continue;
      const node = this.#stampedAt(place);
      if (includesDot(base, dotOf(node))) continue;
      if (nodes.push(node) >= limit) return { nodes, next: String(place) };
    }
    return { nodes, next: null };
  }

  /** Writes a change of this storage's own. */
  #apply(change: NodeChange, version: number): RealityNodeMeta {
    const { key, hash, updatedAt, deleted } = change;
    this.#write(change, version, { version, replicaId: this.#identify().replicaId });
    this.#maxStamp = version;
    const meta: RealityNodeMeta = { key, version, hash, updatedAt };
    if (deleted) meta.deleted = true;
    return meta;
  }

  #read(key: string): RealityNodeMeta | undefined {
    const place = this.#places.get(key);
    return place === undefined || this.#deleted[place] === 1 ? undefined : this.#metaAt(place);
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
  #metaAt(place: number): RealityNodeMeta {
    const meta: RealityNodeMeta = {
      key: this.#keys[place] ?? "",
      version: this.#order.versionOf(place),
      hash: this.#hashes[place] ?? "",
      updatedAt: this.#updatedAt[place] ?? 0,
    };
    if (this.#deleted[place] === 1) meta.deleted = true;
    return meta;
  }

  #stampedAt(place: number): ReplicatedNode {
    const meta = this.#metaAt(place);
    const replicaId = this.#origins[this.#originOf[place] ?? 0] || this.#identify().replicaId;
    return { ...meta, replicaId: replicaId, dotVersion: this.#lateStamps.get(place) ?? meta.version };
  }

  #placeOrigin(replicaId: string): number {
    if (replicaId === this.#identify().replicaId) return 0;
    const place = this.#origins.indexOf(replicaId);
    return place !== -1 ? place : this.#origins.push(replicaId) - 1;
  }

  /** The number that is given next. */
  #next(): number {
    if (this.#counterKind === "clock" && this.#drawn === 0) this.#draw(this.#vector);
    const base = Math.max(this.#counter, this.#floor());
    const step = counterStep(this.#counterKind);
    return alignNumber(base, this.#drawn, step) + step;
  }

  #floor(): number {
    const now = this.#options.now();
    return this.#isBeside && this.#vector.size === 0
      ? spreadFloor(now)
      : counterFloor(this.#counterKind, now);
  }

  /** Draws a residue that no other storage has, with a number that no node will have. */
  #draw(others: VersionVector): void {
    const base = Math.max(this.#counter, this.#floor());
    const number = alignNumber(base, drawResidue(others), RESIDUES) + RESIDUES;
    checkCounter(number);
    this.#counter = this.#maxStamp = this.#drawn = number;
  }

  #write(
    { key, hash, updatedAt, deleted }: NodeChange | RealityNodeMeta,
    version: number,
    dot: Dot,
  ): void {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#freePlaces.pop() ?? this.#keys.length;
      if (place >= this.#updatedAt.length) this.#grow(place);
      this.#places.set(key, place);
      this.#keys[place] = key;
    } else {
      this.#order.remove(place);
      if (this.#expires(place)) this.#tombstones.remove(place);
    }
    this.#order.insert(place, version);
    this.#hashes[place] = hash;
    this.#updatedAt[place] = updatedAt;
    this.#deleted[place] = deleted ? 1 : 0;
    this.#originOf[place] = this.#placeOrigin(dot.replicaId);
    if (dot.version === version) this.#lateStamps.delete(place);
    else this.#lateStamps.set(place, dot.version);
    this.#unpaid++;
    this.#counter = Math.max(this.#counter, version, dot.version);
    this.#maxVersion = Math.max(this.#maxVersion, version);
    if (this.#expires(place)) {
      const { elapsed, tombstoneTimeout } = this.#options;
      this.#tombstones.insert(place, elapsed() + tombstoneTimeout);
    }
  }

  /** Whether a tombstone is there that is not kept for ever. */
  #expires(place: number): boolean {
    return this.#deleted[place] === 1 && this.#options.tombstoneTimeout < Infinity;
  }

  /** The names are made at the first question: a Worker may not draw chance while it starts. */
  #identify(): StorageIdentity {
    return this.#identity ??= Object.freeze({
      epoch: createEpoch(this.#options.now()),
      replicaId: createReplicaId(),
    });
  }

  /** Forgets the oldest tombstones whose time is over; so many at most that no write takes long. */
  #sweep(): void {
    const now = this.#options.elapsed();
    const written = Math.min(this.#unpaid, MAX_PAID);
    this.#unpaid -= written;
    for (let left = MAX_SWEPT + 2 * written; left > 0; left--) {
      const place = this.#tombstones.next(0);
      if (place === 0 || this.#tombstones.versionOf(place) > now) return;
      const { key, version, replicaId, dotVersion } = this.#stampedAt(place);
      this.#collected.set(replicaId, Math.max(this.#collected.get(replicaId) ?? 0, dotVersion));
      this.#collectedVersion = Math.max(this.#collectedVersion, version);
      this.#lateStamps.delete(place);
      this.#tombstones.remove(place);
      this.#order.remove(place);
      this.#places.delete(key);
      this.#keys[place] = this.#hashes[place] = "";
      this.#freePlaces.push(place);
    }
  }

  #grow(place: number): void {
    const size = Math.ceil(Math.max(place + 1, this.#updatedAt.length * 1.5));
    const updatedAt = new Float64Array(size);
    updatedAt.set(this.#updatedAt);
    this.#updatedAt = updatedAt;
    const deleted = new Uint8Array(size);
    deleted.set(this.#deleted);
    this.#deleted = deleted;
    const originOf = new Uint32Array(size);
    originOf.set(this.#originOf);
    this.#originOf = originOf;
  }
}
