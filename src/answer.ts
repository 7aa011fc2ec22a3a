/**
 * What a sync request is told, and the forms in which it is handed out. Pure.
 *
 * @module
 */
import { metaOf } from "./compare.ts";
import type { NodeLookup } from "./storage.ts";
import type { MeshInfo, RealityNodeMeta, SyncResponse } from "./types.ts";

/** What a client is told. */
export interface SyncAnswer {
  /** The keys that it should fetch again. */
  readonly changed: readonly string[];
  /** Finds their nodes: those of a live storage as they stand now, so they are not to be looked up later. */
  readonly nodes: NodeLookup;
  readonly mesh: MeshInfo;
  readonly epoch: string;
  readonly serverTime: number;
}

/** In which form an answer is handed out. */
export interface AnswerForm<T> {
  /** What a client is told, in this form. */
  toClient(answer: SyncAnswer): T;
  /** What another server is told, in this form. */
  toPeer(answer: { readonly gossip: unknown }): T;
}

/** Answers as objects. */
export const asObject: AnswerForm<SyncResponse> = {
  toClient({ changed: keys, nodes, mesh, epoch, serverTime }) {
    const changed: Record<string, RealityNodeMeta> = Object.create(null);
    for (const key of keys) changed[key] = metaOf(nodes, key);
    return { changed, mesh, epoch, serverTime };
  },
  // Servers ask on the same path as clients do, and expect another answer.
  toPeer: (answer) => answer as unknown as SyncResponse,
};
