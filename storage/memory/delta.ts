/**
 * The nodes that a storage in memory has and another storage lacks.
 *
 * @module
 */
import {
  dotOf,
  includesDot,
  lowestMissing,
  type ReplicatedNode,
  type StorageDelta,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { NodeColumns } from "./node_columns.ts";

/** All nodes whose dots `base` does not include, found by version; `undefined` if there are more than `limit`. */
export function missingByVersion(
  nodes: NodeColumns,
  { base, vector }: { readonly base: VersionVector; readonly vector: VersionVector },
  limit: number,
): ReplicatedNode[] | undefined {
  const missing: ReplicatedNode[] = [];
  const lowest = lowestMissing(base, vector);
  const { order, lateDots } = nodes;
  for (let slot = order.firstAbove(lowest); slot !== 0; slot = order.next(slot)) {
    const node = nodes.replicatedAt(slot);
    if (lateDots.has(slot) || includesDot(base, dotOf(node))) continue;
    if (missing.push(node) > limit) return undefined;
  }
  for (const [slot, dotVersion] of lateDots) {
    if (dotVersion <= lowest) continue;
    const node = nodes.replicatedAt(slot);
    if (!includesDot(base, dotOf(node)) && missing.push(node) > limit) return undefined;
  }
  return missing;
}

/** The next nodes whose dots `base` does not include, in the order of their slots. A key keeps its slot. */
export function missingPage(
  nodes: NodeColumns,
  base: VersionVector,
  { limit, after = "0" }: { readonly limit: number; readonly after?: string | undefined },
): Pick<StorageDelta, "nodes" | "next"> {
  const missing: ReplicatedNode[] = [];
  for (let slot = Number(after) + 1; slot < nodes.end; slot++) {
    if (!nodes.isUsed(slot)) continue;
    const node = nodes.replicatedAt(slot);
    if (includesDot(base, dotOf(node))) continue;
    if (missing.push(node) >= limit) return { nodes: missing, next: String(slot) };
  }
  return { nodes: missing, next: null };
}
