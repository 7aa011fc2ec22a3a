/**
 * The storage contract: eight methods that every storage has, and optional ones that let the server do less
 * and promise more. `storage/conformance/` checks each sentence below.
 *
 * @module
 */
import type { Dot, ReplicatedNode, VersionVector } from "./version_vector.ts";
import type { RealityNodeMeta } from "../types.ts";

export {
  coversVector,
  type Dot,
  dotOf,
  includesDot,
  isSameDot,
  joinVectors,
  lowestMissing,
  type ReplicatedNode,
  type VersionVector,
} from "./version_vector.ts";

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
   * @returns The metas as written, in the order given; a deletion's has `deleted` and its tombstone's version. A storage
   *   whose readings are live may give them at once.
   */
  applyChanges?(changes: readonly NodeChange[]): RealityNodeMeta[] | Promise<RealityNodeMeta[]>;

  /**
   * Nodes, counter and names of one moment: what `getNodes` and `getMaxVersion` say, in a single question. A storage
   * whose readings are live may give it at once.
   */
  readNodes?(keys: readonly string[]): StorageReading | Promise<StorageReading>;

  /**
   * What came after a version, with counter and names of the same moment, in a single question: the first
   * `limit` nodes and tombstones of `listChangedSince(version)`. Lets a server keep nodes in memory and ask
   * only whether they are still right.
   */
  readChanges?(version: number, limit: number): Promise<StorageChanges>;

  /** The storage's lasting names; made when it is first created. */
  getIdentity?(): Promise<StorageIdentity>;

  /**
   * Begins another life of the data: gives the storage a new epoch and a new origin, in one atomic step, and forgets
   * what it has taken in from other storages. Nodes, tombstones and the counter stay. For an operator who has brought
   * the data back from a copy: every client fetches anew, every server on the storage drops what it remembers, and
   * storages beside this one take its nodes for new changes.
   *
   * @returns The new names.
   */
  newEpoch?(): Promise<StorageIdentity>;

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

/**
 * A storage that can stand beside others: it keeps with each node the stamp of the change that it comes from,
 * and *seen*, what it has taken in from other storages. A storage has all of these methods or none; without
 * them it can be shared by servers, but two of them cannot be made one.
 */
export interface MeshStorage extends RealityStorage {
  /** The storage's lasting names; made when it is first created. */
  getIdentity(): Promise<StorageIdentity>;

  /** What this storage has taken in, with its names: of one moment. */
  readReplicaState(): Promise<ReplicaState>;

  /**
   * Nodes and tombstones with a stamp outside of `base`. What is told as seen is no younger than the nodes: a
   * change that comes in between may be among the nodes and not be counted as seen, never the other way round.
   * What is told as swept is no older than they are: a tombstone that is missing among them is told there.
   *
   * @param base What the one who asks has seen; an empty map asks for everything.
   * @param limit When there are more, this page has the first so many, and `next`.
   * @param after `next` of the page before. Pages go over the keys in an order that a key never changes, so
   *   that a node which changes while pages are read is on some page, older or newer, once at least.
   */
  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta>;

  /** The nodes and tombstones of these keys, with their stamps. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>>;

  /**
   * Writes nodes that came from other storages, each only if the node that stands there is still the one it
   * was judged against. The counter is first lifted to the highest version and stamp among them. A change of
   * this storage's own (one without an origin) gets a new version above the counter and above `above`, with the
   * storage's residue as every number. All in one atomic step, up to `features.maxChanges` of them; for other
   * processes it is a change like any other.
   *
   * @param collected What was known as swept when the takes were judged. If a tombstone was swept since that this does
   *   not cover, nothing is written for a take that replaces nothing: between the judgement and the write the key may
   *   have been changed, deleted and forgotten, and then its absence no longer means what it meant. Left out: absence
   *   alone decides.
   * @returns For each the meta as written; `null` where another node was there, and nothing was written.
   */
  mergeNodes(merges: readonly NodeMerge[], collected?: VersionVector): Promise<(RealityNodeMeta | null)[]>;

  /**
   * Notes that everything up to `seen` was taken in: joins it to what was seen before, and lifts the counter to
   * the highest stamp in it. An epoch that sorts before the storage's own takes its place.
   *
   * @param collected After a full copy: the tombstones that were swept where it came from, which are joined to
   *   those swept here. They are missing here as well, and who asks for what came after them has to be told.
   * @returns Whether the epoch is another one now.
   */
  adoptVector(vector: VersionVector, epoch: string, collected?: VersionVector): Promise<boolean>;

