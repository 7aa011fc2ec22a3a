/**
 * Stamps, which name changes among storages, and what of them a storage has seen. Pure.
 *
 * @module
 */
import type { RealityNodeMeta } from "../types.ts";

/** Names one change, in whichever storage it stands: the number it got, and the origin that gave the number. */
export interface Stamp {
  /** The number. It is the node's version, save for a node that was published below the counter. */
  readonly version: number;
  /** The origin of the storage that numbered it. */
  readonly origin: string;
}

/** A node, or a tombstone, as storages tell it to each other: with the stamp of the change it comes from. */
export interface StampedNode extends RealityNodeMeta {
  /** The origin of the storage that wrote it. */
  readonly origin: string;
  /** The stamp's number. */
  readonly stamp: number;
}

/** Origin → the highest stamp of that origin that was taken in, with all before it. Left out: none. */
export type Seen = ReadonlyMap<string, number>;

/** The stamp of a node. */
export function stampOf({ stamp, origin }: StampedNode): Stamp {
  return { version: stamp, origin };
}

/** Whether two stamps, or the lack of one, are the same. */
export function isSameStamp(a: Stamp | null, b: Stamp | null): boolean {
  return a === b || a !== null && b !== null && a.version === b.version && a.origin === b.origin;
}

/** Whether a stamp was taken in. */
export function hasSeen(seen: Seen, { version, origin }: Stamp): boolean {
  return (seen.get(origin) ?? 0) >= version;
}

/** Whether everything that `other` has seen was seen here as well. */
export function coversSeen(seen: Seen, other: Seen): boolean {
  for (const [origin, version] of other) if ((seen.get(origin) ?? 0) < version) return false;
  return true;
}

/** What either of the two has seen. */
export function joinSeen(a: Seen, b: Seen): Map<string, number> {
  const joined = new Map(a);
  for (const [origin, version] of b) if ((joined.get(origin) ?? 0) < version) joined.set(origin, version);
  return joined;
}

/**
 * A stamp below which, or at which, nothing can lie that `seen` has and `base` has not: what is looked for
 * outside of `base` need only be looked for above it. `Infinity` when there is nothing to look for.
 */
export function lowestUnseen(base: Seen, seen: Seen): number {
  let lowest = Infinity;
  for (const [origin, version] of seen) {
    const known = base.get(origin) ?? 0;
    if (known < version && known < lowest) lowest = known;
  }
  return lowest;
}
