/**
 * Known against stored: the one comparison behind sync, waiting sync and event streams. Pure.
 *
 * @module
 */
import type { NodeLookup } from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";

/** What a client holds: keys, and beside each of them, at the same place, its version; 0 for none. */
export interface Known {
  readonly keys: readonly string[];
  readonly versions: readonly number[];
}

/**
 * Picks the keys that a client should fetch again (PROTOCOL 4).
 *
 * @param known What the client holds.
 * @param nodes Finds the stored nodes.
 * @param sameEpoch Whether the client's versions come from the storage's present epoch, as far as it said.
 * @returns Their keys; `null` when there is none.
 */
export function compare({ keys, versions }: Known, nodes: NodeLookup, sameEpoch: boolean): string[] | null {
  let changed: string[] | null = null;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    const version = versions[i];
    const stored = versionOf(nodes, key);
    // Unequal covers both directions: a lower version than the client's is told as well, never kept quiet.
    if (stored === version && (sameEpoch || stored === 0)) continue;
    if (changed === null) changed = [key];
    else changed.push(key);
  }
  return changed;
}

/** The version of a stored node; 0 for a key that has none. */
export function versionOf(nodes: NodeLookup, key: string): number {
  return nodes.versionOf === undefined ? nodes.get(key)?.version ?? 0 : nodes.versionOf(key);
}

/**
 * What clients are told of a key: its node, without what a storage may keep beside it; or that there is none, be it
 * that it was never there, is deleted, or is not to be read by this client.
 */
export function metaOf(nodes: NodeLookup, key: string): RealityNodeMeta {
  const node = nodes.get(key);
  if (node === undefined) return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
  return { key: node.key, version: node.version, hash: node.hash, updatedAt: node.updatedAt };
}