  /**
   * Sees to it that no number which this storage gives from now on has the residue of another storage: where one in
   * `seen`, or one that was taken in before, has the same, a new one is drawn. Asked before nodes of a storage that
   * was not known before are judged, since a change that is made for them must differ from what is made there.
   *
   * Drawing a residue uses up one number: it counts as seen of this storage though no node ever has it. So `seen`
   * tells everybody the residue, by the own entry divided by `RESIDUES`, before any change does.
   *
   * @param vector Origin → the highest stamp of that origin known to the other storage.
   */
  avoidResidues(vector: VersionVector): Promise<void>;

  /** From now on, in this process, changes are numbered by the clock, as storages beside each other must. */
  countByClock(): void;
}

/** What a storage has taken in. */
export interface ReplicaState extends StorageIdentity {
  /**
   * Origin → the highest stamp taken in, its own origin among them. A number that was reserved and is not
   * published does not count: a node published later than a higher one gets a stamp of its own, higher than all
   * that was told as seen before.
   */
  readonly vector: VersionVector;
  /** Origin → the highest stamp among its tombstones that were swept here. */
  readonly collected: VersionVector;
  /** The counter, as readers see it. */
  readonly maxVersion: number;
}

/** One page of what a storage has and another has not. */
export interface StorageDelta extends ReplicaState {
  /** Nodes and tombstones with stamps outside of the base, no key twice. */
  readonly nodes: readonly ReplicatedNode[];
  /** Gives the next page; `null` on the last one. */
  readonly next: string | null;
}

/** One node that a storage is asked to take in. */
export interface NodeMerge {
  /** A node as another storage wrote it, kept with its version and stamp; or a change of this storage's own. */
  readonly node: ReplicatedNode | NodeChange;
  /** For a change of its own: its version will be above this one. @default {0} */
  readonly above?: number;
  /** The stamp of the node that it was judged against; `null` when there was none. */
  readonly replaces: Dot | null;
}

