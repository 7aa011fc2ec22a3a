/**
 * A storage in this process's memory: gone when the process ends, and the reference the others are compared
 * with.
 *
 * @module
 */
import { isNewer } from "../src/node.ts";
import {
  createEpoch,
  createOrigin,
  nextVersion,
  type NodeChange,
  type RealityStorage,
  type StorageFeatures,
  type StorageIdentity,
  type StorageReading,
} from "../src/storage.ts";
import type { RealityNodeMeta } from "../src/types.ts";
import { checkChanges, checkCounter, checkMeta } from "./change.ts";
import { type ReadStorageOptions, readStorageOptions, type StorageOptions } from "./options.ts";
import { VersionOrder } from "./version_order.ts";

export type { CounterKind, StorageOptions } from "./options.ts";

/** How a {@linkcode MemoryStorage} counts and forgets. */
export type MemoryStorageOptions = StorageOptions;

const MAX_CHANGES = 10_000;
/** No two versions that a clock counter gives in one moment lie further apart. */
const MAX_STEP = 256;

/** A deletion and the moment after which it may be forgotten. */
interface Grave {
  readonly key: string;
  readonly version: number;
  readonly until: number;
}

/**
 * Keeps nodes in memory, about 110 bytes each beside the text of the key. Every method settles at once, and
 * `listChangedSince` costs what it returns, not what is stored.
 *
 * The data is gone when the process ends, and the next life has another epoch. Clients that send the epoch
 * back (all that use this package's protocol) then refetch; for clients that cannot, give
 * `{ counter: "clock" }`, which starts above the versions of any earlier life.
 *
 * @example
 * ```ts
 * import { MemoryStorage } from "@rootlodge/reality-server/memory";
 *
 * const storage = new MemoryStorage();
 * const [meta] = await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert(meta?.version === 1);
 * console.assert((await storage.getNode("user:1"))?.hash === "a1");
 * ```
 */
export class MemoryStorage implements RealityStorage {
  /** One counter, versions visible in order, deletions told, nobody else can write. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    exclusive: true,
    maxChanges: MAX_CHANGES,
  });

  readonly #options: ReadStorageOptions;
  #identity: StorageIdentity | undefined;
  // A node is a place in these columns: a fraction of what an object and its boxed numbers take.
  readonly #places = new Map<string, number>();
  readonly #order = new VersionOrder();
  readonly #keys: string[] = [""];
  readonly #hashes: string[] = [""];
  #updatedAt = new Float64Array(1024);
  #deleted = new Uint8Array(1024);
  readonly #freePlaces: number[] = [];
  #graves: Grave[] = [];
  #sweptGraves = 0;
  #counter = 0;
  #maxVersion = 0;
  #sweptVersion = 0;

  /**
   * Makes an empty storage.
   *
   * @param options How to count and when to forget deletions.
   * @throws {TypeError} When an option is unknown or wrong; names it.
   */
  constructor(options: MemoryStorageOptions = {}) {
    this.#options = readStorageOptions(options, "MemoryStorage");
  }

  /** The node's current meta; `null` if it was never there or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#read(key) ?? null);
  }

  /** The current metas of those keys that are there. */
  getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return Promise.resolve(this.#readAll(keys));
  }

  /** Nodes, counter and epoch of one moment. */
  readNodes(keys: readonly string[]): Promise<StorageReading> {
    return Promise.resolve({
      nodes: this.#readAll(keys),
      maxVersion: this.#maxVersion,
      epoch: this.#identify().epoch,
      sweptVersion: this.#sweptVersion,
    });
  }

  /** The highest version that a reader can see, or that was. */
  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#maxVersion);
  }

  /** The names of this storage, for as long as it lives. */
  getIdentity(): Promise<StorageIdentity> {
    return Promise.resolve(this.#identify());
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
    return this.#reserve();
  }

  /** Publishes a node unless a newer one is there, and lifts the counter to at least its version. */
  // deno-lint-ignore require-await -- what it throws must reject
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    checkMeta(key, meta);
    this.#sweep();
    const place = this.#places.get(key);
    if (place !== undefined && !isNewer(meta, this.#metaAt(place))) return;
    this.#write(key, meta.version, meta);
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
  // deno-lint-ignore require-await -- what it throws must reject
  async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    checkChanges(changes, MAX_CHANGES);
    this.#sweep();
    // The end of all numbers is looked for first: there, none of the changes is made.
    const { counter, now } = this.#options;
    const base = counter === "sequential" ? this.#counter : nextVersion(this.#counter, counter, now());
    checkCounter(base + changes.length * (counter === "sequential" ? 1 : MAX_STEP));
    return changes.map((change) => {
      const { key, hash, updatedAt, deleted } = change;
      const version = this.#reserve();
      this.#write(key, version, change);
      const meta: RealityNodeMeta = { key, version, hash, updatedAt };
      if (deleted) meta.deleted = true;
      return meta;
    });
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

  #reserve(): number {
    const { counter, now } = this.#options;
    const version = counter === "sequential" ? this.#counter + 1 : nextVersion(this.#counter, counter, now());
    checkCounter(version);
    this.#counter = version;
    return version;
  }

  #write(key: string, version: number, { hash, updatedAt, deleted }: NodeChange | RealityNodeMeta): void {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#freePlaces.pop() ?? this.#keys.length;
      if (place >= this.#updatedAt.length) this.#grow(place);
      this.#places.set(key, place);
      this.#keys[place] = key;
    } else {
      this.#order.remove(place);
    }
    this.#order.insert(place, version);
    this.#hashes[place] = hash;
    this.#updatedAt[place] = updatedAt;
    this.#deleted[place] = deleted ? 1 : 0;
    this.#counter = Math.max(this.#counter, version);
    this.#maxVersion = Math.max(this.#maxVersion, version);
    if (deleted) {
      const { now, tombstoneTimeout } = this.#options;
      this.#graves.push({ key, version, until: now() + tombstoneTimeout });
    }
  }

  /** The names are made at the first question: a Worker may not draw chance while it starts. */
  #identify(): StorageIdentity {
    return this.#identity ??= Object.freeze({
      epoch: createEpoch(this.#options.now()),
      origin: createOrigin(),
    });
  }

  /** Forgets the tombstones whose time is over: they lie in the order in which they came. */
  #sweep(): void {
    if (this.#graves.length === 0) return;
    const now = this.#options.now();
    while (true) {
      const grave = this.#graves[this.#sweptGraves];
      if (grave === undefined || grave.until > now) break;
      this.#sweptGraves++;
      const place = this.#places.get(grave.key);
      // Written again since, by a node or by a later deletion: this grave is empty.
      if (place === undefined || this.#deleted[place] !== 1) continue;
      if (this.#order.versionOf(place) !== grave.version) continue;
      this.#order.remove(place);
      this.#places.delete(grave.key);
      this.#keys[place] = this.#hashes[place] = "";
      this.#freePlaces.push(place);
      this.#sweptVersion = Math.max(this.#sweptVersion, grave.version);
    }
    if (this.#sweptGraves * 2 > this.#graves.length) {
      this.#graves = this.#graves.slice(this.#sweptGraves);
      this.#sweptGraves = 0;
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
  }
}
