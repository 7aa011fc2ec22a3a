/**
 * Reads the delta of a gossip message.
 *
 * @module
 */
import type { ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/** The delta of a gossip message, or `undefined` if the body has none. */
export function deltaOf(
  body: string,
): { readonly nodes: ReplicatedNode[]; readonly full: boolean; readonly isLast: boolean } | undefined {
  if (!body.includes('\\"delta\\"')) return undefined;
  const { gossip } = JSON.parse(body) as { gossip?: { message?: string } };
  const { delta } = JSON.parse(gossip?.message ?? "{}") as {
    delta?: {
      nodes: (RealityNodeMeta & { origin: string; stamp?: number })[];
      full: boolean;
      next: string | null;
    };
  };
  const nodes = (delta?.nodes ?? []).map(({ origin, stamp, ...node }) => ({
    ...node,
    replicaId: origin,
    dotVersion: stamp ?? node.version,
  }));
  return { nodes, full: delta?.full === true, isLast: delta?.next === null };
}
