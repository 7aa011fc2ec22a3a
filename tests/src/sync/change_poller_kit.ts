/**
 * A storage that other processes change, and a server on it.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../../src/types.ts";
import { RealityServer } from "../../../src/server.ts";
import type { RealityStorage, StorageFeatures } from "../../../src/store/contract.ts";
import { FakeClock } from "../../clock.ts";
import { HeldStorage } from "../../storages.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";

/** A storage that another process can change as well. */
export class SharedStorage extends HeldStorage {
  override readonly features: StorageFeatures = { ordered: true, tombstones: true };
  /** The version of each call of `listChangedSince`. */
  readonly lists: number[] = [];

  override listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
    this.lists.push(version);
    return super.listChangedSince(version, limit);
  }

  /** A change of another process, which this server does not notice. */
  async changeElsewhere(...keys: string[]): Promise<void> {
    const changes = keys.map((key) => ({ key, hash: "elsewhere", updatedAt: 1 }));
    await MemoryStorage.prototype.applyChanges.call(this, changes);
  }
}

/** A request that waits, and its answer so far: key → version. */
export interface WaitingSync {
  answer: Record<string, number> | undefined;
}

/** A server on a storage. */
export interface ServerOnStorage<S> {
  readonly clock: FakeClock;
  readonly server: RealityServer;
  readonly storage: S;
  /** Sends a sync that waits for 25 seconds. */
  readonly wait: (known: Record<string, number>, signal?: AbortSignal) => WaitingSync;
  /** The messages that `onError` received. */
  readonly errors: string[];
}

/** Creates a server on a storage. */
export function setUp<S extends RealityStorage>(storage: S): ServerOnStorage<S> {
  const clock = new FakeClock();
  const errors: string[] = [];
  const server = new RealityServer({ storage, clock, onError: (error) => errors.push(error.message) });
  const wait = (known: Record<string, number>, signal?: AbortSignal) => {
    const sync: WaitingSync = { answer: undefined };
    void server.handleSync({ known, wait: 25_000 }, signal ? { signal } : {}).then(({ changed }) => {
      sync.answer = Object.fromEntries(Object.values(changed).map((meta) => [meta.key, meta.version]));
    }, () => {});
    return sync;
  };
  return { clock, server, storage, wait, errors };
}
