/**
 * Stamps, which name changes among storages, and what of them a storage has seen. Pure.
 *
 * @module
 */
import type { RealityNodeMeta } from "../types.ts";

/** Names one change, in whichever storage it stands: the number it got, and the origin that gave the number. */
export interface Dot {
  /** The number. It is the node's version, save for a node that was published below the counter. */
  readonly version: number;
  /** The origin of the storage that numbered it. */
  readonly replicaId: string;
}

/** A node, or a tombstone, as storages tell it to each other: with the stamp of the change it comes from. */
export interface ReplicatedNode extends RealityNodeMeta {
  /** The origin of the storage that wrote it. */
  readonly replicaId: string;
  /** The stamp's number. */
  readonly dotVersion: number;
}

/** Origin → the highest stamp of that origin that was taken in, with all before it. Left out: none. */
export type VersionVector = ReadonlyMap<string, number>;

/** The stamp of a node. */
export function dotOf({ dotVersion, replicaId }: ReplicatedNode): Dot {
  return { version: dotVersion, replicaId };
}

/** Whether two stamps, or the lack of one, are the same. */
export function isSameDot(a: Dot | null, b: Dot | null): boolean {
  return a === b || a !== null && b !== null && a.version === b.version && a.replicaId === b.replicaId;
}

/** Whether a stamp was taken in. */
export function includesDot(vector: VersionVector, { version, replicaId }: Dot): boolean {
  return (vector.get(replicaId) ?? 0) >= version;
}

/** Whether everything that `other` has seen was seen here as well. */
export function coversVector(vector: VersionVector, other: VersionVector): boolean {
  for (const [replicaId, version] of other) if ((vector.get(replicaId) ?? 0) < version) return false;
  return true;
}

/** What either of the two has seen. */
export function joinVectors(a: VersionVector, b: VersionVector): Map<string, number> {
  const joined = new Map(a);
  for (const [replicaId, version] of b) {
    if ((joined.get(replicaId) ?? 0) < version) joined.set(replicaId, version);
  }
  return joined;
}

/**
 * A stamp below which, or at which, nothing can lie that `seen` has and `base` has not: what is looked for
 * outside of `base` need only be looked for above it. `Infinity` when there is nothing to look for.
 */
export function lowestMissing(base: VersionVector, vector: VersionVector): number {
  let lowest = Infinity;
  for (const [replicaId, version] of vector) {
    const known = base.get(replicaId) ?? 0;
    if (known < version && known < lowest) lowest = known;
  }
  return lowest;
}
