/**
 * Nodes that were merged here, but that this storage's version vector does not include.
 *
 * A delta is merged page by page. After the last page, the version vector that the sender had before the first page is
 * adopted. It includes neither a node that changed between two pages, nor anything if the sender loses its storage
 * before the last page. Another delta of the sender usually follows. If none does, no other storage requests these nodes,
 * because equal version vectors say that nothing is missing. So they are written once more, as changes of this storage.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Changes } from "../store/changes.ts";
import {
  coversVector,
  dotOf,
  highestDots,
  includesDot,
  isSameDot,
  joinVectors,
  type MeshStorage,
  type ReplicaState,
  type ReplicatedNode,
  type VersionVector,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import { rejoinNode } from "./merge.ts";

/** How long a node may stay uncovered after the last one of its sender was merged, in milliseconds. */
const GIVE_UP_MS = 20_000;

/** The nodes of one read, and the pause between two reads, in milliseconds. */
const PAGE_NODES = 500;
const PAGE_PAUSE_MS = 20;

/** Stands for senders that are unknown. */
const ANY_SENDER = "";

/** Merged nodes that may be uncovered. */
interface Pending {
  /** Their highest dots; undefined if these are unknown. */
  readonly dots: VersionVector | undefined;
  /** When the last of them was merged, by `clock.elapsed()`. */
  readonly mergedAt: number;
}

/** What the search for uncovered nodes needs. */
export interface UncoveredNodesDeps {
  readonly storage: MeshStorage;
  readonly clock: Clock;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** Returns the way in for nodes. */
  getChanges(): Pick<Changes, "merge">;
  /** Wakes the waiters of these keys; `null` for all. */
  wake(keys: readonly string[] | null): void;
}

/** Finds nodes that stay uncovered, and writes them once more. */
export class UncoveredNodes {
  readonly #deps: UncoveredNodesDeps;
  /** By the replica id of the sender. */
  readonly #pending = new Map<string, Pending>();
  #isStarted = false;
  #isClosed = false;
  #searching: Promise<void> | undefined;
  /** Ends the pause between two reads. */
  #endPause = () => {};

  /** @param deps The storage, and the way in for nodes. */
  constructor(deps: UncoveredNodesDeps) {
    this.#deps = deps;
  }

  /**
   * Records nodes that were merged.
   *
   * @param sender The replica id of their sender.
   * @param nodes The nodes.
   */
  record(sender: string, nodes: readonly ReplicatedNode[]): void {
    if (nodes.length === 0) return;
    const dots = joinVectors(this.#pending.get(sender)?.dots ?? new Map(), highestDots(nodes));
    this.#pending.set(sender, { dots, mergedAt: this.#deps.clock.elapsed() });
  }

  /**
   * Forgets nodes that are included now. Starts a search in the background if others were merged 20 seconds ago and no
   * node of their sender since. A storage that had nodes when this process started is searched once: an earlier process
   * may have left some.
   *
   * @param state The state of the storage.
   * @param onRewritten Receives the nodes that were written.
   */
  check(state: ReplicaState, onRewritten: (metas: readonly RealityNodeMeta[]) => void): void {
    if (!this.#isStarted) {
      this.#isStarted = true;
      if (state.maxVersion > 0) this.#scheduleSearch();
    }
    if (this.#pending.size === 0 || this.#searching !== undefined || this.#isClosed) return;
    const now = this.#deps.clock.elapsed();
    let isDue = false;
    for (const [sender, { dots, mergedAt }] of this.#pending) {
      const isIncluded = dots !== undefined && coversVector(state.vector, dots);
      if (!isIncluded && now - mergedAt < GIVE_UP_MS) continue;
      this.#pending.delete(sender);
      isDue ||= !isIncluded;
    }
    if (!isDue) return;
    this.#searching = this.#search(onRewritten)
      // The storage has failed, which is reported already.
      .catch(() => this.#scheduleSearch())
      .finally(() => this.#searching = undefined);
  }

  /** Ends a search that is running, and settles when it has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#endPause();
    await this.#searching;
  }

  #scheduleSearch(): void {
    this.#pending.set(ANY_SENDER, { dots: undefined, mergedAt: this.#deps.clock.elapsed() });
  }

  async #search(onRewritten: (metas: readonly RealityNodeMeta[]) => void): Promise<void> {
    const { storage, clock, callStorage, getChanges, wake } = this.#deps;
    let after: string | undefined;
    while (!this.#isClosed) {
      // Not the delta from the own version vector: storages read nothing for a base that covers their own.
      const page = await callStorage("readDelta", () => storage.readDelta(new Map(), PAGE_NODES, after));
      // A change of this storage itself may be newer than the version vector, which was read first.
      const uncovered = page.nodes.filter((node) =>
        node.replicaId !== page.replicaId && !includesDot(page.vector, dotOf(node))
      );
      if (uncovered.length > 0) {
        const { ownChanges } = await getChanges().merge(uncovered, () => ({
          merge: (node, own) =>
            own !== undefined && isSameDot(dotOf(own), dotOf(node)) ? rejoinNode(own) : null,
        }));
        wake(ownChanges.map(({ key }) => key));
        onRewritten(ownChanges);
      }
      if (page.next === null) return;
      after = page.next;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(PAGE_PAUSE_MS, resolve);
        this.#endPause = () => {
          cancel();
          resolve();
        };
      });
    }
  }
}
