/**
 * Maintains a subscription to the announcements of a storage.
 *
 * @module
 */
import { type StorageCallOptions, withTimeout } from "../store/timeout.ts";
import type { Clock } from "../clock.ts";
import type { ReadableStorage } from "../store/contract.ts";
import type { Waiters } from "./waiters.ts";

/** The delay before a failed subscription is tried again, in milliseconds: the first delay, and the longest. */
const MIN_RETRY_DELAY = 500;
const MAX_RETRY_DELAY = 30_000;

/** What a subscription needs. */
export interface SubscriptionDeps {
  readonly storage: ReadableStorage;
  readonly waiters: Pick<Waiters, "wake">;
  /** Called for an announcement that any key may have changed. */
  readonly onAny: () => void;
  readonly clock: Clock;
  readonly calls: StorageCallOptions;
}

/**
 * A subscription to the announcements of a storage. A subscription that fails, or is not established in time, is
 * tried again after growing delays until `end()` is called. Meanwhile the caller finds changes by polling.
 */
export class Subscription {
  readonly #deps: SubscriptionDeps;
  /** The current attempt; undefined while no announcements are wanted. */
  #attempt: Attempt | undefined;
  #ending: Promise<void> = Promise.resolve();

  /** @param deps The storage that announces changes and the waiters to wake. */
  constructor(deps: SubscriptionDeps) {
    this.#deps = deps;
  }

  /** Whether the storage announces changes now. */
  get isActive(): boolean {
    return this.#attempt?.isActive === true;
  }

  /** Subscribes, if the storage announces changes. */
  begin(): void {
    if (this.#deps.storage.subscribe !== undefined) this.#attempt ??= new Attempt(this.#deps);
  }

  /** Ends the subscription. Resolves when the storage has ended it or did not answer in time. Never rejects. */
  end(): Promise<void> {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (attempt !== undefined) this.#ending = Promise.all([this.#ending, attempt.end()]).then(() => {});
    return this.#ending;
  }
}

/** One subscription, from `begin()` to `end()`. */
class Attempt {
  readonly #deps: SubscriptionDeps;
  #isOver = false;
  #isReported = false;
  #retryDelay = MIN_RETRY_DELAY;
  #stopTimer: (() => void) | undefined;
  #unsubscribe: (() => unknown) | undefined;
  #trying: Promise<void>;

  constructor(deps: SubscriptionDeps) {
    this.#deps = deps;
    this.#trying = this.#try();
  }

  get isActive(): boolean {
    return this.#unsubscribe !== undefined;
  }

  async end(): Promise<void> {
    this.#isOver = true;
    this.#stopTimer?.();
    await this.#trying;
    const unsubscribe = this.#unsubscribe;
    this.#unsubscribe = undefined;
    if (unsubscribe !== undefined) await this.#unsubscribeBy(unsubscribe);
  }

  async #try(): Promise<void> {
    const { storage, waiters, clock, onAny } = this.#deps;
    let isInTime = true;
    const call = async () => {
      const unsubscribe = await storage.subscribe!((keys) => keys === null ? onAny() : waiters.wake(keys));
      // It was given up in the meantime, and another subscription may have taken its place.
      if (!isInTime) void this.#unsubscribeBy(unsubscribe);
      return unsubscribe;
    };
    try {
      this.#unsubscribe = await withTimeout("subscribe", call, this.#options);
      this.#isReported = false;
    } catch {
      isInTime = false;
      this.#isReported = true;
      if (this.#isOver) return;
      this.#stopTimer = clock.after(this.#retryDelay, () => this.#trying = this.#try());
      this.#retryDelay = Math.min(this.#retryDelay * 2, MAX_RETRY_DELAY);
    }
  }

  async #unsubscribeBy(unsubscribe: () => unknown): Promise<void> {
    try {
      await withTimeout("unsubscribe", async () => await unsubscribe(), this.#options);
    } catch {
      // The failure was reported. Announcements that still arrive only wake waiters once too often.
    }
  }

  /** Only the first of consecutive failures is reported. */
  get #options(): StorageCallOptions {
    const { calls } = this.#deps;
    const isReported = this.#isReported;
    return {
      ...calls,
      onOutcome(operation, error, ms) {
        if (error === undefined || !isReported) calls.onOutcome(operation, error, ms);
      },
    };
  }
}
