/**
 * Anti-entropy: composes and merges deltas, page by page.
 *
 * @module
 */
import {
  coversVector,
  dotOf,
  highestDots,
  isSameDot,
  joinVectors,
  type MeshStorage,
  type ReplicaState,
  RESIDUES,
  type VersionVector,
  withForgotten,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import { type MergeContext, mergeMissing, mergeNode } from "./merge.ts";
import type { Changes } from "../store/changes.ts";
import { type Delta, mergedBySender, type Message } from "./message.ts";

/** What anti-entropy needs. */
export interface AntiEntropyDeps {
  readonly storage: MeshStorage;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** Returns the way in for nodes. */
  getChanges(): Pick<Changes, "merge">;
  /** Applies the rows of the storage's outbox that are pending. */
  drainOutbox?(): Promise<unknown>;
  /** Wakes the waiters of these keys; `null` for all. */
  wake(keys: readonly string[] | null): void;
}

/** A delta of which some pages were merged: what its next page continues. */
export interface PartialDelta {
  /** The replica id of the sender's storage. A page of another storage does not continue this delta. */
  readonly sender: string;
  /** The replica id of the storage that the pages were merged into. It may have been replaced since. */
  readonly receiver: string;
  /** The sender's version vector before its first page: adopted after the last page, not earlier. */
  readonly adopt: VersionVector;
  /** The dots that the sender had collected before its first page. */
  readonly collected: VersionVector;
  readonly full: boolean;
  /** In a full copy: the keys of the nodes, not of the tombstones, received so far. */
  readonly keys: Set<string>;
  /** The cursor of the page that is still to come. */
  readonly next: string;
}

/** The result of merging a page. */
export interface MergedPage {
  /** Whether the page continued what is here, and was merged. */
  readonly isMerged: boolean;
  /**
   * The keys of nodes that were written unchanged, and of those that were deleted since a full copy lacks them: every
   * server that gets the same copy deletes them too.
   */
  readonly written: readonly string[];
  /** Changes of this storage's own that were made instead: new to every server. */
  readonly ownChanges: readonly RealityNodeMeta[];
  /** What the next page continues; undefined after the last. */
  readonly incoming: PartialDelta | undefined;
}

/** What is sent to a peer: this storage's version vector, and a page of what the peer lacks. */
export interface ComposedPage {
  readonly state: ReplicaState;
  readonly delta: Delta | undefined;
  /** With the first page of a full copy: the collected dots that the peer does not cover. */
  readonly reason?: string;
}

/** The result for a page that was not merged. */
export const UNMERGED: MergedPage = { isMerged: false, written: [], ownChanges: [], incoming: undefined };

const EMPTY: VersionVector = new Map();

/** Composes and merges pages for one storage. It keeps nothing between them. */
export class AntiEntropy {
  readonly #deps: AntiEntropyDeps;
  /** The current merge, or the last one. */
  #lastMerge: Promise<unknown> = Promise.resolve();

  /** @param deps The storage, and the way in for nodes. */
  constructor(deps: AntiEntropyDeps) {
    this.#deps = deps;
  }

  /**
   * Composes a page of what a peer lacks.
   *
   * @param theirs The peer's version vector; undefined when it is not known: then the page has no nodes.
   * @param limit The maximum number of nodes.
   * @param pageRequest The page that the peer asks for, if not the first.
   * @param maySendCopy Whether a full copy may be sent for this reason, where a delta loses nothing either.
   */
  async compose(
    theirs: VersionVector | undefined,
    limit: number,
    pageRequest?: Message["pageRequest"],
    maySendCopy: (reason: string) => boolean = () => true,
  ): Promise<ComposedPage> {
    const { storage, callStorage } = this.#deps;
    // A peer must be told what was committed before it asked.
    if (storage.outbox !== undefined) await this.#deps.drainOutbox?.();
    if (theirs === undefined) {
      return {
        state: await callStorage("readReplicaState", () => storage.readReplicaState()),
        delta: undefined,
      };
    }
    const read = async (base: VersionVector): Promise<ComposedPage> => {
      const { nodes, next, ...state } = await callStorage(
        "readDelta",
        () => storage.readDelta(base, limit, pageRequest?.after),
      );
      const full = base === EMPTY;
      return { state, delta: { base, full, after: pageRequest?.after ?? null, next, nodes } };
    };
    if (pageRequest !== undefined) return await read(pageRequest.full ? EMPTY : theirs);
    const given = await read(theirs);
    // Deletions that the peer does not know were collected here: only a full copy shows what is gone. It has to come
    // first where this storage covers more of the replica that made them. Elsewhere a delta loses nothing.
    const { vector, collected } = given.state;
    const lacking = [...collected].filter(([replicaId, dotVersion]) =>
      dotVersion > (theirs.get(replicaId) ?? 0)
    );
    if (lacking.length > 0) {
      const reason = lacking.map(([replicaId, dotVersion]) => `${replicaId}:${dotVersion}`).sort().join();
      const isDue = lacking.some(([replicaId]) => advances(vector, theirs, replicaId));
      if (isDue || maySendCopy(reason)) return { ...await read(EMPTY), reason };
    }
    return coversVector(theirs, vector) && isEmpty(given.delta) ? { ...given, delta: undefined } : given;
  }

  /**
   * Merges a page, if it continues what is here. Deltas are merged serially: a deleted node could be resurrected after
   * its tombstone is collected.
   *
   * @param previous What the page before left; undefined when there was none.
   * @param message The message with the page.
   */
  merge(previous: PartialDelta | undefined, message: Message): Promise<MergedPage> {
    const turn = this.#lastMerge.then(() => this.#mergeNext(previous, message));
    this.#lastMerge = turn.catch(() => {});
    return turn;
  }

  async #mergeNext(previous: PartialDelta | undefined, message: Message): Promise<MergedPage> {
    const { storage, callStorage, wake } = this.#deps;
    const { delta, vector: theirs, collected = EMPTY } = message;
    if (theirs === undefined) return UNMERGED;
    const mine = await callStorage("readReplicaState", () => storage.readReplicaState());
    if (delta !== undefined && delta.after !== null) {
      const isContinued = previous?.receiver === mine.replicaId && continues(previous, message, delta);
      if (!isContinued) return UNMERGED;
    }
    // Draw another residue before any change is numbered for these nodes.
    const known = joinVectors(theirs, highestDots(delta?.nodes ?? []));
    if (sharesResidue(mine, known)) await callStorage("avoidResidues", () => storage.avoidResidues(known));
    const merged = withForgotten(mine);
    if (delta === undefined) {
      // All that the peer has is here, but its epoch may be the older one.
      const isOlder = message.epoch < mine.epoch && coversVector(merged, theirs);
      const adopt = () => storage.adoptVector(theirs, message.epoch, undefined, mine.replicaId);
      if (isOlder && await callStorage("adoptVector", adopt)) wake(null);
      return UNMERGED;
    }
    // A delta may lack deletions that were collected there. It loses none as long as it raises no entry of their
    // replica in the version vector.
    const adopt = delta.after === null ? theirs : previous?.adopt ?? theirs;
    const losesNothing = [...collected].every(([replicaId, dotVersion]) =>
      dotVersion <= (merged.get(replicaId) ?? 0) || !advances(adopt, merged, replicaId)
    );
    if (!coversVector(merged, delta.base) || !delta.full && !losesNothing) return UNMERGED;
    try {
      return await this.#mergeDelta(delta, { message, mine: { ...mine, vector: merged }, previous });
    } finally {
      // Also after a failure: some nodes may have been written. Not before the version vector is adopted: a client may
      // change the node as soon as it is told, and that change must be known to come after these nodes.
      wake(delta.nodes.map(({ key }) => key));
    }
  }

  async #mergeDelta(
    delta: Delta,
    { message, mine, previous }: {
      readonly message: Message;
      /** The state here. Its version vector includes what was forgotten. */
      readonly mine: ReplicaState;
      readonly previous: PartialDelta | undefined;
    },
  ): Promise<MergedPage> {
    const { storage, callStorage, getChanges, wake } = this.#deps;
    const { collected = EMPTY, epoch, vector = EMPTY } = message;
    const theirs = mergedBySender(message) ?? EMPTY;
    const { written, ownChanges } = await getChanges().merge(delta.nodes, async (isMissing) => {
      // A missing node may have been collected since the state was read.
      const state = isMissing
        ? await callStorage("readReplicaState", () => storage.readReplicaState())
        : mine;
      const { collected } = state;
      const merged = withForgotten(state);
      return { collected, merge: (node, own) => mergeNode(node, own, { mine: merged, theirs, collected }) };
    });
    const before = delta.after === null ? undefined : previous;
    const { adopt = vector, keys = new Set<string>() } = before ?? {};
    // A tombstone does not count: beside the deletion that it tells, another may have been collected.
    if (delta.full) { for (const { key, deleted } of delta.nodes) if (!deleted) keys.add(key); }
    if (delta.next !== null) {
      return {
        isMerged: true,
        written,
        ownChanges,
        incoming: {
          sender: message.replicaId,
          receiver: mine.replicaId,
          adopt,
          collected: before?.collected ?? collected,
          keys,
          full: delta.full,
          next: delta.next,
        },
      };
    }
    const mergeRest = () => this.#mergeMissing(keys, { mine: mine.vector, theirs: adopt, collected });
    const dropped = delta.full ? await mergeRest() : [];
    const isNew = delta.full || epoch < mine.epoch || !coversVector(mine.vector, adopt);
    // Not earlier: until here, not all that the vector covers was merged.
    const isNewEpoch = isNew &&
      await callStorage(
        "adoptVector",
        () => storage.adoptVector(adopt, epoch, delta.full ? collected : undefined, mine.replicaId),
      );
    if (isNewEpoch) wake(null);
    // Once more, for what changed here meanwhile: before the adoption no merge knew the collected dots.
    if (delta.full) dropped.push(...await mergeRest());
    const deleted = dropped.flatMap(({ key, deleted }) => deleted ? key : []);
    const joined = dropped.filter(({ deleted }) => !deleted);
    return {
      isMerged: true,
      written: [...written, ...deleted],
      ownChanges: [...ownChanges, ...joined],
      incoming: undefined,
    };
  }

  /** Merges the nodes here that a full copy lacks: each is deleted, or joined with what was collected there. */
  async #mergeMissing(keys: ReadonlySet<string>, context: MergeContext): Promise<RealityNodeMeta[]> {
    const { storage, callStorage, getChanges, wake } = this.#deps;
    const written: RealityNodeMeta[] = [];
    let after: string | undefined;
    do {
      const page = await callStorage("readDelta", () => storage.readDelta(EMPTY, 500, after));
      const missing = page.nodes.filter((node) =>
        !keys.has(node.key) && mergeMissing(node, context) !== null
      );
      const { ownChanges } = await getChanges().merge(missing, () => ({
        merge: (known, mine) => {
          if (mine === undefined || !isSameDot(dotOf(mine), dotOf(known))) return null;
          return mergeMissing(mine, context);
        },
      }));
      wake(missing.map(({ key }) => key));
      written.push(...ownChanges);
      after = page.next ?? undefined;
    } while (after !== undefined);
    return written;
  }
}

