/**
 * The storage contract: eight required methods, and optional ones that save work or give more guarantees.
 * `storage/conformance/` checks each sentence below.
 *
 * @module
 */
import type { StorageOutbox } from "./outbox_contract.ts";
import type { Dot, ReplicatedNode, VersionVector } from "./version_vector.ts";
import type { RealityNodeMeta } from "../types.ts";

export type {
  OutboxChange,
  OutboxRow,
  OutboxStatement,
  OutboxSummary,
  StorageOutbox,
} from "./outbox_contract.ts";
export {
  coversVector,
  type Dot,
  dotOf,
  forgetReplicas,
  highestDots,
  includesDot,
  isSameDot,
  joinVectors,
  type KnownReplicas,
  lowestMissing,
  MAX_FORGOTTEN,
  newestEntries,
  type ReplicatedNode,
  unknownEntries,
  type VersionVector,
  withForgotten,
} from "./version_vector.ts";

/**
 * Keeps nodes and assigns versions. A storage with the eight required methods works with everything in this package.
 * The optional methods are used where they exist.
 *
 * A method that fails rejects. The change may or may not have been made then, and the server answers 503.
 */
export interface RealityStorage {
  /** Reads the current meta of a node; `null` if it never existed or is deleted. */
  getNode(key: string): Promise<RealityNodeMeta | null>;

  /**
   * Publishes a node. Does nothing if a node with a higher version, or a newer tombstone, is stored. Raises the
   * counter to at least `meta.version`.
   */
  setNode(key: string, meta: RealityNodeMeta): Promise<void>;

  /**
   * Reserves the next version. Changes nothing that a reader can see. Each call, from any process, returns a number
   * that is larger than every number returned before.
   */
  incrementVersion(key: string): Promise<number>;

  /**
   * Reads the history after a version: each node with a larger version, once, with its newest meta, ordered by
   * version. Includes tombstones if the storage keeps them.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit This many nodes are enough, lowest versions first. Nodes of the same version are never split, so
   *   there may be a few more. A storage may ignore the limit.
   */
  listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]>;

  /** Reads the current metas of the given keys that have a node. An empty list makes no database call. */
  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>>;

  /** The highest version that a reader can see, or could see before. Never decreases. 0 for a new storage. */
  getMaxVersion(): Promise<number>;

  /**
   * Deletes a node. In the storages of this package, a deletion is a change with its own version and leaves a
   * tombstone.
   */
  deleteNode(key: string): Promise<void>;

  /** Whether the storage answers. Never rejects. */
  isHealthy(): Promise<boolean>;

  /** What this storage guarantees beyond the eight methods. Left out: nothing. */
  readonly features?: StorageFeatures;

  /**
   * Makes many changes in the given order, each with its own version, in one atomic step: no reader sees a later one
   * without the earlier ones. No two changes have the same key.
   *
   * @returns The metas as written, in the given order. The meta of a deletion has `deleted` and the version of its
   *   tombstone. A change that was not written because of `unless` has `unchanged`, and the stored meta. A live storage
   *   may return them without a promise.
   */
  applyChanges?(changes: readonly NodeChange[]): AppliedMeta[] | Promise<AppliedMeta[]>;

  /**
   * Reads nodes, counter and identity of one moment in a single call: what `getNodes` and `getMaxVersion` return. A
   * live storage may return them without a promise.
   */
  readNodes?(keys: readonly string[]): StorageReading | Promise<StorageReading>;

  /**
   * Reads the first `limit` nodes and tombstones of `listChangedSince(version)`, with counter and identity of the
   * same moment, in a single call. Lets a server keep nodes in memory and check whether they are still current.
   */
  readChanges?(version: number, limit: number): Promise<StorageChanges>;

  /** The names of the storage. Created with the storage and stable afterwards. */
  getIdentity?(): Promise<StorageIdentity>;

  /**
   * Gives the storage a new epoch and a new replica id in one atomic step, and clears its version vector. Nodes,
   * tombstones and the counter stay. An operator calls this after restoring a backup: every client fetches everything
   * again, every server on the storage clears its caches, and other storages treat its nodes as new changes.
   *
   * @returns The new names.
   */
  newEpoch?(): Promise<StorageIdentity>;

  /**
   * Announces changes of other processes. The listener receives the keys, or `null` if any key may have changed. An
   * announcement may arrive twice or too often, and never carries state.
   *
   * @returns A function that ends the subscription.
   */
  subscribe?(listener: ChangeListener): Promise<() => Promise<void>>;

  /** The outbox of the storage. A storage that has one has `readNodes`, and perhaps `readChanges`. */
  readonly outbox?: StorageOutbox;

  /** Releases what the storage itself opened. Later calls reject with `ClosedError`. */
  close?(): Promise<void>;
}

