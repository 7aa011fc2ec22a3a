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
import {
  coversVector,
  dotOf,
  highestDots,
  includesDot,
  joinVectors,
  type ReplicaState,
  type ReplicatedNode,
  type VersionVector,
} from "../store/contract.ts";
import type { NodeRewriter, OnRewritten } from "./node_rewriter.ts";

/** How long a node may stay uncovered after the last one of its sender was merged, in milliseconds. */
const GIVE_UP_MS = 20_000;

/** Stands for senders that are unknown. */
const ANY_SENDER = "";

/** Merged nodes that may be uncovered. */
interface Pending {
  /** Their highest dots; undefined if these are unknown. */
  readonly dots: VersionVector | undefined;
  /** When the last of them was merged, by `clock.elapsed()`. */
  readonly mergedAt: number;
}

/** Finds nodes that stay uncovered, and writes them once more. */
export class UncoveredNodes {
  readonly #clock: Clock;
  readonly #rewriter: NodeRewriter;
  /** By the replica id of the sender. */
  readonly #pending = new Map<string, Pending>();
  #isStarted = false;
  #isSearching = false;

  /**
   * @param clock The clock of the time limit.
   * @param rewriter Searches the storage.
   */
  constructor(clock: Clock, rewriter: NodeRewriter) {
    this.#clock = clock;
    this.#rewriter = rewriter;
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
    this.#pending.set(sender, { dots, mergedAt: this.#clock.elapsed() });
  }

  /**
   * Forgets nodes that are included now. Starts a search in the background if others were merged 20 seconds ago and no
   * node of their sender since. A storage that had nodes when this process started is searched once: an earlier process
   * may have left some.
   *
   * @param state The state of the storage.
   * @param onRewritten Receives the nodes that were written.
   */
  check(state: Pick<ReplicaState, "maxVersion" | "vector">, onRewritten: OnRewritten): void {
    if (!this.#isStarted) {
      this.#isStarted = true;
      if (state.maxVersion > 0) this.#scheduleSearch();
    }
    if (this.#pending.size === 0 || this.#isSearching) return;
    const now = this.#clock.elapsed();
    let isDue = false;
    for (const [sender, { dots, mergedAt }] of this.#pending) {
      const isIncluded = dots !== undefined && coversVector(state.vector, dots);
      if (!isIncluded && now - mergedAt < GIVE_UP_MS) continue;
      this.#pending.delete(sender);
      isDue ||= !isIncluded;
    }
    if (!isDue) return;
    this.#isSearching = true;
    // A change of this storage itself may be newer than the version vector, which was read first.
    this.#rewriter.rewrite(
      (node, { replicaId, vector }) => node.replicaId !== replicaId && !includesDot(vector, dotOf(node)),
      onRewritten,
    )
      // The storage has failed, which is reported already.
      .catch(() => this.#scheduleSearch())
      .finally(() => this.#isSearching = false);
  }

  #scheduleSearch(): void {
    this.#pending.set(ANY_SENDER, { dots: undefined, mergedAt: this.#clock.elapsed() });
  }
}
