/**
 * Whether a server should be sent requests: for load balancers and orchestrators.
 *
 * @module
 */
import { type StorageCallOptions, withTimeout } from "./store/timeout.ts";
import type { RealityStorage } from "./store/contract.ts";

/** `ready`, or why not: what the peers have was not asked for yet, the storage is not well, or `close()` was called. */
export type ReadyState = "ready" | "starting" | "storage" | "closing";

/** The rooms that a server's readiness hangs on. */
export interface ReadinessDeps {
  readonly storage: RealityStorage;
  readonly batch: StorageCallOptions;
  /** Settles once the server may answer; never rejects. Left out where there are no peers to ask. */
  readonly open?: (() => Promise<void>) | undefined;
  readonly isClosing: () => boolean;
}

/** Answers whether a server is ready. However many ask at once, the storage is asked once. */
export class Readiness {
  readonly #deps: ReadinessDeps;
  #asking: Promise<boolean> | undefined;
  #opening: Promise<void> | undefined;
  #isOpen: boolean;

  /** @param deps What it hangs on. */
  constructor(deps: ReadinessDeps) {
    this.#deps = deps;
    this.#isOpen = deps.open === undefined;
  }

  /** How the server is. The first question begins what it needs to become ready. */
  async ask(): Promise<ReadyState> {
    if (this.#deps.isClosing()) return "closing";
    this.#opening ??= this.#deps.open?.().then(() => {
      this.#isOpen = true;
    });
    this.#asking ??= this.#askStorage().finally(() => this.#asking = undefined);
    const isWell = await this.#asking;
    if (this.#deps.isClosing()) return "closing";
    if (!isWell) return "storage";
    return this.#isOpen ? "ready" : "starting";
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
