/**
 * Many deadlines of the same length behind one timer: what begins first is due first.
 *
 * @module
 */
import type { Clock } from "./clock.ts";

/** What has to be over in time. */
export interface Due {
  /** When its time is up, in milliseconds since 1970; set when it begins. */
  dueAt: number;
  /** Called when its time is up. */
  onLate(): void;
}

/** Everything of one kind that is under way. A timer runs as long as there is something, and one for all. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #timeout: number;
  /** In the order in which they are due. */
  readonly #all = new Set<Due>();
  #stopTimer: (() => void) | undefined;
  #isClosed = false;

  /**
   * @param clock Where time and the timer come from.
   * @param timeout How long each of them may take, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
  }

  /** How much is under way. */
  get size(): number {
    return this.#all.size;
  }

  /** Whether nothing more is looked after. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Begins. */
  add(due: Due): void {
    if (this.#isClosed) return;
    due.dueAt = this.#clock.now() + this.#timeout;
    this.#all.add(due);
    this.#stopTimer ??= this.#clock.after(this.#timeout, this.#look);
  }

  /** Is over; says whether it was under way. */
  remove(due: Due): boolean {
    const wasThere = this.#all.delete(due);
    if (wasThere && this.#all.size === 0) this.#stop();
    return wasThere;
  }

  /** Ends everything now, as if its time were up, and looks after nothing that begins later. */
  close(): void {
    this.#isClosed = true;
    this.#stop();
    for (const due of this.#all) {
      this.#all.delete(due);
      due.onLate();
    }
  }

  readonly #look = (): void => {
    this.#stopTimer = undefined;
    const now = this.#clock.now();
    for (const due of this.#all) {
      const left = due.dueAt - now;
      // More than all of it is left where the clock was set back.
      if (left > 0 && left <= this.#timeout) {
        this.#stopTimer ??= this.#clock.after(left, this.#look);
        return;
      }
      this.#all.delete(due);
      due.onLate();
    }
    if (this.#all.size === 0) this.#stop();
  };

  #stop(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }
}
