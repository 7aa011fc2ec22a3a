/**
 * The one way in for a change, whoever brings it.
 *
 * @module
 */
import type { WriteBatcher } from "./write_batcher.ts";
import type { Clock } from "../clock.ts";
import { hashFault, keyFault } from "./node.ts";
import type { Limits } from "../options.ts";
import { type NodeMerge, randomName, type ReplicatedNode, type VersionVector } from "./contract.ts";
import { StorageError } from "../errors.ts";
import type { NodeUpdate, RealityNodeMeta } from "../types.ts";

/** Says what becomes of a node that another storage has, given the one that is here. */
export type MergeFunction = (theirs: ReplicatedNode, mine: ReplicatedNode | undefined) => NodeMerge | null;

/** A judge, and what it knows of forgotten deletions. */
export interface MergeContext {
  readonly merge: MergeFunction;
  /** The swept tombstones that it takes into account where a node is missing here; left out where none matter. */
  readonly collected?: VersionVector;
}

/**
 * Makes a judge, after the nodes here were read: so it knows of all that had been forgotten by then.
 *
 * @param isMissing Whether some of the nodes to judge are not here.
 */
export type PrepareMerge = (isMissing: boolean) => MergeContext | Promise<MergeContext>;

/** What came of nodes that another storage has. */
export interface MergedNodes {
  /** The keys of those that were written as they were there. */
  readonly taken: readonly string[];
  /** Changes that this storage made instead, which nobody else knows. */
  readonly made: readonly RealityNodeMeta[];
}

/** So often a node is judged anew because another one came in its place meanwhile. */
const MAX_MERGE_ATTEMPTS = 50;

/** Checks changes and hands them to the storage. */
export class Changes {
  readonly #writer: WriteBatcher;
  readonly #clock: Clock;
  readonly #limits: Limits;

  /**
   * @param writer Commits changes, and wakes who waits for them.
   * @param clock Dates them.
   * @param limits What a key and a hash may be.
   */
  constructor(writer: WriteBatcher, clock: Clock, limits: Limits) {
    this.#writer = writer;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Publishes nodes' new states. Nothing is written when one of them is wrong. */
  update(updates: readonly NodeUpdate[]): RealityNodeMeta[] | Promise<RealityNodeMeta[]> {
    for (const { key, hash } of updates) {
      this.checkKey(key);
      const fault = hashFault(hash, this.#limits.maxHashBytes);
      if (fault !== undefined) throw invalidArgument("hash", hash, fault);
    }
    const updatedAt = this.#clock.now();
    const [first] = updates;
    if (first !== undefined && updates.length === 1) {
      const meta = this.#writer.write({ key: first.key, hash: first.hash, updatedAt });
      return meta instanceof Promise ? meta.then((meta) => [meta]) : [meta];
    }
    return Promise.all(this.#writer.writeMany(updates.map(({ key, hash }) => ({ key, hash, updatedAt }))));
  }

  /** Says that nodes changed, with hashes never used before: who compares hashes must not sleep on. */
  async invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]> {
    const longest = this.#limits.maxHashBytes;
    return await this.update(
      keys.map((key) => ({ key, hash: `invalidated-${randomName(16)}`.slice(-longest) })),
    );
  }

  /** Takes a node away. */
  async delete(key: string): Promise<RealityNodeMeta[]> {
    this.checkKey(key);
    return [await this.#writer.write({ key, hash: "", updatedAt: this.#clock.now(), deleted: true })];
  }

  /**
   * Takes in nodes that another storage has. Who waits for any of them is to be woken afterwards, also when this
   * fails: what is nothing new to this storage may be so to who waits here.
   *
   * @throws {StorageError} When the storage fails or takes too long; some of them may have been written.
   */
  async merge(nodes: readonly ReplicatedNode[], prepare: PrepareMerge): Promise<MergedNodes> {
    const taken: string[] = [];
    const made: RealityNodeMeta[] = [];
    let left = nodes;
    for (let i = 0; left.length > 0; i++) {
      if (i === MAX_MERGE_ATTEMPTS) throw new StorageError("mergeNodes", "these nodes change too often");
      const mine = await this.#writer.readReplicated(left.map(({ key }) => key));
      const { merge, collected: collected } = await prepare(mine.size < left.length);
      const merges = left.flatMap((node) => merge(node, mine.get(node.key)) ?? []);
      const metas = await this.#writer.merge(merges, collected);
      merges.forEach(({ node }, i) => {
        const meta = metas[i];
        if (meta) "replicaId" in node ? taken.push(meta.key) : made.push(meta);
      });
      const missed = new Set(merges.filter((_, i) => metas[i] === null).map(({ node }) => node.key));
      left = left.filter(({ key }) => missed.has(key));
    }
    return { taken, made };
  }

  /**
   * Checks a key that the application gave.
   *
   * @throws {TypeError} When it is no string.
   * @throws {RangeError} When it is too long, empty, or has characters that are not allowed.
   */
  checkKey(key: unknown): void {
    const fault = keyFault(key, this.#limits.maxKeyBytes);
    if (fault !== undefined) throw invalidArgument("key", key, fault);
  }
}

function invalidArgument(what: string, value: unknown, fault: string): Error {
  const message = `Cannot take this ${what}: ${fault}`;
  return typeof value === "string" ? new RangeError(message) : new TypeError(message);
}
