/**
 * Many deadlines of the same length behind one timer: what begins first is due first.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** What has to be over in time. */
export interface Due {
  /** When its time is up, by `clock.elapsed()`; set when it begins. */
  dueAt: number;
  /** Its neighbours among all that is under way; undefined when it is not. */
  before: Due | undefined;
  after: Due | undefined;
  /** Called when its time is up. */
  onLate(): void;
  /** Called instead, by another request, where its own was ended before its time was up. */
  onLost?(): void;
}

/** What is under way and has to be over in time, all in as much of it. */
export interface DeadlineList {
  /** Whether nothing more is looked after. */
  readonly isClosed: boolean;
  /** Begins. */
  add(due: Due): void;
  /** Is over; says whether it was under way. */
  remove(due: Due): boolean;
  /** Ends everything as if its time were up, and looks after nothing that begins later. */
  close(): void;
}

/** A body that came along with its head is read after two or three microtasks: before these are over, no timer is set. */
const PATIENCE = 4;

/** Everything of one kind that is under way. A timer runs as long as there is something that was not over at once. */
export class Deadlines implements DeadlineList {
  readonly #clock: Clock;
  readonly #timeout: number;
  /**
   * Everything in the order in which it is due, as a ring that begins and ends here. A set would do, but one that
   * lives long and is filled with what lives shortly costs a request more than reading its body does.
   */
  readonly #ring: Due = { dueAt: Infinity, before: undefined, after: undefined, onLate() {} };
  #size = 0;
  #stopTimer: (() => void) | undefined;
  /** What the timer is to be set for, unless it is over within so many microtasks. */
  #first: Due | undefined;
  #patience = 0;
  #isClosed = false;

  /**
   * @param clock Where time and the timer come from.
   * @param timeout How long each of them may take, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
    this.#ring.before = this.#ring.after = this.#ring;
  }

  /** How much is under way. */
  get size(): number {
    return this.#size;
  }

  /** Whether nothing more is looked after. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Begins. */
  add(due: Due): void {
    if (this.#isClosed) return;
    due.dueAt = this.#clock.elapsed() + this.#timeout;
    const last = this.#ring.before!;
    due.before = last;
    due.after = this.#ring;
    last.after = due;
    this.#ring.before = due;
    this.#size++;
    if (this.#stopTimer !== undefined || this.#first !== undefined) return;
    this.#first = due;
    this.#patience = PATIENCE;
    queueMicrotask(this.#prepare);
  }

  /** Is over; says whether it was under way. */
  remove(due: Due): boolean {
    if (!this.#unlink(due)) return false;
    if (this.#size === 0) this.#stop();
    return true;
  }

  /** Ends everything now, as if its time were up, and looks after nothing that begins later. */
  close(): void {
    this.#isClosed = true;
    this.#stop();
    while (this.#size > 0) this.#end(this.#ring.after!);
  }

  /** Sets the timer, unless all is over soon: setting it would cost more than reading a small body does. */
  readonly #prepare = (): void => {
    const first = this.#size === 0 ? undefined : this.#ring.after;
    if (first !== this.#first) this.#patience = PATIENCE;
    this.#first = first;
    if (first === undefined) return;
    if (this.#patience-- > 0) return queueMicrotask(this.#prepare);
    this.#first = undefined;
    this.#look();
  };

  readonly #look = (): void => {
    this.#stopTimer = undefined;
    const now = this.#clock.elapsed();
    while (this.#size > 0) {
      const due = this.#ring.after!;
      const left = due.dueAt - now;
      if (left > 0) {
        this.#stopTimer ??= this.#clock.after(left, this.#look);
        return;
      }
      this.#end(due);
    }
    this.#stop();
  };

  #end(due: Due): void {
    this.#unlink(due);
    due.onLate();
  }

  #unlink(due: Due): boolean {
    const { before, after } = due;
    if (before === undefined || after === undefined) return false;
    before.after = after;
    after.before = before;
    due.before = due.after = undefined;
    this.#size--;
    return true;
  }

  #stop(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }
}
