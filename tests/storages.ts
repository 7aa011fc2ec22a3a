/**
 * Storages for tests of the server, which a test can hold and break.
 *
 * @module
 */
import type {
  AppliedMeta,
  NodeChange,
  StorageChanges,
  StorageFeatures,
  StorageReading,
} from "../src/store/contract.ts";
import type { RealityNodeMeta } from "../src/types.ts";
import { MemoryStorage } from "../storage/memory/memory_storage.ts";

/** A memory storage whose reads and commits a test can count, hold back and fail. */
export class HeldStorage extends MemoryStorage {
  // Its readings are of one moment: what happens while an answer is held back is not in it.
  override readonly features: StorageFeatures = {
    ordered: true,
    tombstones: true,
    exclusive: true,
    maxChanges: 10_000,
  };
  reads: string[][] = [];
  commits: NodeChange[][] = [];
  /** While set, every call fails with it. */
  failure: Error | undefined;
  /** What answers wait for, if anything. */
  gate: Promise<void> | undefined;

  /** Counts 1, 2, 3, so that a test can say which version it expects. */
  constructor() {
    super({ counter: "sequential" });
  }

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
    const [reading, nodes] = await Promise.all([super.readNodes(keys), super.getNodes(keys)]);
    await this.gate;
    return { ...reading, nodes };
  }

  override async applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
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

  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    this.questions.push(version);
    if (this.failure) throw this.failure;
    const moment = await MemoryStorage.prototype.readNodes.call(this, []);
    const nodes = (await super.listChangedSince(version)).slice(0, limit);
    await this.gate;
    return { ...moment, nodes };
  }

  /** What another process does. */
  async changeElsewhere(...changes: Partial<NodeChange>[]): Promise<RealityNodeMeta[]> {
    const full = changes.map((change) => ({ key: "a", hash: "elsewhere", updatedAt: 1, ...change }));
    return await MemoryStorage.prototype.applyChanges.call(this, full);
  }

  /** Publishes a node below the counter, as a server does that takes in what another one numbered. */
  async publishLate(key: string, version: number): Promise<void> {
    await this.setNode(key, { key, version, hash: "late", updatedAt: 1 });
  }
}
