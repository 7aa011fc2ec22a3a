/**
 * A storage as a user writes it: the eight methods of the contract and nothing else.
 *
 * @module
 */
import type { RealityStorage } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/** Keeps nodes in a map, in the plainest way that keeps the contract. */
export class NaiveStorage implements RealityStorage {
  readonly #nodes = new Map<string, RealityNodeMeta>();
  #counter = 0;
  #maxVersion = 0;

  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#nodes.get(key) ?? null);
  }

  setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    if (meta.version > (this.#nodes.get(key)?.version ?? 0)) this.#nodes.set(key, meta);
    this.#counter = Math.max(this.#counter, meta.version);
    this.#maxVersion = Math.max(this.#maxVersion, meta.version);
    return Promise.resolve();
  }

  incrementVersion(_key: string): Promise<number> {
    return Promise.resolve(++this.#counter);
  }

  listChangedSince(version: number): Promise<RealityNodeMeta[]> {
    const changed = [...this.#nodes.values()].filter((meta) => meta.version > version);
    return Promise.resolve(changed.sort((a, b) => a.version - b.version));
  }

  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>> {
    const nodes = new Map<string, RealityNodeMeta>();
    for (const key of keys) {
      const meta = this.#nodes.get(key);
      if (meta) nodes.set(key, meta);
    }
    return Promise.resolve(nodes);
  }

  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#maxVersion);
  }

  deleteNode(key: string): Promise<void> {
    this.#nodes.delete(key);
    return Promise.resolve();
  }

  isHealthy(): Promise<boolean> {
    return Promise.resolve(true);
  }
}
