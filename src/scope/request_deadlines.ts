/**
 * Deadlines of requests that may not share a timer.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Deadline, DeadlineList } from "../limits/deadlines.ts";

/** The interval at which a deadline checks whether the server was closed, in milliseconds. */
const CLOSED_INTERVAL = 250;

/** After this time past its end, a deadline counts as lost: its request was ended. In milliseconds. */
const GRACE = 5_000;

/** Deadlines of one length. Each has a timer of its own request. */
export class RequestDeadlines implements DeadlineList {
  readonly #clock: Clock;
  readonly #timeout: number;
  /** Deadline → stops its timer. Ordered by time. */
  readonly #all = new Map<Deadline, () => void>();
  #isClosed = false;

  /**
   * @param clock The clock of the server.
   * @param timeout The length of each deadline, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  add(due: Deadline): void {
    if (this.#isClosed) return;
    this.#removeLost();
    due.dueAt = this.#clock.elapsed() + this.#timeout;
    this.#schedule(due, this.#timeout);
  }

  remove(due: Deadline): boolean {
    this.#all.get(due)?.();
    return this.#all.delete(due);
  }

  /** Expires all deadlines, each by its own timer. */
  close(): void {
    this.#isClosed = true;
  }

  #schedule(due: Deadline, left: number): void {
    const stop = this.#clock.after(Math.min(left, CLOSED_INTERVAL), () => {
      const left = due.dueAt - this.#clock.elapsed();
      if (left > 0 && !this.#isClosed) return this.#schedule(due, left);
      this.#all.delete(due);
      due.onExpire();
    });
    this.#all.set(due, stop);
  }

  /** Removes deadlines that are long overdue. Their requests were ended, and their timers with them. */
  #removeLost(): void {
    for (const [due] of this.#all) {
      if (this.#clock.elapsed() - due.dueAt <= GRACE) return;
      this.remove(due);
      due.onAbandon?.();
    }
  }
}
