/**
 * Deltas, page by page: giving another storage what it lacks, and taking in what it has.
 *
 * @module
 */
import {
  coversVector,
  dotOf,
  isSameDot,
  joinVectors,
  type MeshStorage,
  type ReplicaState,
  type ReplicatedNode,
  RESIDUES,
  type VersionVector,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import { type MergeContext, mergeMissing, mergeNode } from "./merge.ts";
import type { Changes } from "../store/changes.ts";
import type { Delta, Message } from "./message.ts";

/** What anti-entropy needs. */
export interface AntiEntropyDeps {
  readonly storage: MeshStorage;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** Returns the way in for nodes. */
  getChanges(): Pick<Changes, "merge">;
  /** Wakes the waiters of these keys; `null` for all. */
  wake(keys: readonly string[] | null): void;
}

/** A delta that has come in part: what its next page continues. */
export interface PartialDelta {
  /** What the sender had seen before its first page: adopted after the last, and not sooner. */
  readonly adopt: VersionVector;
  readonly full: boolean;
  /** In a full copy: the keys of nodes, not of tombstones, that it has brought so far. */
  readonly keys: Set<string>;
  /** Names the page that is still to come. */
  readonly next: string;
}

/** What became of a page. */
export interface MergedPage {
  /** Whether it followed on what is here, and was taken in. */
  readonly isMerged: boolean;
  /**
   * The keys of nodes that were written here as they were there, and of those that were deleted since a full copy lacks
   * them: whoever gets the same copy finds out the same.
   */
  readonly written: readonly string[];
  /** Changes of this storage's own that were made instead: news to everybody. */
  readonly made: readonly RealityNodeMeta[];
  /** What the next page continues; undefined when none is to come. */
  readonly incoming: PartialDelta | undefined;
}

/** What a peer is given: what this storage has seen, and a page of what the peer lacks. */
export interface ComposedPage {
  readonly state: ReplicaState;
  readonly delta: Delta | undefined;
  /** With the first page of a full copy: what the peer lacks that only such a copy can tell it. */
  readonly reason?: string;
}

/** A page that was left aside. */
export const UNMERGED: MergedPage = { isMerged: false, written: [], made: [], incoming: undefined };

const EMPTY: VersionVector = new Map();

/** Gives and takes pages for one storage. It keeps nothing between them. */
export class AntiEntropy {
  readonly #deps: AntiEntropyDeps;
  /** The delta that is taken in now, or was last. */
  #lastMerge: Promise<unknown> = Promise.resolve();

  /** @param deps The storage, and the way in. */
  constructor(deps: AntiEntropyDeps) {
    this.#deps = deps;
  }

  /**
   * A page of what a peer lacks.
   *
   * @param theirs What it has seen; undefined when that is not known, and then it is given nothing.
   * @param limit How many nodes at most.
   * @param pageRequest The page it asks for, if not the first.
   * @param maySendCopy Whether it may be given a full copy for this reason, where a delta loses nothing either.
   */
  async compose(
    theirs: VersionVector | undefined,
    limit: number,
    pageRequest?: Message["pageRequest"],
    maySendCopy: (reason: string) => boolean = () => true,
  ): Promise<ComposedPage> {
    const { storage, callStorage } = this.#deps;
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
    // Deletions that it never heard of are forgotten here: only a full copy can tell it what is gone. Where more was seen
    // here of where they were made, it has to come first. Where not, both wait for the rest of what was made there.
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
   * Takes in a page, if it follows on what is here. One after the other: a node is judged by what had been seen, and
   * must not come to stand after another delta has brought its deletion, and that was forgotten.
   *
   * @param previous What the page before left; undefined when there was none.
   * @param message The message that the page came in.
   */
  merge(previous: PartialDelta | undefined, message: Message): Promise<MergedPage> {
    const turn = this.#lastMerge.then(() => this.#mergeNext(previous, message));
    this.#lastMerge = turn.catch(() => {});
    return turn;
  }

  async #mergeNext(previous: PartialDelta | undefined, message: Message): Promise<MergedPage> {
    const { storage, callStorage, wake } = this.#deps;
    const { delta, vector: theirs, collected: collected = EMPTY } = message;
    if (theirs === undefined) return UNMERGED;
    if (delta !== undefined && delta.after !== null && delta.after !== previous?.next) return UNMERGED;
    const mine = await callStorage("readReplicaState", () => storage.readReplicaState());
    // Before anything is numbered for the nodes it brings.
    const known = joinVectors(theirs, highestDots(delta?.nodes ?? []));
    if (sharesResidue(mine, known)) await callStorage("avoidResidues", () => storage.avoidResidues(known));
    if (delta === undefined) {
      // All that it has is here, but its epoch may be the older one all the same.
      const isOlder = message.epoch < mine.epoch && coversVector(mine.vector, theirs);
      if (isOlder && await callStorage("adoptVector", () => storage.adoptVector(theirs, message.epoch))) {
        wake(null);
      }
      return UNMERGED;
    }
    // A delta may lack deletions that were forgotten there. It loses none as long as nothing more counts as seen here of
    // where they were made.
    const adopt = delta.after === null ? theirs : previous?.adopt ?? theirs;
    const losesNothing = [...collected].every(([replicaId, dotVersion]) =>
      dotVersion <= (mine.vector.get(replicaId) ?? 0) || !advances(adopt, mine.vector, replicaId)
    );
    if (!coversVector(mine.vector, delta.base) || !delta.full && !losesNothing) return UNMERGED;
    try {
      return await this.#mergeDelta(delta, { message, mine, theirs, previous });
    } finally {
      // Of a page that failed as well: some of it may have been written. And not before what was seen is adopted: a
      // client that is told may change the node at once, and that change should be known to have come after.
      wake(delta.nodes.map(({ key }) => key));
    }
  }

  async #mergeDelta(
    delta: Delta,
    { message, mine, theirs, previous }: {
      readonly message: Message;
      readonly mine: ReplicaState;
      readonly theirs: VersionVector;
      readonly previous: PartialDelta | undefined;
    },
  ): Promise<MergedPage> {
    const { storage, callStorage, getChanges, wake } = this.#deps;
    const { collected: collected = EMPTY, epoch } = message;
    const { taken: written, made } = await getChanges().merge(delta.nodes, async (isMissing) => {
      // What is not here may have been forgotten since we looked.
      const { vector, collected } = isMissing
        ? await callStorage("readReplicaState", () => storage.readReplicaState())
        : mine;
      return { collected, merge: (node, own) => mergeNode(node, own, { mine: vector, theirs, collected }) };
    });
    const before = delta.after === null ? undefined : previous;
    const { adopt = theirs, keys = new Set<string>() } = before ?? {};
    // A tombstone says no more than its own deletion, beside which another may have been forgotten.
    if (delta.full) { for (const { key, deleted } of delta.nodes) if (!deleted) keys.add(key); }
    if (delta.next !== null) {
      return { isMerged: true, written, made, incoming: { adopt, keys, full: delta.full, next: delta.next } };
    }
    const judgeRest = () =>
      this.#mergeMissing(keys, { mine: mine.vector, theirs: adopt, collected: collected });
    const dropped = delta.full ? await judgeRest() : [];
    const isNews = delta.full || epoch < mine.epoch || !coversVector(mine.vector, adopt);
    // Only now: until here, what was seen of the sender's is not all taken in.
    const isNewEpoch = isNews &&
      await callStorage(
        "adoptVector",
        () => storage.adoptVector(adopt, epoch, delta.full ? collected : undefined),
      );
    if (isNewEpoch) wake(null);
    // Once more, for what was changed here since: as long as it was not adopted, nobody knew what had been forgotten.
    if (delta.full) dropped.push(...await judgeRest());
    const deleted = dropped.flatMap(({ key, deleted }) => deleted ? key : []);
    const joined = dropped.filter(({ deleted }) => !deleted);
    return {
      isMerged: true,
      written: [...written, ...deleted],
      made: [...made, ...joined],
      incoming: undefined,
    };
  }

  /** Judges what is here and not in a full copy: what was forgotten there is either missing here or told anew. */
  async #mergeMissing(keys: ReadonlySet<string>, context: MergeContext): Promise<RealityNodeMeta[]> {
    const { storage, callStorage, getChanges, wake } = this.#deps;
    const written: RealityNodeMeta[] = [];
    let after: string | undefined;
    do {
      const page = await callStorage("readDelta", () => storage.readDelta(EMPTY, 500, after));
      const missing = page.nodes.filter((node) =>
        !keys.has(node.key) && mergeMissing(node, context) !== null
      );
      const { made } = await getChanges().merge(missing, () => ({
        merge: (known, mine) => {
          if (mine === undefined || !isSameDot(dotOf(mine), dotOf(known))) return null;
          return mergeMissing(mine, context);
        },
      }));
      wake(missing.map(({ key }) => key));
      written.push(...made);
      after = page.next ?? undefined;
    } while (after !== undefined);
    return written;
  }
}

/** Origin → the highest stamp among nodes. */
function highestDots(nodes: readonly ReplicatedNode[]): VersionVector {
  const dots = new Map<string, number>();
  for (const { replicaId, dotVersion } of nodes) {
    dots.set(replicaId, Math.max(dotVersion, dots.get(replicaId) ?? 0));
  }
  return dots;
}

/** Whether some other storage numbers with the residue of this one. */
function sharesResidue({ vector, replicaId }: ReplicaState, known: VersionVector): boolean {
  const own = vector.get(replicaId) ?? 0;
  return [...known].some(([other, dotVersion]) =>
    other !== replicaId && dotVersion > 0 && (dotVersion - own) % RESIDUES === 0
  );
}

/** Whether more of this origin was seen than by another one. */
function advances(vector: VersionVector, other: VersionVector, replicaId: string): boolean {
  return (vector.get(replicaId) ?? 0) > (other.get(replicaId) ?? 0);
}

function isEmpty(delta: Delta | undefined): boolean {
  return delta === undefined || delta.nodes.length === 0 && delta.next === null;
}
