/**
 * A node as a DynamoDB table stores it. Pure.
 *
 * @module
 */
import type { ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/**
 * A node, or a tombstone with the time at which it expires. A field that is left out has the value that it has for a
 * change of this storage with the next version, as most changes are.
 */
export interface NewNode extends RealityNodeMeta {
  /** The replica id of its dot, where it was merged from another storage. */
  readonly replicaId?: string;
  /** The version of its dot, where it is not the node's version. */
  readonly dotVersion?: number;
  /** Its position in the index, where that is not the version of its dot. */
  readonly indexPosition?: number;
  /** For a tombstone that is not kept for ever: when it expires, in seconds since 1970. */
  readonly until?: number;
}

/** The same, with the commit that wrote it. The latest commit of a key counts. */
export interface StoredNode extends NewNode {
  /** The number of the commit in the order of all commits. */
  readonly revision: number;
}

/** The version of a node's dot. */
export function dotVersionOf({ dotVersion, version }: NewNode): number {
  return dotVersion ?? version;
}

/**
 * The position of a node in the index: the version of its dot or above, and never below an earlier position of its
 * key. So a reader that goes up the index finds every key that existed when the reading began.
 */
export function indexPositionOf(node: NewNode): number {
  return node.indexPosition ?? dotVersionOf(node);
}

/** The node, at the index position of the node of its key that it replaces if that is higher. */
export function keepIndexPosition(node: NewNode, other: NewNode | undefined): NewNode {
  const indexPosition = other === undefined ? 0 : indexPositionOf(other);
  return indexPosition > dotVersionOf(node) ? { ...node, indexPosition } : node;
}

/** The fields for a node's dot and index position. Those that equal the version are left out. */
export function dotFields(
  version: number,
  trace: {
    readonly dotVersion?: number | null | undefined;
    readonly replicaId?: string | null | undefined;
    readonly indexPosition?: number | null | undefined;
  },
): Pick<NewNode, "dotVersion" | "replicaId" | "indexPosition"> {
  const dotVersion = trace.dotVersion ?? version;
  const indexPosition = trace.indexPosition ?? dotVersion;
  return {
    ...(dotVersion === version ? {} : { dotVersion }),
    ...(trace.replicaId ? { replicaId: trace.replicaId } : {}),
    ...(indexPosition === dotVersion ? {} : { indexPosition }),
  };
}

/** A node as stored: `until` is left out for a node, and 0 for a tombstone that is kept for ever. */
export function toNode(meta: RealityNodeMeta, until: number | undefined): NewNode {
  if (until === undefined) return meta;
  return until === 0 ? { ...meta, deleted: true } : { ...meta, deleted: true, until };
}

/** A node as the caller gets it. */
export function toMeta({ key, version, hash, updatedAt, deleted }: RealityNodeMeta): RealityNodeMeta {
  const meta: RealityNodeMeta = { key, version, hash, updatedAt };
  if (deleted) meta.deleted = true;
  return meta;
}

/** A node with its dot, as other storages get it. */
export function toReplicated(node: NewNode, own: string): ReplicatedNode {
  return { ...toMeta(node), replicaId: node.replicaId ?? own, dotVersion: dotVersionOf(node) };
}
