/**
 * Forgets the ids of replicas that numbered nothing for long, most of which are gone: a storage in memory has another id
 * after each start. Otherwise the version vectors would grow for ever.
 *
 * What was learned from these replicas is written once more, as changes of this storage itself. Then their entries can be
 * removed: to claim less than was merged is safe. `README.md` shows why.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import {
  type Dot,
  dotOf,
  includesDot,
  MAX_FORGOTTEN,
  type MeshStorage,
  newestEntries,
  type ReplicaState,
  type VersionVector,
} from "../store/contract.ts";
import type { NodeRewriter, OnRewritten } from "./node_rewriter.ts";

/** A version vector with more entries than this is shortened, ... */
export const MAX_REPLICAS = 1000;

/** ... to the entries with the highest numbers. */
const KEPT_REPLICAS = 500;

/** Storages begin at different times, up to this much later: what the first one writes, the others do not write again. */
const LONGEST_DELAY_MS = 300_000;

/**
 * How long the own number that stands for collected tombstones spreads before it does, in milliseconds: at least this
 * long, and longer while a peer that is alive does not know it. A peer that does not know it then is sent a full copy.
 */
const SPREAD_MS = 600_000;
const LONGEST_SPREAD_MS = 3_600_000;

/** Stands for another replica with the residue of this storage. */
const ANY_OTHER = "";

/** What the forgetting of old replicas needs. */
export interface OldReplicasDeps {
  readonly storage: MeshStorage;
  readonly clock: Clock;
  readonly rewriter: NodeRewriter;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** Whether all peers that are alive have merged this dot. */
  isKnownToPeers(dot: Dot): boolean;
}

/** The replicas to forget. */
interface Plan {
  /** Replica id → its entry in the version vector. */
  readonly replicas: VersionVector;
  /** An own dot that was assigned after the version vector had these entries. */
  readonly dot: Dot;
  /** When that was, by `clock.elapsed()`. */
  readonly begunAt: number;
}

/** Forgets old replicas, one half of the version vector at a time. */
export class OldReplicas {
  readonly #deps: OldReplicasDeps;
  #beginAt: number | undefined;
  #plan: Plan | undefined;
  #isBusy = false;

  /** @param deps The storage, and what writes its nodes once more. */
  constructor(deps: OldReplicasDeps) {
    this.#deps = deps;
  }

  /**
   * Does in the background what is due: nothing, as long as the version vector is short.
   *
   * @param state The state of the storage.
   * @param onRewritten Receives the nodes that were written once more.
   */
  check(state: ReplicaState, onRewritten: OnRewritten): void {
    if (this.#isBusy) return;
    const { clock, isKnownToPeers } = this.#deps;
    const now = clock.elapsed();
    const plan = this.#plan;
    let work: Promise<void>;
    if (plan !== undefined) {
      const elapsed = now - plan.begunAt;
      if (elapsed < SPREAD_MS || elapsed < LONGEST_SPREAD_MS && !isKnownToPeers(plan.dot)) return;
      work = this.#forget(plan, onRewritten);
    } else {
      if (state.vector.size <= MAX_REPLICAS) {
        this.#beginAt = undefined;
        return;
      }
      this.#beginAt ??= now + clock.random() * LONGEST_DELAY_MS;
      if (now < this.#beginAt) return;
      this.#beginAt = undefined;
      work = this.#begin(state);
    }
    this.#isBusy = true;
    // If the storage has failed, which is reported already, it begins anew.
    work.catch(() => this.#plan = undefined).finally(() => this.#isBusy = false);
  }

  /** Chooses the replicas, and has a number assigned that other storages learn together with what was merged here. */
  async #begin({ vector, collected, replicaId }: ReplicaState): Promise<void> {
    const { storage, clock, callStorage } = this.#deps;
    const newest = newestEntries(vector, KEPT_REPLICAS);
    const old = [...vector].filter(([other, highest]) =>
      // Of a replica whose collected tombstones reach further, not all was merged here.
      other !== replicaId && !newest.has(other) && (collected.get(other) ?? 0) <= highest
    );
    // Not more than a storage remembers: two storages would bring back each other's others again and again.
    const replicas = new Map(old.sort(([, a], [, b]) => a - b).slice(0, MAX_FORGOTTEN));
    const before = vector.get(replicaId) ?? 0;
    await callStorage("avoidResidues", () => storage.avoidResidues(new Map([[ANY_OTHER, before]])));
    const state = await callStorage("readReplicaState", () => storage.readReplicaState());
    const version = state.vector.get(replicaId) ?? 0;
    if (version <= before || replicas.size === 0) return;
    this.#plan = { replicas, dot: { version, replicaId }, begunAt: clock.elapsed() };
  }

  async #forget({ replicas, dot }: Plan, onRewritten: OnRewritten): Promise<void> {
    const { storage, rewriter, callStorage } = this.#deps;
    const isDone = await rewriter.rewrite((node) => includesDot(replicas, dotOf(node)), onRewritten);
    this.#plan = undefined;
    if (!isDone) return;
    await callStorage("forgetReplicas", () => storage.forgetReplicas(replicas, dot));
  }
}
