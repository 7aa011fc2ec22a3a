/**
 * Compares the versions that a client holds with the stored ones, for sync, waiting sync and event streams. Pure.
 *
 * @module
 */
import type { NodeLookup } from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";

/** What a client holds: keys, and the version of each key at the same index; 0 for none. */
export interface Known {
  readonly keys: readonly string[];
  readonly versions: readonly number[];
}

/**
 * Finds the keys that a client should fetch again (PROTOCOL 4).
 *
 * @param known What the client holds.
 * @param nodes Finds the stored nodes.
 * @param sameEpoch Whether the client's versions belong to the current epoch of the storage, as far as the client
 *   told.
 * @returns Their keys; `null` if there are none.
 */
export function compare({ keys, versions }: Known, nodes: NodeLookup, sameEpoch: boolean): string[] | null {
  let changed: string[] | null = null;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    const version = versions[i];
    const stored = versionOf(nodes, key);
    // Unequal covers both directions: a stored version below the client's is reported as well.
    if (stored === version && (sameEpoch || stored === 0)) continue;
    if (changed === null) changed = [key];
    else changed.push(key);
  }
  return changed;
}

/** The version of a stored node; 0 for a key without a node. */
export function versionOf(nodes: NodeLookup, key: string): number {
  return nodes.versionOf === undefined ? nodes.get(key)?.version ?? 0 : nodes.versionOf(key);
}

/**
 * What a client receives for a key: its node, without additional fields of the storage. A key that never existed, is
 * deleted, or may not be read by this client is reported as deleted.
 */
export function metaOf(nodes: NodeLookup, key: string): RealityNodeMeta {
  const node = nodes.get(key);
  if (node === undefined) return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
  return { key: node.key, version: node.version, hash: node.hash, updatedAt: node.updatedAt };
}