/** What the readers of a server call. */
export type ReadableStorage = Pick<
  RealityStorage,
  | "features"
  | "getNodes"
  | "getMaxVersion"
  | "getIdentity"
  | "listChangedSince"
  | "readNodes"
  | "readChanges"
  | "subscribe"
  | "outbox"
>;

/**
 * A storage that can be replicated. It keeps the dot of each node, and a version vector of the changes that it has
 * merged from other storages. A storage has all of these methods or none. Without them, several servers can share the
 * storage, but two storages cannot be merged.
 */
export interface MeshStorage extends RealityStorage {
  /** The names of the storage. Created with the storage and stable afterwards. */
  getIdentity(): Promise<StorageIdentity>;

  /** Reads the version vectors, the counter and the names, all of one moment. */
  readReplicaState(): Promise<ReplicaState>;

  /**
   * Reads nodes and tombstones whose dots `base` does not include. Read the version vector before the nodes: a change
   * made in between may be among the nodes without being in the vector, but never the other way round. Read the
   * collected tombstones after the nodes: a tombstone that is missing among the nodes is in `collected`.
   *
   * @param base The version vector of the storage that requests the delta. An empty map requests everything.
   * @param limit The size of a page. If there are more nodes, the result has `next`.
   * @param after `next` of the previous page. Pages follow an order of the keys that never changes, so a node that
   *   changes while pages are read is on at least one page, in its older or newer state.
   */
  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta>;

  /** Reads the nodes and tombstones of some keys, with their dots. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>>;

  /**
   * Writes nodes of other storages. Each is written only if the stored node is still the one that its merge was
   * decided against. The counter is first raised to the highest version and dot version among them. A change of this
   * storage itself (one without a replica id) gets a new version above the counter and above `above`, with the
   * residue of this storage. All of this is one atomic step of up to `features.maxChanges` merges. Other processes
   * see the result as ordinary changes.
   *
   * @param collected The collected tombstones that were known when the merges were decided. If a tombstone that this
   *   vector does not cover was collected since then, a merge that replaces nothing writes nothing: the key may have
   *   been changed, deleted and collected in between, so its absence proves nothing. Left out: absence alone decides.
   * @returns The meta of each merge as written; `null` if another node was stored and nothing was written.
   */
  mergeNodes(merges: readonly NodeMerge[], collected?: VersionVector): Promise<(RealityNodeMeta | null)[]>;

  /**
   * Records that everything in a version vector was merged: joins it with the own vector and raises the counter to
   * its highest dot version. An epoch that sorts before the own epoch replaces it. Entries that are included in what
   * `forgetReplicas` removed are left out, in both vectors.
   *
   * @param collected After a full copy: the collected tombstones of the source, which are joined with those collected
   *   here. They are missing here as well, and a storage that requests later changes must be told.
   * @param replicaId The replica id that this storage had before the nodes were merged. If it has another one,
   *   nothing is recorded: the data were set back or replaced meanwhile, and may lack the nodes. Left out: not checked.
   * @returns Whether the epoch changed.
   */
  adoptVector(
    vector: VersionVector,
    epoch: string,
    collected?: VersionVector,
    replicaId?: string,
  ): Promise<boolean>;

