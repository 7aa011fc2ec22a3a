/**
 * Keeps the announcements of a storage coming while they are wanted.
 *
 * @module
 */
import { type StorageCallOptions, withTimeout } from "../store/timeout.ts";
import type { Clock } from "../clock.ts";
import type { RealityStorage } from "../store/contract.ts";
import type { Waiters } from "./waiters.ts";

/** The pause before a subscription that failed is tried again, in milliseconds: the first, and what it grows to. */
const MIN_RETRY_DELAY = 500;
const MAX_RETRY_DELAY = 30_000;

/** What a subscription works between. */
export interface SubscriptionDeps {
  readonly storage: RealityStorage;
  readonly waiters: Pick<Waiters, "wake">;
  /** Called when it is announced that any key may have changed. */
  readonly onAny: () => void;
  readonly clock: Clock;
  readonly calls: StorageCallOptions;
}

/**
 * One subscription of a storage's announcements. One that fails, or is not there in time, is tried again after
 * growing pauses for as long as it is wanted. The caller has another way to find changes meanwhile.
 */
export class Subscription {
  readonly #deps: SubscriptionDeps;
  /** What is done about it now; undefined while it is not wanted. */
  #attempt: Attempt | undefined;
  #ending: Promise<void> = Promise.resolve();

  /** @param deps The storage that announces, and the waiters that are woken. */
  constructor(deps: SubscriptionDeps) {
    this.#deps = deps;
  }

  /** Whether the storage announces changes now. */
  get isActive(): boolean {
    return this.#attempt?.isActive === true;
  }

  /** Wants announcements from now on, if the storage makes any. */
  begin(): void {
    if (this.#deps.storage.subscribe !== undefined) this.#attempt ??= new Attempt(this.#deps);
  }

  /** Wants none any more. Settles when the storage has ended all there was, or did not answer in time; never rejects. */
  end(): Promise<void> {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (attempt !== undefined) this.#ending = Promise.all([this.#ending, attempt.end()]).then(() => {});
    return this.#ending;
  }
}

/** One subscription from the moment when it is wanted to the moment when it is not. */
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
      // It was given up meanwhile, and another one may be there in its place.
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
      // It has been reported. What is still announced wakes somebody once too often.
    }
  }

  /** Failures that follow on each other are told once. */
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
