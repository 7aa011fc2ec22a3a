/**
 * Many deadlines of the same length with one timer. The first one that starts expires first.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** A task with a time limit. It is an element of a linked list. */
export interface Deadline {
  /** When it expires, by `clock.elapsed()`. Set when it is added. */
  dueAt: number;
  /** The neighbours in the list; undefined while it is not in a list. */
  before: Deadline | undefined;
  after: Deadline | undefined;
  /** Called when it expires. */
  onExpire(): void;
  /** Called instead, by another request, if the request of this task was ended by its host before it expired. */
  onAbandon?(): void;
}

/** Tasks with the same time limit. */
export interface DeadlineList {
  /** Whether the list is closed. */
  readonly isClosed: boolean;
  /** Starts the time limit of a task. */
  add(deadline: Deadline): void;
  /**
   * Ends the time limit of a task.
   *
   * @returns Whether it was running.
   */
  remove(deadline: Deadline): boolean;
  /** Expires all tasks, and ignores tasks that are added later. */
  close(): void;
}

/** A body that arrived together with its head is read within two or three microtasks. No timer is set before that. */
const TIMER_DELAY_MICROTASKS = 4;

/** A task that was added without a timer, within the last few microtasks. */
const UNSET = -Infinity;

const NO_TIMER = (): void => {};

/** Tasks with the same time limit. A timer runs while there is a task that did not end at once. */
export class Deadlines implements DeadlineList {
  readonly #clock: Clock;
  readonly #timeout: number;
  /**
   * All tasks, in the order in which they expire, as a circular list that starts and ends here. A long-lived set with
   * short-lived elements would cost a request more than reading its body does.
   */
  readonly #ring: Deadline = { dueAt: Infinity, before: undefined, after: undefined, onExpire() {} };
  #size = 0;
  #stopTimer: (() => void) | undefined;
  /** The task that the timer will be set for, unless it ends within a few microtasks. */
  #first: Deadline | undefined;
  #microtasksLeft = 0;
  #isClosed = false;

  /**
   * @param clock The source of time and of the timer.
   * @param timeout The time limit of each task, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
    this.#ring.before = this.#ring.after = this.#ring;
  }

  /** The number of running tasks. */
  get size(): number {
    return this.#size;
  }

  /** Whether the list is closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Starts the time limit of a task. */
  add(deadline: Deadline): void {
    if (this.#isClosed) return;
    // On Deno, reading the clock is a tenth of the work of a small request. Without a timer, #prepare does it once for all.
    deadline.dueAt = this.#stopTimer === undefined ? UNSET : this.#clock.elapsed() + this.#timeout;
    const last = this.#ring.before!;
    deadline.before = last;
    deadline.after = this.#ring;
    last.after = deadline;
    this.#ring.before = deadline;
    this.#size++;
    if (this.#stopTimer !== undefined || this.#first !== undefined) return;
    this.#first = deadline;
    this.#microtasksLeft = TIMER_DELAY_MICROTASKS;
    queueMicrotask(this.#prepare);
  }

  /**
   * Ends the time limit of a task.
   *
   * @returns Whether it was running.
   */
  remove(deadline: Deadline): boolean {
    if (!this.#unlink(deadline)) return false;
    if (this.#size === 0) this.#stop();
    return true;
  }

  /** Expires all tasks, and ignores tasks that are added later. */
  close(): void {
    this.#isClosed = true;
    this.#stop();
    while (this.#size > 0) this.#end(this.#ring.after!);
  }

  /** Sets the timer, unless all tasks end soon. Setting it would cost more than reading a small body. */
  readonly #prepare = (): void => {
    const first = this.#size === 0 ? undefined : this.#ring.after;
    if (first !== this.#first) this.#microtasksLeft = TIMER_DELAY_MICROTASKS;
    this.#first = first;
    if (first === undefined) return;
    if (this.#microtasksLeft-- > 0) return queueMicrotask(this.#prepare);
    this.#first = undefined;
    this.#expireDue();
  };

  readonly #expireDue = (): void => {
    // A task that is added while others expire needs no timer of its own.
    this.#stopTimer = NO_TIMER;
    const now = this.#clock.elapsed();
    for (let last = this.#ring.before!; last.dueAt === UNSET; last = last.before!) {
      last.dueAt = now + this.#timeout;
    }
    while (this.#size > 0) {
      const deadline = this.#ring.after!;
      // It was added after all others had ended, so that #prepare follows.
      if (deadline.dueAt === UNSET) return;
      const left = deadline.dueAt - now;
      if (left > 0) {
        this.#stopTimer = this.#clock.after(left, this.#expireDue);
        return;
      }
      this.#end(deadline);
    }
    this.#stop();
  };

  #end(deadline: Deadline): void {
    this.#unlink(deadline);
    deadline.onExpire();
  }

  #unlink(deadline: Deadline): boolean {
    const { before, after } = deadline;
    if (before === undefined || after === undefined) return false;
    before.after = after;
    after.before = before;
    deadline.before = deadline.after = undefined;
    this.#size--;
    return true;
  }

  #stop(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }
}
