/**
 * Dots, which name changes across storages, and version vectors, which say what a storage has merged. Pure.
 *
 * @module
 */
import type { RealityNodeMeta } from "../types.ts";

/** Names one change in every storage: the number of the change, and the replica that assigned it. */
export interface Dot {
  /** The number. It equals the version of the node, unless the node was published below the counter. */
  readonly version: number;
  /** The id of the storage that assigned the number. */
  readonly replicaId: string;
}

/** A node or tombstone with the dot of its change, as storages exchange them. */
export interface ReplicatedNode extends RealityNodeMeta {
  /** The id of the storage that wrote the node. */
  readonly replicaId: string;
  /** The number of the dot. */
  readonly dotVersion: number;
}

/** Replica id → the highest dot version of that replica that was merged, with all before it. Left out: none. */
export type VersionVector = ReadonlyMap<string, number>;

/** The dot of a node. */
export function dotOf({ dotVersion, replicaId }: ReplicatedNode): Dot {
  return { version: dotVersion, replicaId };
}

/** Whether two dots are equal; `null` stands for no dot. */
export function isSameDot(a: Dot | null, b: Dot | null): boolean {
  return a === b || a !== null && b !== null && a.version === b.version && a.replicaId === b.replicaId;
}

/** Whether a version vector includes a dot. */
export function includesDot(vector: VersionVector, { version, replicaId }: Dot): boolean {
  return (vector.get(replicaId) ?? 0) >= version;
}

/** Whether a version vector includes everything that `other` includes. */
export function coversVector(vector: VersionVector, other: VersionVector): boolean {
  for (const [replicaId, version] of other) if ((vector.get(replicaId) ?? 0) < version) return false;
  return true;
}

/** The union of two version vectors. */
export function joinVectors(a: VersionVector, b: VersionVector): Map<string, number> {
  const joined = new Map(a);
  for (const [replicaId, version] of b) {
    if ((joined.get(replicaId) ?? 0) < version) joined.set(replicaId, version);
  }
  return joined;
}

/**
 * A dot version above which everything lies that `vector` includes and `base` does not. A search for missing changes
 * can start there. `Infinity` if nothing is missing.
 */
export function lowestMissing(base: VersionVector, vector: VersionVector): number {
  let lowest = Infinity;
  for (const [replicaId, version] of vector) {
    const known = base.get(replicaId) ?? 0;
    if (known < version && known < lowest) lowest = known;
  }
  return lowest;
}

/** The entries with the highest dot versions, `count` at most. Of equal ones, those of the lesser replica ids. */
export function newestEntries(vector: VersionVector, count: number): VersionVector {
  const sorted = [...vector].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return new Map(sorted.slice(0, count));
}

/** The entries of `vector` that `known` does not include. */
export function unknownEntries(vector: VersionVector, known: VersionVector): VersionVector {
  if (known.size === 0) return vector;
  return new Map([...vector].filter(([replicaId, version]) => !includesDot(known, { replicaId, version })));
}

/** How many entries that it has forgotten a storage keeps. */
export const MAX_FORGOTTEN = 1000;

/** What a storage knows of other storages. */
export interface KnownReplicas {
  /** The version vector. */
  readonly vector: VersionVector;
  /** Replica id → the highest dot version among tombstones that were collected here. */
  readonly collected: VersionVector;
  /** Entries of the version vector that were forgotten, in the order in which they were. Left out: none. */
  readonly forgotten?: VersionVector;
}

/**
 * Forgets replicas, as `MeshStorage.forgetReplicas()` does.
 *
 * @param known What the storage knows.
 * @param replicas Replica id → its entry in the version vector.
 * @param own The own dot that stands for their collected tombstones.
 * @returns What it knows then; the same object if nothing is forgotten.
 */
export function forgetReplicas(known: KnownReplicas, replicas: VersionVector, own: Dot): KnownReplicas {
  const [vector, collected] = [new Map(known.vector), new Map(known.collected)];
  const removed = new Map<string, number>();
  for (const [replicaId, highest] of replicas) {
    const isSame = vector.get(replicaId) === highest && (collected.get(replicaId) ?? 0) <= highest;
    if (replicaId === own.replicaId || !isSame) continue;
    vector.delete(replicaId);
    removed.set(replicaId, highest);
    if (!collected.delete(replicaId)) continue;
    collected.set(own.replicaId, Math.max(own.version, collected.get(own.replicaId) ?? 0));
  }
  if (removed.size === 0) return known;
  // Not those with the lowest numbers are dropped: a storage that has not forgotten the last ones yet would bring them back.
  const earlier = [...known.forgotten ?? []].filter(([replicaId]) => !removed.has(replicaId));
  return { vector, collected, forgotten: new Map([...earlier, ...removed].slice(-MAX_FORGOTTEN)) };
}

/** All that a version vector and the forgotten entries include. */
export function withForgotten(
  { vector, forgotten }: { readonly vector: VersionVector; readonly forgotten?: VersionVector | undefined },
): VersionVector {
  return forgotten === undefined ? vector : joinVectors(vector, forgotten);
}

/** Replica id → the highest dot version among nodes. */
export function highestDots(nodes: readonly ReplicatedNode[]): VersionVector {
  const dots = new Map<string, number>();
  for (const { replicaId, dotVersion } of nodes) {
    dots.set(replicaId, Math.max(dotVersion, dots.get(replicaId) ?? 0));
  }
  return dots;
}
