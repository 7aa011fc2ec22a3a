/**
 * Searches the storage for nodes, and writes them once more, as changes of this storage itself that stand for the same
 * changes. Other storages request them then, whatever they know of the replica that wrote them first.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Changes } from "../store/changes.ts";
import {
  dotOf,
  isSameDot,
  type MeshStorage,
  type ReplicaState,
  type ReplicatedNode,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import { rejoinNode } from "./merge.ts";

/** The nodes of one read, and the pause between two reads, in milliseconds. */
const PAGE_NODES = 500;
const PAGE_PAUSE_MS = 20;

/** Receives nodes that were written once more. */
export type OnRewritten = (metas: readonly RealityNodeMeta[]) => void;

/** What a rewriter needs. */
export interface NodeRewriterDeps {
  readonly storage: MeshStorage;
  readonly clock: Clock;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** Returns the way in for nodes. */
  getChanges(): Pick<Changes, "merge">;
  /** Wakes the waiters of these keys; `null` for all. */
  wake(keys: readonly string[] | null): void;
}

/** Writes nodes once more. */
export class NodeRewriter {
  readonly #deps: NodeRewriterDeps;
  readonly #searches = new Set<Promise<unknown>>();
  /** End the pauses between two reads. */
  readonly #endPauses = new Set<() => void>();
  #isClosed = false;

  /** @param deps The storage, and the way in for nodes. */
  constructor(deps: NodeRewriterDeps) {
    this.#deps = deps;
  }

  /**
   * Searches all nodes and tombstones, in the background.
   *
   * @param isChosen Whether a node is to be written once more. It is given the state of the storage, read before the node.
   * @param onRewritten Receives the nodes that were written.
   * @returns Whether all were searched. It is false once the rewriter is closed.
   * @throws {StorageError} When the storage fails.
   */
  rewrite(
    isChosen: (node: ReplicatedNode, state: ReplicaState) => boolean,
    onRewritten: OnRewritten,
  ): Promise<boolean> {
    const search = this.#search(isChosen, onRewritten);
    const settled = search.catch(() => {}).finally(() => this.#searches.delete(settled));
    this.#searches.add(settled);
    return search;
  }

  /** Ends all searches, and settles when they have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const endPause of this.#endPauses) endPause();
    await Promise.all(this.#searches);
  }

  async #search(
    isChosen: (node: ReplicatedNode, state: ReplicaState) => boolean,
    onRewritten: OnRewritten,
  ): Promise<boolean> {
    const { storage, callStorage, getChanges, wake } = this.#deps;
    let after: string | undefined;
    while (!this.#isClosed) {
      // Not the delta from the own version vector: storages read nothing for a base that covers their own.
      const page = await callStorage("readDelta", () => storage.readDelta(new Map(), PAGE_NODES, after));
      const chosen = page.nodes.filter((node) => isChosen(node, page));
      if (chosen.length > 0) {
        const { ownChanges } = await getChanges().merge(chosen, () => ({
          merge: (node, own) =>
            own !== undefined && isSameDot(dotOf(own), dotOf(node)) ? rejoinNode(own) : null,
        }));
        wake(ownChanges.map(({ key }) => key));
        onRewritten(ownChanges);
      }
      if (page.next === null) return true;
      after = page.next;
      await this.#pause();
    }
    return false;
  }

  async #pause(): Promise<void> {
    let endPause = () => {};
    await new Promise<void>((resolve) => {
      const cancel = this.#deps.clock.after(PAGE_PAUSE_MS, resolve);
      endPause = () => {
        cancel();
        resolve();
      };
      this.#endPauses.add(endPause);
    });
    this.#endPauses.delete(endPause);
  }
}
