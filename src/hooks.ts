/**
 * Calls the application's hooks, each with a time limit.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import { isThenable, type MaybePromise } from "./maybe_promise.ts";
import { ClosedError, RealityError } from "./errors.ts";
import type { AbortSignalLike } from "./abort_signal.ts";

/** What hooks are called with. */
export interface HookOptions {
  /** Where timers come from. */
  readonly clock: Clock;
  /** How long one call may take, in milliseconds. */
  readonly timeout: number;
  /** Hears once when a hook takes too long, or rejects with `HOOK`, and again only after one has answered in time. */
  readonly report: (error: RealityError) => void;
  /** Whether each call is ended by the timer of its own request only, and not by `close()`. */
  readonly isOfOneRequest?: boolean;
}

/** The application's hooks that a request waits for. A call ends in time, whatever the hook does. */
export class Hooks {
  readonly #options: HookOptions;
  /** Ends each call that is under way. */
  readonly #running = new Set<(error: unknown) => void>();
  #isClosed = false;
  #isFailing = false;

  /** @param options Clock, time limit, and who hears of a hook that takes too long or cannot answer. */
  constructor(options: HookOptions) {
    this.#options = options;
  }

  /**
   * Calls a hook.
   *
   * @param name The option that it was given as.
   * @param hook Calls it.
   * @param getSignal Gives what tells when the client goes; asked only for a hook that does not answer at once.
   * @throws {RealityError} `HOOK` when it takes too long; rejects with it.
   * @throws The signal's reason when the client goes meanwhile; rejects with it.
   * @throws {ClosedError} When the server is closed; rejects with it.
   * @throws What the hook throws.
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

  /** Ends the calls that are under way, and makes none any more. */
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
        // One that cannot answer now, as where it asks another service, says so itself.
        if (!isOver && error instanceof RealityError && error.code === "ERR_REALITY_HOOK") {
          this.#report(error);
        }
        fail(error);
      });
      // One that has its answer already has settled by then.
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
