/**
 * Known against stored: the one comparison behind sync, waiting sync and event streams. Pure.
 *
 * @module
 */
import type { NodeLookup } from "./storage.ts";
import type { RealityNodeMeta } from "./types.ts";

/** What a client holds: keys, and beside each of them, at the same place, its version; 0 for none. */
export interface Known {
  readonly keys: readonly string[];
  readonly versions: readonly number[];
}

/**
 * Picks the nodes that a client should fetch again (PROTOCOL 4).
 *
 * @param known What the client holds.
 * @param nodes Finds the stored nodes.
 * @param sameEpoch Whether the client's versions come from the storage's present epoch, as far as it said.
 * @param tally Where it is counted how many these are.
 * @returns Key → meta of every node to fetch again, without a prototype; `null` when there is none.
 */
export function compare(
  { keys, versions }: Known,
  nodes: NodeLookup,
  sameEpoch: boolean,
  tally?: { changed: number },
): Record<string, RealityNodeMeta> | null {
  let changed: Record<string, RealityNodeMeta> | null = null;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    const version = versions[i];
    const stored = versionOf(nodes, key);
    // Unequal covers both directions: a lower version than the client's is told as well, never kept quiet.
    if (stored === version && (sameEpoch || stored === 0)) continue;
    if (tally !== undefined) tally.changed++;
    changed ??= Object.create(null) as Record<string, RealityNodeMeta>;
    const node = nodes.get(key);
    changed[key] = node === undefined ? absentMeta(key) : publicMeta(node);
  }
  return changed;
}

/** The version of a stored node; 0 for a key that has none. */
export function versionOf(nodes: NodeLookup, key: string): number {
  return nodes.versionOf === undefined ? nodes.get(key)?.version ?? 0 : nodes.versionOf(key);
}

/** The meta of a key that has no node: never there, deleted, or not to be read by this client. */
export function absentMeta(key: string): RealityNodeMeta {
  return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
}

/** A stored node as clients may see it: a storage may keep more with it. */
function publicMeta(node: RealityNodeMeta): RealityNodeMeta {
  return { key: node.key, version: node.version, hash: node.hash, updatedAt: node.updatedAt };
}
