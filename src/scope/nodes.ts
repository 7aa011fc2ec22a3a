/**
 * Reads and changes nodes on behalf of the application and the write routes.
 *
 * @module
 */
import type { Lifecycle } from "../lifecycle.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { NodeUpdate, RealityNodeMeta } from "../types.ts";
import type { Scope, ScopeSource } from "./scope.ts";

/**
 * The nodes of one server. A change is returned without a promise if the storage has it already: a promise would cost
 * more than the change (`bench/update_bench.ts`).
 */
export class Nodes {
  readonly #scopes: ScopeSource;
  readonly #lifecycle: Lifecycle;
  readonly #observer: Pick<Observer, "observeChange">;

  /**
   * @param scopes Provides what makes a change.
   * @param lifecycle Refuses calls after `close()`.
   * @param observer Counts changes.
   */
  constructor(scopes: ScopeSource, lifecycle: Lifecycle, observer: Pick<Observer, "observeChange">) {
    this.#scopes = scopes;
    this.#lifecycle = lifecycle;
    this.#observer = observer;
  }

  /** Writes the hashes of nodes. Returns their metas, in the order given. */
  update(updates: readonly NodeUpdate[]): MaybePromise<RealityNodeMeta[]> {
    return this.#change(() => updates.map(({ key }) => key), ({ changes }) => changes.update(updates));
  }

  /** Writes new random hashes of nodes. Returns their metas, in the order given. */
  invalidate(keys: readonly string[]): MaybePromise<RealityNodeMeta[]> {
    return this.#change(() => keys, ({ changes }) => changes.invalidate(keys));
  }

  /** Deletes a node. */
  delete(key: string): MaybePromise<RealityNodeMeta[]> {
    return this.#change(() => [key], ({ changes }) => changes.delete(key));
  }

  /** Reads a node; `null` if there is none. */
  async get(key: string): Promise<RealityNodeMeta | null> {
    this.#lifecycle.assertOpen();
    const { changes, reader } = this.#scopes.open();
    changes.checkKey(key);
    const { nodes } = await reader.read([key]);
    return nodes.get(key) ?? null;
  }

  /** Reads the epoch of the storage. */
  async readEpoch(): Promise<string> {
    return (await this.#scopes.open().reader.read([])).epoch;
  }

  #change(
    getKeys: () => readonly string[],
    change: (scope: Scope) => MaybePromise<RealityNodeMeta[]>,
  ): MaybePromise<RealityNodeMeta[]> {
    this.#lifecycle.assertOpen();
    const scopes = this.#scopes;
    return this.#observer.observeChange(getKeys, () => scopes.change(() => change(scopes.open())));
  }
}
