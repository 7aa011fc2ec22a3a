/**
 * Reads the delta of a gossip message.
 *
 * @module
 */
import type { ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/** The delta of a message. */
export interface SentDelta {
  /** The replica id of the storage that the delta was read from. The sender may have another one by now. */
  readonly sender: string;
  readonly nodes: readonly ReplicatedNode[];
  readonly full: boolean;
  readonly isLast: boolean;
}

/** The delta of a gossip message, or `undefined` if the body has none. */
export function deltaOf(body: string): SentDelta | undefined {
  if (!body.includes('\\"delta\\"')) return undefined;
  const { gossip } = JSON.parse(body) as { gossip?: { message?: string } };
  const { origin: sender = "", delta } = JSON.parse(gossip?.message ?? "{}") as {
    origin?: string;
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
  return { sender, nodes, full: delta?.full === true, isLast: delta?.next === null };
}
