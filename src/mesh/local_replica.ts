/**
 * The identity of this server's storage, and which servers share that storage.
 *
 * @module
 */
import { isMeshStorage, type RealityStorage, type StorageIdentity } from "../store/contract.ts";

/** What a local replica needs. */
export interface LocalReplicaOptions {
  readonly storage: RealityStorage;
  /** Calls the storage with a time limit, and reports a failure. */
  callStorage<T>(operation: string, call: () => Promise<T>): Promise<T>;
}

/** The storage of this server, as one replica among others. */
export class LocalReplica {
  readonly #options: LocalReplicaOptions;
  #identity: StorageIdentity | undefined;

  /** @param options The storage, and how to call it. */
  constructor(options: LocalReplicaOptions) {
    this.#options = options;
  }

  /** Reads the replica id and the epoch once. Both are empty for a storage that has no identity. */
  async identify(): Promise<StorageIdentity> {
    const { storage, callStorage } = this.#options;
    if (!isMeshStorage(storage)) return this.#identity = { epoch: "", replicaId: "" };
    return this.#identity ??= await callStorage("getIdentity", () => storage.getIdentity());
  }

  /** Records an identity that was read together with nodes. It may be new: an operator can begin a new epoch. */
  update({ epoch, replicaId }: StorageIdentity): void {
    this.#identity = { epoch, replicaId };
  }

  /** Whether a server with this replica id uses the same storage. Such a server needs invalidations only, not nodes. */
  isShared(replicaId: string | undefined): boolean {
    // Servers on a storage without an identity are required to share it.
    if (replicaId === "" || !isMeshStorage(this.#options.storage)) return replicaId !== undefined;
    return replicaId !== undefined && replicaId === this.#identity?.replicaId;
  }
}
