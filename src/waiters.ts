/**
 * Who waits for which key: the bell that says "look again" and carries no data.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import { markOf } from "./history.ts";

/** Why a waiter stopped waiting: a key may have changed, its time is up, or it was closed. */
export type WaitEnd = "wake" | "timeout" | "closed";

/** A sync request or an event stream parked on keys. It hears of every change from the moment it is made. */
export interface Waiter {
  /**
   * Waits for the next wake. One that came since the last call, or since the waiter was made, counts at once:
   * so whoever reads between two calls cannot miss a change.
   *
   * @param ms How long to wait, in milliseconds.
   */
  next(ms: number): Promise<WaitEnd>;
  /** What `next` would say at once; undefined where it would wait. A wake that is told is over. */
  poll(): WaitEnd | undefined;
  /** Gives the place back and ends a wait in progress as `closed`. May be called twice. */
  release(): void;
}

/**
 * Storage → the waiters of all servers in this process that use it and have any. A storage in memory announces nothing
 * and is not looked at: without this, a client that waits at one server would sleep through a change made by another.
 */
const groups = new WeakMap<object, Set<Waiters>>();

/** All the waiters of one server, found by key. */
export class Waiters {
  /** Most keys have one waiter, which then stands here itself: a set would be the larger part of its memory. */
  readonly #byKey = new Map<string, Parked | Set<Parked>>();
  readonly #all = new Set<Parked>();
  /** One function for all of them, not one for each. */
  readonly #remove = (waiter: Parked): void => {
    this.#all.delete(waiter);
    if (this.#all.size === 0) {
      this.#group.delete(this);
      this.#onEmptied();
    }
    for (const key of waiter.keys) {
      const there = this.#byKey.get(key);
      if (there === waiter) this.#byKey.delete(key);
      else if (there instanceof Set && there.delete(waiter) && there.size === 0) this.#byKey.delete(key);
    }
  };
  readonly #clock: Clock;
  readonly #max: number;
  readonly #group: Set<Waiters>;
  #onFilled: () => void = () => {};
  #onEmptied: () => void = () => {};
  #closed = false;
  #wakes = 0;

  /**
   * @param clock Where timers come from.
   * @param max How many waiters there may be at once.
   * @param storage What they wait for changes of: a wake reaches the waiters of every server here that has the same one.
   */
  constructor(clock: Clock, max: number, storage: object = {}) {
    this.#clock = clock;
    this.#max = max;
    this.#group = groups.get(storage) ?? new Set();
    groups.set(storage, this.#group);
  }

  /** How many wait now. */
  get size(): number {
    return this.#all.size;
  }

  /** How often a waiter was told to look again. */
  get wakes(): number {
    return this.#wakes;
  }

  /** Calls back each time the first waiter arrives after there was none. */
  set onFilled(callback: () => void) {
    this.#onFilled = callback;
  }

  /** Parks a new waiter on these keys; `null` when there is no place left. */
  add(keys: readonly string[]): Waiter | null {
    if (this.#closed || this.#all.size >= this.#max) return null;
    const waiter = new Parked(keys, this.#clock, this.#remove);
    this.#all.add(waiter);
    for (const key of keys) {
      const there = this.#byKey.get(key);
      if (there === undefined) this.#byKey.set(key, waiter);
      else if (there instanceof Set) there.add(waiter);
      else this.#byKey.set(key, new Set([there, waiter]));
    }
    if (this.#all.size === 1) {
      this.#group.add(this);
      this.#onFilled();
    }
    return waiter;
  }

  /** Tells all who wait for one of these keys to look again; `null` stands for every key. */
  wake(keys: readonly string[] | null): void {
    for (const waiters of this.#group) waiters.#wake(keys);
  }

  /** Tells all who wait for a key with one of these marks to look again. */
  wakeMarked(marks: ReadonlySet<string>): void {
    for (const waiters of this.#group) {
      waiters.#wake([...waiters.#byKey.keys()].filter((key) => marks.has(markOf(key))));
    }
  }

  #wake(keys: readonly string[] | null): void {
    if (keys === null) {
      this.#wakes += this.#all.size;
      for (const waiter of this.#all) waiter.wake();
      return;
    }
    for (const key of keys) {
      const there = this.#byKey.get(key);
      if (there === undefined) continue;
      this.#wakes += there instanceof Set ? there.size : 1;
      if (there instanceof Set) { for (const waiter of there) waiter.wake(); }
      else there.wake();
    }
  }

  /**
   * Ends every wait as `closed` and takes no waiter any more. Settles when all have given back their places: who was
   * ended still has to answer.
   */
  close(): Promise<void> {
    this.#closed = true;
    const emptied = new Promise<void>((resolve) => this.#onEmptied = resolve);
    if (this.#all.size === 0) this.#onEmptied();
    for (const waiter of this.#all) waiter.close();
    return emptied;
  }
}

class Parked implements Waiter {
  readonly keys: readonly string[];
  readonly #clock: Clock;
  readonly #onRelease: (waiter: Parked) => void;
  #woken = false;
  #closed = false;
  #released = false;
  #resolve: ((end: WaitEnd) => void) | undefined;
  #stopTimer: (() => void) | undefined;

  constructor(keys: readonly string[], clock: Clock, onRelease: (waiter: Parked) => void) {
    this.keys = keys;
    this.#clock = clock;
    this.#onRelease = onRelease;
  }

  next(ms: number): Promise<WaitEnd> {
    const end = this.poll();
    if (end !== undefined) return Promise.resolve(end);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#stopTimer = this.#clock.after(ms, () => this.#finish("timeout"));
    });
  }

  poll(): WaitEnd | undefined {
    if (this.#closed) return "closed";
    if (!this.#woken) return undefined;
    this.#woken = false;
    return "wake";
  }

  wake(): void {
    if (!this.#finish("wake")) this.#woken = true;
  }

  close(): void {
    this.#closed = true;
    this.#finish("closed");
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#onRelease(this);
    this.close();
  }

  #finish(end: WaitEnd): boolean {
    const resolve = this.#resolve;
    if (resolve === undefined) return false;
    this.#stopTimer?.();
    this.#resolve = this.#stopTimer = undefined;
    resolve(end);
    return true;
  }
}
