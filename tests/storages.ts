/**
 * Storages for tests of the server: one with just the eight methods, and ones that a test can hold and break.
 *
 * @module
 */
import type {
  NodeChange,
  RealityStorage,
  StorageChanges,
  StorageFeatures,
  StorageReading,
} from "../src/storage.ts";
import type { RealityNodeMeta } from "../src/types.ts";
import { MemoryStorage } from "../storage/memory.ts";

/** What a user would write: a counter and a map behind the eight methods, and nothing else. */
export class PlainStorage implements RealityStorage {
  readonly #nodes = new Map<string, RealityNodeMeta>();
  #counter = 0;

  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#nodes.get(key) ?? null);
  }

  setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    this.#counter = Math.max(this.#counter, meta.version);
    if ((this.#nodes.get(key)?.version ?? 0) <= meta.version) this.#nodes.set(key, meta);
    return Promise.resolve();
  }

  incrementVersion(): Promise<number> {
    return Promise.resolve(++this.#counter);
  }

  listChangedSince(version: number): Promise<RealityNodeMeta[]> {
    const nodes = [...this.#nodes.values()].filter((node) => node.version > version);
    return Promise.resolve(nodes.sort((a, b) => a.version - b.version));
  }

  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>> {
    const found = keys.map((key) => this.#nodes.get(key)).filter((node) => node !== undefined);
    return Promise.resolve(new Map(found.map((node) => [node.key, node])));
  }

  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#counter);
  }

  deleteNode(key: string): Promise<void> {
    this.#nodes.delete(key);
    return Promise.resolve();
  }

  isHealthy(): Promise<boolean> {
    return Promise.resolve(true);
  }
}

/** A memory storage whose reads and commits a test can count, hold back and fail. */
export class HeldStorage extends MemoryStorage {
  reads: string[][] = [];
  commits: NodeChange[][] = [];
  /** While set, every call fails with it. */
  failure: Error | undefined;
  /** What answers wait for, if anything. */
  gate: Promise<void> | undefined;

  /**
   * Holds back the answer of every call from now on; what it reads or commits has then already taken place.
   *
   * @returns A function that lets all those answers go, and later ones pass.
   */
  hold(): () => void {
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    this.gate = gate;
    return () => {
      if (this.gate === gate) this.gate = undefined;
      open();
    };
  }

  /** Lets later calls pass; those held back stay so. */
  pass(): void {
    this.gate = undefined;
  }

  override async readNodes(keys: readonly string[]): Promise<StorageReading> {
    this.reads.push([...keys]);
    if (this.failure) throw this.failure;
    const reading = await super.readNodes(keys);
    await this.gate;
    return reading;
  }

  override async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    this.commits.push([...changes]);
    if (this.failure) throw this.failure;
    const metas = await super.applyChanges(changes);
    await this.gate;
    return metas;
  }
}

/** A shared storage with a history to ask for, whose answers a test can hold back. */
export class HistoryStorage extends HeldStorage {
  override readonly features: StorageFeatures = { ordered: true, tombstones: true };
  questions: number[] = [];
  #late = 0;

  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    this.questions.push(version);
    if (this.failure) throw this.failure;
    const { maxVersion, epoch, sweptVersion } = await MemoryStorage.prototype.readNodes.call(this, []);
    const nodes = (await super.listChangedSince(version)).slice(0, limit);
    const changes = { nodes, maxVersion, epoch, sweptVersion, late: this.#late };
    await this.gate;
    return changes;
  }

  /** What another process does. */
  async changeElsewhere(...changes: Partial<NodeChange>[]): Promise<RealityNodeMeta[]> {
    const full = changes.map((change) => ({ key: "a", hash: "elsewhere", updatedAt: 1, ...change }));
    return await MemoryStorage.prototype.applyChanges.call(this, full);
  }

  /** Publishes a node below the counter, as a server does that takes in what another one numbered. */
  async publishLate(key: string, version: number): Promise<void> {
    this.#late++;
    await this.setNode(key, { key, version, hash: "late", updatedAt: 1 });
  }
}
