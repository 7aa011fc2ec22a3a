/**
 * What the kit's files share that are about storages beside others.
 *
 * @module
 */
import {
  type Dot,
  isMeshStorage,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  type RealityStorage,
  type ReplicatedNode,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert } from "./assert.ts";
import { defined, keysOf, type Kit } from "./kit.ts";

/** Sorts before every epoch that a storage makes. */
export const FIRST_EPOCH = "000000000-first";
/** Sorts after every epoch that a storage makes. */
export const LAST_EPOCH = "zzzzzzzzz-last";
/** More nodes than any test writes but those that say so. */
export const MANY = 1000;

/** As `kit`, for storages that stand beside others. */
export function meshKit({ check, checkShared }: Kit): {
  checkMesh: (name: string, fn: (storage: MeshStorage) => Promise<void>) => void;
  checkBoth: (name: string, fn: (one: MeshStorage, other: MeshStorage) => Promise<void>) => void;
} {
  return {
    checkMesh: (name, fn) => check(name, async (storage) => await fn(asMesh(storage))),
    checkBoth: (name, fn) => checkShared(name, async (one, other) => await fn(asMesh(one), asMesh(other))),
  };
}

/** The storage, which must be one that can stand beside others. */
export function asMesh(storage: RealityStorage): MeshStorage {
  assert(isMeshStorage(storage), "Expected a storage that can stand beside others");
  return storage;
}

/** A node as another storage wrote it. */
export function replicaNode(key: string, version: number, replicaId: string = "other"): ReplicatedNode {
  return {
    key,
    version,
    hash: `hash-${version}`,
    updatedAt: 1_700_000_000_000,
    replicaId: replicaId,
    dotVersion: version,
  };
}

/** A node as this storage wrote it. */
export function ownNode(meta: RealityNodeMeta, replicaId: string): ReplicatedNode {
  return { ...meta, replicaId: replicaId, dotVersion: meta.version };
}

/** A node, or a change, that is to be written in the place of another. */
export function mergeOf(node: ReplicatedNode | NodeChange, replaces: Dot | null): NodeMerge {
  return { node, replaces };
}

/** A merge of a node whose key is not stored. */
export function mergeNew(node: ReplicatedNode): NodeMerge {
  return mergeOf(node, null);
}

/** The dot of a version that this storage gave. */
export function dotOfMeta({ replicaId }: { readonly replicaId: string }, version: number): Dot {
  return { version, replicaId };
}

/** A replicated node without its dot. */
export function toMeta({ replicaId: _origin, dotVersion: _stamp, ...meta }: ReplicatedNode): RealityNodeMeta {
  return meta;
}

/** The node or tombstone of a key, which must be there. */
export async function replicatedOf(storage: MeshStorage, key: string): Promise<ReplicatedNode> {
  return defined((await storage.readReplicated([key])).get(key));
}

/** The nodes or tombstones of keys, which must all be there. */
export async function stampedOfAll(storage: MeshStorage, ...keys: string[]): Promise<ReplicatedNode[]> {
  const nodes = await storage.readReplicated(keys);
  return keys.map((key) => defined(nodes.get(key)));
}

/** The own entry of a storage's version vector. */
export async function ownDotVersion(storage: MeshStorage): Promise<number> {
  const { vector, replicaId } = await storage.readReplicaState();
  return vector.get(replicaId) ?? 0;
}

/** The entries above 0: whether one of 0 is there says nothing. */
export function highest(vector: VersionVector): Record<string, number> {
  return Object.fromEntries([...vector].filter(([, stamp]) => stamp > 0));
}

/** Nodes in the order of their keys. */
export function byKey<T extends RealityNodeMeta>(nodes: readonly T[]): T[] {
  return [...nodes].sort((a, b) => a.key < b.key ? -1 : 1);
}

/** The keys of metas, which must all have been written. */
export function keysOfAll(metas: readonly (RealityNodeMeta | null)[]): string[] {
  return keysOf(metas.map(defined));
}

/** All pages of a delta. */
export async function readPages(
  storage: MeshStorage,
  base: VersionVector,
  limit: number,
): Promise<Awaited<ReturnType<MeshStorage["readDelta"]>>[]> {
  const pages = [await storage.readDelta(base, limit)];
  for (let next = pages[0]?.next; next !== null && next !== undefined; next = pages.at(-1)?.next) {
    assert(pages.length < 10_000, "Expected the pages to come to an end");
    pages.push(await storage.readDelta(base, limit, next));
  }
  return pages;
}
