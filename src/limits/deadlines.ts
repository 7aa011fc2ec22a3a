/**
 * Many deadlines of the same length behind one timer: what begins first is due first.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** What has to be over in time. */
export interface Deadline {
  /** When its time is up, by `clock.elapsed()`; set when it begins. */
  dueAt: number;
  /** Its neighbours among all that is under way; undefined when it is not. */
  before: Deadline | undefined;
  after: Deadline | undefined;
  /** Called when its time is up. */
  onExpire(): void;
  /** Called instead, by another request, where its own was ended before its time was up. */
  onAbandon?(): void;
}

/** What is under way and has to be over in time, all in as much of it. */
export interface DeadlineList {
  /** Whether nothing more is looked after. */
  readonly isClosed: boolean;
  /** Begins. */
  add(deadline: Deadline): void;
  /** Is over; says whether it was under way. */
  remove(deadline: Deadline): boolean;
  /** Ends everything as if its time were up, and looks after nothing that begins later. */
  close(): void;
}

/** A body that came along with its head is read after two or three microtasks: before these are over, no timer is set. */
const TIMER_DELAY_MICROTASKS = 4;

/** Everything of one kind that is under way. A timer runs as long as there is something that was not over at once. */
export class Deadlines implements DeadlineList {
  readonly #clock: Clock;
  readonly #timeout: number;
  /**
   * Everything in the order in which it is due, as a ring that begins and ends here. A set would do, but one that
   * lives long and is filled with what lives shortly costs a request more than reading its body does.
   */
  readonly #ring: Deadline = { dueAt: Infinity, before: undefined, after: undefined, onExpire() {} };
  #size = 0;
  #stopTimer: (() => void) | undefined;
  /** What the timer is to be set for, unless it is over within so many microtasks. */
  #first: Deadline | undefined;
  #microtasksLeft = 0;
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
  add(deadline: Deadline): void {
    if (this.#isClosed) return;
    deadline.dueAt = this.#clock.elapsed() + this.#timeout;
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

  /** Is over; says whether it was under way. */
  remove(deadline: Deadline): boolean {
    if (!this.#unlink(deadline)) return false;
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
    if (first !== this.#first) this.#microtasksLeft = TIMER_DELAY_MICROTASKS;
    this.#first = first;
    if (first === undefined) return;
    if (this.#microtasksLeft-- > 0) return queueMicrotask(this.#prepare);
    this.#first = undefined;
    this.#expireDue();
  };

  readonly #expireDue = (): void => {
    this.#stopTimer = undefined;
    const now = this.#clock.elapsed();
    while (this.#size > 0) {
      const deadline = this.#ring.after!;
      const left = deadline.dueAt - now;
      if (left > 0) {
        this.#stopTimer ??= this.#clock.after(left, this.#expireDue);
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