/**
 * Whether a page continues a delta. A page of an earlier delta may arrive late: it can have the right cursor, and lack
 * what has changed since. Its sender had merged or collected less then than at the first page of this delta.
 */
function continues(
  previous: PartialDelta,
  message: Message,
  { after, full }: Delta,
): boolean {
  const { replicaId, collected = EMPTY } = message;
  return after === previous.next && full === previous.full && replicaId === previous.sender &&
    coversVector(mergedBySender(message) ?? EMPTY, previous.adopt) &&
    coversVector(collected, previous.collected);
}

/** Whether another storage has the residue of this one. */
function sharesResidue({ vector, replicaId }: ReplicaState, known: VersionVector): boolean {
  const own = vector.get(replicaId) ?? 0;
  return [...known].some(([other, dotVersion]) =>
    other !== replicaId && dotVersion > 0 && (dotVersion - own) % RESIDUES === 0
  );
}

/** Whether a version vector covers more of a replica than another one does. */
function advances(vector: VersionVector, other: VersionVector, replicaId: string): boolean {
  return (vector.get(replicaId) ?? 0) > (other.get(replicaId) ?? 0);
}

function isEmpty(delta: Delta | undefined): boolean {
  return delta === undefined || delta.nodes.length === 0 && delta.next === null;
}
