/**
 * The nodes of a storage in memory. A node is a slot in columns. That takes a fraction of the memory of an object with
 * boxed numbers.
 *
 * @module
 */
import type { NodeChange, ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { VersionOrder } from "./version_order.ts";

/** The version of a node, and its dot. */
export type Placement = Pick<ReplicatedNode, "version" | "replicaId" | "dotVersion">;

/** Nodes and tombstones by key, by slot, and in order of version. */
export class NodeColumns {
  readonly #slots = new Map<string, number>();
  readonly #order = new VersionOrder();
  readonly #keys: string[] = [""];
  readonly #hashes: string[] = [""];
  #updatedAt = new Float64Array(1024);
  #deleted = new Uint8Array(1024);
  /** By slot: the index in `#replicaIds` of its dot's replica id. */
  #replicaOf = new Uint32Array(1024);
  /** The first one stands for the storage's own. */
  readonly #replicaIds: string[] = [""];
  /** By slot, where it is not the version: the version of the node's dot. */
  readonly #lateDots = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  readonly #getReplicaId: () => string;

  /** @param getReplicaId Returns the storage's own replica id. */
  constructor(getReplicaId: () => string) {
    this.#getReplicaId = getReplicaId;
  }

  /** The slots by key; slot 0 is not used. */
  get slots(): ReadonlyMap<string, number> {
    return this.#slots;
  }

  /** The slots in order of version. Only `NodeColumns` changes it. */
  get order(): Pick<VersionOrder, "firstAbove" | "next" | "versionOf"> {
    return this.#order;
  }

  /** The versions of dots that are not the version of their node, by slot. */
  get lateDots(): ReadonlyMap<number, number> {
    return this.#lateDots;
  }

  /** The slot after the last one. */
  get end(): number {
    return this.#keys.length;
  }

  /** Whether a slot has a node or a tombstone. */
  isUsed(slot: number): boolean {
    return this.#keys[slot] !== "";
  }

  /** Whether a slot has a tombstone. */
  isDeleted(slot: number): boolean {
    return this.#deleted[slot] === 1;
  }

  /** The node of a key; `undefined` if it does not exist or is deleted. */
  get(key: string): RealityNodeMeta | undefined {
    const slot = this.#slots.get(key);
    return slot === undefined || this.#deleted[slot] === 1 ? undefined : this.metaAt(slot);
  }

  /** The version of a key's node; 0 if it does not exist or is deleted. */
  versionOf(key: string): number {
    const slot = this.#slots.get(key);
    return slot === undefined || this.#deleted[slot] === 1 ? 0 : this.#order.versionOf(slot);
  }

  /** A copy for the caller. Changing it does not change the storage. */
  metaAt(slot: number): RealityNodeMeta {
    const meta: RealityNodeMeta = {
      key: this.#keys[slot] ?? "",
      version: this.#order.versionOf(slot),
      hash: this.#hashes[slot] ?? "",
      updatedAt: this.#updatedAt[slot] ?? 0,
    };
    if (this.#deleted[slot] === 1) meta.deleted = true;
    return meta;
  }

  /** The same with the node's dot. */
  replicatedAt(slot: number): ReplicatedNode {
    const meta = this.metaAt(slot);
    const replicaId = this.#replicaIds[this.#replicaOf[slot] ?? 0] || this.#getReplicaId();
    return { ...meta, replicaId, dotVersion: this.#lateDots.get(slot) ?? meta.version };
  }

  /** The slot of a key, which is made if the key has none. */
  ensureSlot(key: string): number {
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = this.#freeSlots.pop() ?? this.#keys.length;
      if (slot >= this.#updatedAt.length) this.#grow(slot);
      this.#slots.set(key, slot);
      this.#keys[slot] = key;
      this.#deleted[slot] = 0;
    } else this.#order.remove(slot);
    return slot;
  }

  /** Writes a node or tombstone into a slot of {@linkcode ensureSlot}. */
  fill(slot: number, { hash, updatedAt, deleted }: NodeChange | RealityNodeMeta, at: Placement): void {
    const { version, replicaId, dotVersion } = at;
    this.#order.insert(slot, version);
    this.#hashes[slot] = hash;
    this.#updatedAt[slot] = updatedAt;
    this.#deleted[slot] = deleted ? 1 : 0;
    this.#replicaOf[slot] = this.#replicaIndex(replicaId);
    if (dotVersion === version) this.#lateDots.delete(slot);
    else this.#lateDots.set(slot, dotVersion);
  }

  /** Removes a node or tombstone. */
  remove(slot: number): void {
    this.#lateDots.delete(slot);
    this.#order.remove(slot);
    this.#slots.delete(this.#keys[slot] ?? "");
    this.#keys[slot] = this.#hashes[slot] = "";
    this.#freeSlots.push(slot);
  }

  #replicaIndex(replicaId: string): number {
    if (replicaId === this.#getReplicaId()) return 0;
    // The last ones are the most frequent: replicas before them may be gone.
    const index = this.#replicaIds.lastIndexOf(replicaId);
    return index !== -1 ? index : this.#replicaIds.push(replicaId) - 1;
  }

  #grow(slot: number): void {
    const size = Math.ceil(Math.max(slot + 1, this.#updatedAt.length * 1.5));
    const updatedAt = new Float64Array(size);
    updatedAt.set(this.#updatedAt);
    this.#updatedAt = updatedAt;
    const deleted = new Uint8Array(size);
    deleted.set(this.#deleted);
    this.#deleted = deleted;
    const replicaOf = new Uint32Array(size);
    replicaOf.set(this.#replicaOf);
    this.#replicaOf = replicaOf;
  }
}
