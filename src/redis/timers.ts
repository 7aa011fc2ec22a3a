/**
 * Timers that end with the relay.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** A group of timers that can be cancelled together. */
export class Timers {
  readonly #clock: Clock;
  readonly #cancels = new Set<() => void>();

  /** @param clock Runs the timers. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls back once after some milliseconds. Returns a function that cancels the timer. */
  after(ms: number, callback: () => void): () => void {
    const stop = this.#clock.after(ms, () => {
      this.#cancels.delete(cancel);
      callback();
    });
    const cancel = (): void => {
      this.#cancels.delete(cancel);
      stop();
    };
    this.#cancels.add(cancel);
    return cancel;
  }

  /** Cancels all timers. */
  cancelAll(): void {
    for (const cancel of this.#cancels) cancel();
  }
}

/** Calls a function at most once per pause. A call during the pause is made up for after it. */
export class Throttle {
  readonly #timers: Timers;
  readonly #pause: number;
  readonly #call: () => void;
  #isPaused = false;
  #isPending = false;

  /**
   * @param timers Measures the pause.
   * @param pause The pause in milliseconds.
   * @param call The function.
   */
  constructor(timers: Timers, pause: number, call: () => void) {
    this.#timers = timers;
    this.#pause = pause;
    this.#call = call;
  }

  /** Calls the function now, or after the pause. */
  call(): void {
    if (this.#isPaused) {
      this.#isPending = true;
      return;
    }
    this.#isPaused = true;
    this.#timers.after(this.#pause, () => {
      this.#isPaused = false;
      if (!this.#isPending) return;
      this.#isPending = false;
      this.call();
    });
    this.#call();
  }
}
