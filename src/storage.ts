/**
 * The storage contract: eight methods that every storage has, and optional ones that let the server do less
 * and promise more. `storage/conformance/` checks each sentence below.
 *
 * @module
 */
import type { RealityNodeMeta } from "./types.ts";

/**
 * Keeps nodes and hands out versions. A storage with just the eight required methods works with everything
 * in this package; the optional ones are used where they are there.
 *
 * A method that fails rejects, and then the change may or may not have happened; the server answers 503.
 */
export interface RealityStorage {
  /** The node's current meta; `null` if it was never there or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null>;

  /**
   * Publishes a node. A node that is there with a higher version, or a newer tombstone, is left as it is.
   * Lifts the counter to at least `meta.version`.
   */
  setNode(key: string, meta: RealityNodeMeta): Promise<void>;

  /**
   * Reserves the next version and changes nothing that a reader can see. Each call, from whichever process,
   * gets a number larger than every number given before.
   */
  incrementVersion(key: string): Promise<number>;

  /**
   * The history after a version: every node whose version is larger, in order of version, each once, with its
   * newest meta; with tombstones where the storage keeps them.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough, the lowest versions first. Nodes of one version are never cut apart, so
   *   there may be a few more, and a storage may ignore it and give all.
   */
  listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]>;

  /** The current metas of those keys that are there. An empty list asks nothing of the database. */
  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>>;

  /** The highest version that a reader can see, or that was. Never goes back. 0 for a new storage. */
  getMaxVersion(): Promise<number>;

  /** Takes a node away; in our storages that is a change with a version of its own and leaves a tombstone. */
  deleteNode(key: string): Promise<void>;

  /** Whether the storage answers. Never rejects. */
  isHealthy(): Promise<boolean>;

  /** What this storage guarantees beyond the eight methods. Left out: nothing. */
  readonly features?: StorageFeatures;

  /**
   * Makes many changes at once, each with a version of its own, in the order given, in one atomic step: no
   * reader sees a later one without the earlier ones. No two changes name the same key.
   *
   * @returns The metas as written, in the order given; a deletion's has `deleted` and its tombstone's version.
   */
  applyChanges?(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]>;

  /** Nodes, counter and epoch of one moment: what `getNodes` and `getMaxVersion` say, in a single question. */
  readNodes?(keys: readonly string[]): Promise<StorageReading>;

  /**
   * What came after a version, with counter and epoch of the same moment, in a single question: the first
   * `limit` nodes and tombstones of `listChangedSince(version)`. Lets a server keep nodes in memory and ask
   * only whether they are still right.
   */
  readChanges?(version: number, limit: number): Promise<StorageChanges>;

  /** The storage's lasting names; made when it is first created. */
  getIdentity?(): Promise<StorageIdentity>;

  /**
   * Announces changes that other processes make. The listener gets the keys, or `null` for "look again at
   * everything". It is an announcement only, may come twice or too often, and never carries state.
   *
   * @returns A function that ends the subscription.
   */
  subscribe?(listener: ChangeListener): Promise<() => Promise<void>>;

  /** Lets go of what the storage itself opened. Later calls reject with `ClosedError`. */
  close?(): Promise<void>;
}

/** What a storage guarantees beyond the eight methods. */
export interface StorageFeatures {
  /**
   * One counter serves all keys, and versions become visible in order: whoever sees version 7 sees, or
   * has seen, every change up to 6. Makes `listChangedSince` a complete history.
   */
  readonly ordered?: boolean;
  /** `listChangedSince` tells deletions too, as metas with `deleted`. */
  readonly tombstones?: boolean;
  /** The most changes that one `applyChanges` takes. @default {1000} */
  readonly maxChanges?: number;
  /** Nobody but this one process can change the storage. */
  readonly exclusive?: boolean;
}

/** One change that a storage is asked to make. */
export interface NodeChange {
  /** The node's key. */
  readonly key: string;
  /** Its new hash; empty for a deletion. */
  readonly hash: string;
  /** The writing server's clock, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** Present, and true, when the node is to be taken away. */
  readonly deleted?: true;
}

/** The state of some keys at one moment. */
export interface StorageReading {
  /** The current metas of those keys that are there. */
  readonly nodes: Map<string, RealityNodeMeta>;
  /** The counter at that moment. */
  readonly maxVersion: number;
  /** The epoch at that moment. */
  readonly epoch: string;
  /** The highest version among tombstones swept so far: history is complete after it. 0 for none. */
  readonly sweptVersion: number;
}

/** What came after a version, and the state of the storage at that moment. */
export interface StorageChanges {
  /** Nodes and tombstones above the version, in order of theirs: the first so many that were asked for. */
  readonly nodes: readonly RealityNodeMeta[];
  /** The counter at that moment. */
  readonly maxVersion: number;
  /** The epoch at that moment. */
  readonly epoch: string;
  /** The highest version among tombstones swept so far. */
  readonly sweptVersion: number;
  /** How many nodes were ever published below the counter: as long as it stands, history is complete. */
  readonly late: number;
}

/** The lasting names of a storage. */
export interface StorageIdentity {
  /** Names one life of the data set; of two, the one made earlier sorts first. */
  readonly epoch: string;
  /** A random name of this one storage; servers that share the storage share it. */
  readonly origin: string;
}

/** Hears which keys another process changed; `null` means any of them. */
export type ChangeListener = (keys: readonly string[] | null) => void;

/**
 * Makes the name for one new life of a data set: the time of its making, sortable as text, then chance.
 *
 * @param now Milliseconds since 1970.
 */
export function createEpoch(now: number): string {
  return `${Math.max(0, Math.floor(now)).toString(36).padStart(9, "0")}-${randomName(8)}`;
}

/** Makes the random name of one storage. */
export function createOrigin(): string {
  return randomName(12);
}

/** Text of that many characters a–z and 0–9, from the runtime's strong randomness. */
export function randomName(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}

/** How a storage numbers changes. */
export type CounterKind = "sequential" | "clock";

/** Microseconds from 1970 to 2020, where the clock counter begins. */
const CLOCK_START_MS = Date.UTC(2020, 0, 1);

/**
 * The version that follows `counter`. A sequential counter takes the next integer. A clock counter also keeps
 * above the microseconds since 2020 and adds chance, so that two storages, or two lives of one, do not give
 * the same number to different changes; a wrong clock only changes how large numbers are.
 *
 * @param counter The highest version given so far.
 * @param kind How this storage numbers changes.
 * @param now Milliseconds since 1970.
 */
export function nextVersion(counter: number, kind: CounterKind, now: number): number {
  return Math.max(counter, counterFloor(kind, now)) + counterStep(kind);
}

/** What a counter of this kind counts up from at least: 0, or the microseconds since 2020. */
export function counterFloor(kind: CounterKind, now: number): number {
  return kind === "sequential" ? 0 : Math.max(0, Math.floor((now - CLOCK_START_MS) * 1000));
}

/** How far the next version lies above that or above the last one: 1, or 1 and a random number below 256. */
export function counterStep(kind: CounterKind): number {
  if (kind === "sequential") return 1;
  const [chance = 0] = crypto.getRandomValues(new Uint8Array(1));
  return 1 + chance;
}
