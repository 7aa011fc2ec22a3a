/**
 * Whether a server should get requests, for load balancers and orchestrators.
 *
 * @module
 */
import { type StorageCallOptions, withTimeout } from "./store/timeout.ts";
import type { RealityStorage } from "./store/contract.ts";

/**
 * `ready`, or why not: the storage is empty and the peers were not asked for their nodes yet, the storage fails, or
 * `close()` was called.
 */
export type ReadyState = "ready" | "starting" | "storage" | "closing";

/** What readiness depends on. */
export interface ReadinessDeps {
  readonly storage: RealityStorage;
  readonly batch: StorageCallOptions;
  /** Whether the server may not answer yet; never rejects. Left out without peers. */
  readonly isStarting?: (() => Promise<boolean>) | undefined;
  readonly isClosing: () => boolean;
}

/** Answers whether a server is ready. Concurrent calls share one call of the storage. */
export class Readiness {
  readonly #deps: ReadinessDeps;
  #asking: Promise<boolean> | undefined;

  /** @param deps What readiness depends on. */
  constructor(deps: ReadinessDeps) {
    this.#deps = deps;
  }

  /** The state of the server. The first call starts what the server needs to become ready. */
  async ask(): Promise<ReadyState> {
    if (this.#deps.isClosing()) return "closing";
    const starting = this.#deps.isStarting?.();
    this.#asking ??= this.#askStorage().finally(() => this.#asking = undefined);
    const isWell = await this.#asking;
    const isStarting = isWell && await starting;
    if (this.#deps.isClosing()) return "closing";
    if (!isWell) return "storage";
    return isStarting ? "starting" : "ready";
  }

  async #askStorage(): Promise<boolean> {
    const { storage, batch } = this.#deps;
    try {
      return await withTimeout("isHealthy", () => storage.isHealthy(), batch) === true;
    } catch {
      return false;
    }
  }
}