  /**
   * Makes sure that this storage shares its residue with no other storage. If a replica in `vector`, or one that was
   * merged before, has the same residue, draws a new one. Called before nodes of an unknown storage are merged,
   * because changes made for them must not have the same numbers as changes made there.
   *
   * Drawing a residue uses up one number, which counts as included in the own vector although no node ever has it. So
   * the own entry modulo `RESIDUES` tells the other storages this residue before any change does.
   *
   * @param vector Replica id → the highest dot version of that replica known to the other storage.
   */
  avoidResidues(vector: VersionVector): Promise<void>;

  /**
   * Removes replicas from the version vector and from the collected tombstones, in one atomic step. Called for replicas
   * that numbered nothing for long, once no node or tombstone here has a dot of theirs. The own replica stays, and so
   * does one whose entry in the version vector is not the given one any more, or whose collected tombstones reach
   * further. Of all entries that were removed, the last 1,000 are kept as `ReplicaState.forgotten`.
   *
   * If collected tombstones of one of them were recorded, the own dot is recorded in their place: a storage whose version
   * vector includes it has merged all that is forgotten here.
   *
   * @param replicas Replica id → its entry in the version vector.
   * @param own A dot of this storage that was assigned after the version vector had these entries. If it has another
   *   replica id by now, nothing is removed.
   */
  forgetReplicas(replicas: VersionVector, own: Dot): Promise<void>;

  /** Makes this process number changes by the clock from now on, as replicated storages must. */
  countByClock(): void;
}

/** What a storage has merged. */
export interface ReplicaState extends StorageIdentity {
  /**
   * Replica id → the highest dot version that was merged, including the own replica. A reserved number that is not
   * published does not count: a node that is published after a higher one gets its own dot, higher than everything
   * reported before.
   */
  readonly vector: VersionVector;
  /** Replica id → the highest dot version among its tombstones that were collected here. */
  readonly collected: VersionVector;
  /**
   * Entries that `forgetReplicas` removed from the version vector. What they include was merged here. Left out: none.
   */
  readonly forgotten?: VersionVector;
  /** The counter, as readers see it. */
  readonly maxVersion: number;
  /** As {@linkcode StorageMoment.outbox}. */
  readonly outbox?: number;
}

/** One page of the changes that another storage lacks. */
export interface StorageDelta extends ReplicaState {
  /** Nodes and tombstones whose dots the base does not include. No key occurs twice. */
  readonly nodes: readonly ReplicatedNode[];
  /** Requests the next page; `null` on the last one. */
  readonly next: string | null;
}

/** One node to merge into a storage. */
export interface NodeMerge {
  /** A node as another storage wrote it, kept with its version and dot; or a change of this storage itself. */
  readonly node: ReplicatedNode | NodeChange;
  /** For a change of this storage itself: its version will be above this one. @default {0} */
  readonly above?: number;
  /** The dot of the stored node that the merge was decided against; `null` if there was no node. */
  readonly replaces: Dot | null;
}

/** Whether a storage can be replicated. */
export function isMeshStorage(storage: RealityStorage): storage is MeshStorage {
  const methods = [
    "getIdentity",
    "readReplicaState",
    "readDelta",
    "readReplicated",
    "mergeNodes",
    "adoptVector",
    "forgetReplicas",
  ];
  return [...methods, "avoidResidues", "countByClock"].every((name) =>
    typeof (storage as unknown as Record<string, unknown>)[name] === "function"
  );
}

/** What a storage guarantees beyond the eight methods. */
export interface StorageFeatures {
  /**
   * One counter serves all keys, and versions become visible in order: a reader that sees version 7 also sees, or has
   * seen, every change up to 6. This makes `listChangedSince` a complete history.
   */
  readonly ordered?: boolean;
  /** `listChangedSince` includes deletions, as metas with `deleted`. */
  readonly tombstones?: boolean;
  /** The maximum number of changes in one `applyChanges`, and of their conditions together. @default {1000} */
  readonly maxChanges?: number;
  /**
   * `applyChanges` takes `NodeChange.unless`. Without it, the server leaves `unless` out: such changes are always
   * written.
   */
  readonly conditions?: boolean;
  /** Only this process can change the storage. */
  readonly exclusive?: boolean;
  /**
   * The nodes of a reading are looked up when they are requested. Each is the current one, which may be newer than
   * the moment of the reading, and keys that were not named are found too. For a storage in the memory of this
   * process.
   */
  readonly live?: boolean;
}

