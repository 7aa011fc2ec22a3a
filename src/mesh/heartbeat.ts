/**
 * The heartbeat: exchanges with a few peers at every interval.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { FanOut } from "./fan_out.ts";

/** A repeating timer. It does not run before the first use of the mesh, nor with an interval of 0. */
export class Heartbeat {
  readonly #clock: Clock;
  readonly #interval: number;
  readonly #fanOut: FanOut;
  #cancel: (() => void) | undefined;
  #isStopped = false;

  /**
   * @param clock Runs the timer.
   * @param interval The interval in milliseconds; 0 for no heartbeat.
   * @param fanOut Requests the exchanges.
   */
  constructor(clock: Clock, interval: number, fanOut: FanOut) {
    this.#clock = clock;
    this.#interval = interval;
    this.#fanOut = fanOut;
  }

  /** Starts the timer, unless it runs already. */
  start(): void {
    if (this.#interval === 0 || this.#cancel !== undefined || this.#isStopped) return;
    this.#cancel = this.#clock.after(this.#interval, () => {
      this.#cancel = undefined;
      this.#fanOut.requestExchanges();
      this.start();
    });
  }

  /** Stops the timer for good. */
  stop(): void {
    this.#cancel?.();
    this.#isStopped = true;
  }
}
