/**
 * Calls the application's hooks, each with a time limit.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import { isThenable, type MaybePromise } from "./maybe_promise.ts";
import { ClosedError, RealityError } from "./errors.ts";
import type { AbortSignalLike } from "./abort_signal.ts";

/** How hooks are called. */
export interface HookOptions {
  /** The source of timers. */
  readonly clock: Clock;
  /** The time limit of one call, in milliseconds. */
  readonly timeout: number;
  /** Receives an error when a hook takes too long or rejects with `HOOK`; the next one only after a hook has answered. */
  readonly report: (error: RealityError) => void;
  /** Whether a call is ended only by the timer of its own request, and not by `close()`. */
  readonly isOfOneRequest?: boolean;
}

/** Calls the application's hooks. A call settles within the time limit, also if the hook never does. */
export class Hooks {
  readonly #options: HookOptions;
  /** Rejects each running call. */
  readonly #running = new Set<(error: unknown) => void>();
  #isClosed = false;
  #isFailing = false;

  /** @param options The clock, the time limit, and the receiver of errors. */
  constructor(options: HookOptions) {
    this.#options = options;
  }

  /**
   * Calls a hook.
   *
   * @param name The name of its option.
   * @param hook Calls it.
   * @param getSignal Provides the signal that aborts when the client disconnects. Called only if the hook does not
   *   settle at once.
   * @throws {RealityError} `HOOK` when it takes too long; rejects with it.
   * @throws The signal's reason when the client disconnects; rejects with it.
   * @throws {ClosedError} When the server is closed; rejects with it.
   * @throws The error of the hook.
   */
  call<T>(
    name: string,
    hook: () => MaybePromise<T>,
    getSignal?: () => AbortSignalLike | undefined,
  ): MaybePromise<T> {
    if (this.#isClosed) return Promise.reject(new ClosedError());
    const given = hook();
    return isThenable(given) ? this.#wait(name, given, getSignal) : given;
  }

  /** Rejects the running calls and all later ones. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#running) end(new ClosedError());
  }

  #wait<T>(name: string, answer: PromiseLike<T>, getSignal?: () => AbortSignalLike | undefined): Promise<T> {
    const { clock, timeout, isOfOneRequest } = this.#options;
    return new Promise((resolve, reject) => {
      let isOver = false;
      let signal: AbortSignalLike | undefined;
      let stopTimer: (() => void) | undefined;
      const leave = () => {
        isOver = true;
        stopTimer?.();
        signal?.removeEventListener("abort", checkSignal);
        this.#running.delete(fail);
      };
      const fail = (error: unknown) => {
        if (isOver) return;
        leave();
        reject(error);
      };
      const checkSignal = () => {
        try {
          signal?.throwIfAborted();
        } catch (reason) {
          fail(reason);
        }
      };
      answer.then((value) => {
        if (isOver) return;
        leave();
        this.#isFailing = false;
        resolve(value);
      }, (error) => {
        // A hook rejects with this code if it cannot answer now, such as when a service that it needs is down.
        if (!isOver && error instanceof RealityError && error.code === "ERR_REALITY_HOOK") {
          this.#report(error);
        }
        fail(error);
      });
      // A hook that has its answer already has settled by then.
      queueMicrotask(() => {
        if (isOver) return;
        if (!isOfOneRequest) this.#running.add(fail);
        stopTimer = clock.after(timeout, () => fail(this.#lateness(name)));
        signal = getSignal?.();
        signal?.addEventListener("abort", checkSignal);
        checkSignal();
      });
    });
  }

  #lateness(name: string): RealityError {
    const error = new RealityError(
      "ERR_REALITY_HOOK",
      `The hook "${name}" did not answer within hookTimeout (${this.#options.timeout} ms)`,
    );
    this.#report(error);
    return error;
  }

  #report(error: RealityError): void {
    if (!this.#isFailing) this.#options.report(error);
    this.#isFailing = true;
  }
}