/** One change for a storage to make. */
export interface NodeChange {
  /** The key of the node. */
  readonly key: string;
  /** The new hash; empty for a deletion. */
  readonly hash: string;
  /** The clock of the writing server, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** Present, and true, if the node is to be deleted. */
  readonly deleted?: true;
  /**
   * Nothing is written if all of these nodes are stored with these hashes before the commit. It is decided by the
   * statement or transaction that writes, so that each change acknowledged before the call is taken into account. A
   * storage that has merged other storages writes always: one of them may have a change that has not arrived yet.
   * Left out: the change is written.
   */
  readonly unless?: readonly NodeHash[];
}

/** A node, and the hash that it may have. */
export interface NodeHash {
  /** The key of the node. */
  readonly key: string;
  /** The hash. */
  readonly hash: string;
}

/** The meta of a change as written, or, if it was not written, as stored. */
export interface AppliedMeta extends RealityNodeMeta {
  /**
   * Present, and true, if the change was not written because of `unless`. The version is 0 if no node is stored any
   * more.
   */
  readonly unchanged?: true;
}

/** The state of a storage at one moment. */
export interface StorageMoment extends StorageIdentity {
  /** The counter. */
  readonly maxVersion: number;
  /** The highest version among the tombstones collected so far. The history is complete after it. 0 for none. */
  readonly collectedVersion: number;
  /**
   * How many nodes were ever published below the counter. Never decreases. While it stays the same, everything that
   * becomes visible has a version above the counter that was read before.
   */
  readonly late: number;
  /**
   * What the last commits did to the history, oldest first. `,5` says that the counter grew by 5. `;17:a03f` says
   * that nodes were published below the counter and that `late` grew by one, to 17 modulo 1,000; after the colon are
   * two characters for each key (`markOf`), or nothing if it may be any key. For example `,5;17:a03f,120`. With this,
   * a reader can tell whether a counter that it read earlier belongs to this history or to one that was lost when a
   * backup was restored, and which keys were published below the counter. Left out: the history is never lost, and
   * any key may have been published.
   */
  readonly recent?: string;
  /**
   * The highest id of a pending row of the outbox. Every row that was committed before has this id or a lower one. Left
   * out: no row is pending.
   */
  readonly outbox?: number;
}

/** The state of some keys, and of the storage at that moment. */
export interface StorageReading extends StorageMoment {
  /** The current metas of the keys that have a node: a `Map`, or an object that looks them up. */
  readonly nodes: NodeLookup;
  /**
   * The latest moment that one of the nodes belongs to, if some were read after this moment; `null` if it is unknown.
   * If a backup from between the two moments is restored, the history still confirms this moment, but such a node is
   * lost. Left out: all nodes belong to this moment.
   */
  readonly newest?: { readonly maxVersion: number; readonly recent?: string | undefined } | null;
}

/** Finds nodes by key. */
export interface NodeLookup {
  /** The meta of a node; undefined for a key without a node. */
  get(key: string): RealityNodeMeta | undefined;
  /** The version of a node, if it can be read more cheaply than the meta; 0 for a key without a node. */
  versionOf?(key: string): number;
}

/** The changes after a version, and the state of the storage at that moment. */
export interface StorageChanges extends StorageMoment {
  /** Nodes and tombstones above the version, ordered by version, up to the requested number. */
  readonly nodes: readonly RealityNodeMeta[];
}

/** The stable names of a storage. */
export interface StorageIdentity {
  /** Names one generation of the data. Of two epochs, the one created earlier sorts first. */
  readonly epoch: string;
  /** The random name of this storage. Servers that share the storage share it. */
  readonly replicaId: string;
}