/** Whether a storage can stand beside others. */
export function isMeshStorage(storage: RealityStorage): storage is MeshStorage {
  const methods = [
    "getIdentity",
    "readReplicaState",
    "readDelta",
    "readReplicated",
    "mergeNodes",
    "adoptVector",
  ];
  return [...methods, "avoidResidues", "countByClock"].every((name) =>
    typeof (storage as unknown as Record<string, unknown>)[name] === "function"
  );
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
  /**
   * The nodes of a reading are looked up when they are asked for: each as it stands then, be it newer than the
   * moment of the reading, and whether its key was named or not. For a storage in this process's memory.
   */
  readonly live?: boolean;
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

/** How a storage stands at one moment. */
export interface StorageMoment extends StorageIdentity {
  /** The counter. */
  readonly maxVersion: number;
  /** The highest version among tombstones swept so far: history is complete after it. 0 for none. */
  readonly collectedVersion: number;
  /**
   * How many nodes were ever published below the counter. Never goes back. As long as it stands, whatever a
   * reader could not see before has a version above the counter that it saw.
   */
  readonly late: number;
  /**
   * What the last commits did to the history, oldest first. A comma and a number: by so much the counter grew. A
   * semicolon, and `late` modulo 1,000 as it was then: something was published below the counter, and `late` grew by
   * one; after a colon two characters for each of the keys (`markOf`), or nothing where it may be any key. For example
   * `,5;17:a03f,120`. So it can be told whether a
   * counter that was read earlier is part of this history, or of one that was lost when the data was brought back from
   * a copy; and which keys were published below it. Left out: the history never goes back, and any key may have been.
   */
  readonly recent?: string;
}

/** The state of some keys, and how the storage stands at that moment. */
export interface StorageReading extends StorageMoment {
  /** The current metas of those keys that are there: a `Map`, or what looks them up. */
  readonly nodes: NodeLookup;
  /**
   * Where some nodes were read later than this moment: the last moment that one of them is of, or `null` where that is
   * not known. If the data goes back to a copy from between the two, the history confirms this moment, and such a node is
   * lost all the same. Left out: all nodes are of this moment.
   */
  readonly newest?: { readonly maxVersion: number; readonly recent?: string | undefined } | null;
}

/** Finds nodes by key. */
export interface NodeLookup {
  /** The meta of a node; undefined for a key that has none. */
  get(key: string): RealityNodeMeta | undefined;
  /** The version of a node, where that costs less than its meta; 0 for a key that has none. */
  versionOf?(key: string): number;
}

/** What came after a version, and how the storage stands at that moment. */
export interface StorageChanges extends StorageMoment {
  /** Nodes and tombstones above the version, in order of theirs: the first so many that were asked for. */
  readonly nodes: readonly RealityNodeMeta[];
}

/** The lasting names of a storage. */
export interface StorageIdentity {
  /** Names one life of the data set; of two, the one made earlier sorts first. */
  readonly epoch: string;
  /** A random name of this one storage; servers that share the storage share it. */
  readonly replicaId: string;
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
export function createReplicaId(): string {
  return randomName(12);
}

/** Text of that many characters a–z and 0–9, from the runtime's strong randomness. */
export function randomName(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}

/**
 * How a storage numbers changes. `"clock"`: by the microseconds since 2020 and above the last number, with the
 * storage's own residue in every number. `"sequential"`: 1, 2, 3.
 */
export type CounterKind = "sequential" | "clock";

/** Microseconds from 1970 to 2020, where the clock counter begins. */
const CLOCK_START_MS = Date.UTC(2020, 0, 1);

/**
 * How many residues there are. Every number that a clock counter gives leaves the storage's own residue when it is
 * divided by this: so storages with different residues never give the same number. A power of two.
 */
export const RESIDUES = 256;

/** How far ahead of the clock a storage numbers at most that has not met another one yet, in microseconds. */
const SPREAD = 1_000_000;

/** The clock is followed up to this, which it reaches in 2091: a clock that is beyond it must not use up the numbers. */
const MAX_FLOOR = 2 ** 51;

/** What a counter of this kind counts up from at least: 0, or the microseconds since 2020. */
export function counterFloor(kind: CounterKind, now: number): number {
  if (kind === "sequential") return 0;
  return Math.min(Math.max(0, Math.floor((now - CLOCK_START_MS) * 1000)), MAX_FLOOR);
}

/**
 * The same for a storage that stands beside others and has not met one of them yet: up to a second more, by chance.
 * Another one may have the same residue until then.
 */
export function spreadFloor(now: number): number {
  return counterFloor("clock", now) + drawBelow(SPREAD);
}

/** How far the numbers of one storage lie apart at least: 1, or, by the clock, as many as there are residues. */
export function counterStep(kind: CounterKind): number {
  return kind === "sequential" ? 1 : RESIDUES;
}

/**
 * The highest number at or below `base` that has the storage's residue. The next number that the storage gives lies
 * one step above it.
 *
 * @param base The highest number that must not be given again.
 * @param drawn A number with that residue, not above `base`.
 * @param step As `counterStep` says: 1 or a power of two.
 */
export function alignNumber(base: number, drawn: number, step: number): number {
  return base - ((base - drawn) & (step - 1));
}

/**
 * Draws a residue by chance among those that no other storage has. Once all are taken, it is the one of the storage
 * that has not numbered anything for the longest time.
 *
 * @param others What was seen of other storages: each one's highest stamp has its residue.
 */
export function drawResidue(others: VersionVector): number {
  const taken = new Map<number, number>();
  for (const dotVersion of others.values()) {
    const residue = dotVersion % RESIDUES;
    taken.set(residue, Math.max(dotVersion, taken.get(residue) ?? 0));
  }
  const free = [...Array(RESIDUES).keys()].filter((residue) => !taken.has(residue));
  if (free.length > 0) return free[drawBelow(free.length)] ?? 0;
  const [[oldest]] = [...taken].sort(([, a], [, b]) => a - b) as [[number, number]];
  return oldest;
}

/**
 * Whether another storage has the residue that a storage drew. Where all residues are taken, only one that has
 * numbered something since it was drawn counts.
 *
 * @param others What was seen of other storages.
 * @param drawn The number with which the storage drew its residue; 0 for none.
 */
export function isResidueTaken(others: VersionVector, drawn: number): boolean {
  const stamps = [...others.values()].filter((dotVersion) => dotVersion > 0);
  const rivals = stamps.filter((dotVersion) => (dotVersion - drawn) % RESIDUES === 0);
  if (drawn === 0 || rivals.length === 0) return false;
  const isFull = new Set(stamps.map((dotVersion) => dotVersion % RESIDUES)).size === RESIDUES;
  return !isFull || rivals.some((dotVersion) => dotVersion >= drawn);
}

/** A random integer from 0 up to, not including, `limit`, which is at most 2^32. */
function drawBelow(limit: number): number {
  const [chance = 0] = crypto.getRandomValues(new Uint32Array(1));
  return Math.floor(chance / 2 ** 32 * limit);
}