/** Receives the keys that another process changed; `null` if any key may have changed. */
export type ChangeListener = (keys: readonly string[] | null) => void;

/**
 * Creates an epoch: the current time, which sorts as text, followed by random characters.
 *
 * @param now Milliseconds since 1970.
 */
export function createEpoch(now: number): string {
  return `${Math.max(0, Math.floor(now)).toString(36).padStart(9, "0")}-${randomName(8)}`;
}

/** Creates the random name of a storage. */
export function createReplicaId(): string {
  return randomName(12);
}

/** Creates a text of the given number of characters a–z and 0–9, from the strong random source of the runtime. */
export function randomName(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}

/**
 * How a storage numbers changes. `"clock"`: microseconds since 2020, above the last number, with the residue of the
 * storage. `"sequential"`: 1, 2, 3.
 */
export type CounterKind = "sequential" | "clock";

/** The start of the clock counter, in milliseconds since 1970: the year 2020. */
const CLOCK_START_MS = Date.UTC(2020, 0, 1);

/**
 * The number of residues. Every number of a clock counter modulo this is the residue of the storage, so storages with
 * different residues never use the same number. A power of two.
 */
export const RESIDUES = 256;

/** How far ahead of the clock a storage may number changes before it has met another storage, in microseconds. */
const SPREAD = 1_000_000;

/**
 * The clock is followed up to this number, which it reaches in 2091. A clock that is far ahead must not use up the
 * numbers.
 */
const MAX_FLOOR = 2 ** 51;

/** The lowest number that a counter of this kind starts from: 0, or the microseconds since 2020. */
export function counterFloor(kind: CounterKind, now: number): number {
  if (kind === "sequential") return 0;
  return Math.min(Math.max(0, Math.floor((now - CLOCK_START_MS) * 1000)), MAX_FLOOR);
}

/**
 * The same for a replicated storage that has not met another one yet: up to a second more, at random. Until then,
 * another storage may have the same residue.
 */
export function spreadFloor(now: number): number {
  return counterFloor("clock", now) + drawBelow(SPREAD);
}

/** The minimum distance between two numbers of one storage: 1 for `"sequential"`, `RESIDUES` for `"clock"`. */
export function counterStep(kind: CounterKind): number {
  return kind === "sequential" ? 1 : RESIDUES;
}

/**
 * The highest number at or below `base` that has the residue of the storage. The next number that the storage assigns
 * is one step above it.
 *
 * @param base The highest number that must not be assigned again.
 * @param drawn A number with that residue, not above `base`.
 * @param step The result of `counterStep`: 1 or a power of two.
 */
export function alignNumber(base: number, drawn: number, step: number): number {
  return base - ((base - drawn) & (step - 1));
}

/**
 * Draws a random residue that no other storage has. If all are taken, returns the one of the storage that has not
 * numbered anything for the longest time.
 *
 * @param others The version vector without the own entry. Each highest dot version has the residue of its storage.
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
 * Whether another storage has the residue that a storage drew. If all residues are taken, only a storage that has
 * numbered something since the draw counts.
 *
 * @param others The version vector without the own entry.
 * @param drawn The number with which the storage drew its residue; 0 for none.
 */
export function isResidueTaken(others: VersionVector, drawn: number): boolean {
  const dotVersions = [...others.values()].filter((dotVersion) => dotVersion > 0);
  const rivals = dotVersions.filter((dotVersion) => (dotVersion - drawn) % RESIDUES === 0);
  if (drawn === 0 || rivals.length === 0) return false;
  const isFull = new Set(dotVersions.map((dotVersion) => dotVersion % RESIDUES)).size === RESIDUES;
  return !isFull || rivals.some((dotVersion) => dotVersion >= drawn);
}

/** A random integer from 0 up to, but not including, `limit`, which is at most 2^32. */
function drawBelow(limit: number): number {
  const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
  return Math.floor(random / 2 ** 32 * limit);
}
