/**
 * The time of a simulated cluster, which a test advances from event to event, and the clocks that its machines
 * show.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { Clock } from "../src/clock.ts";
import type { SeededRandom } from "./random.ts";

interface Timer {
  readonly at: number;
  readonly order: number;
  callback: (() => void) | undefined;
}

/** The true time of a simulated cluster. It advances only with {@linkcode SimClock.step}. */
export class SimClock {
  #now: number;
  #order = 0;
  #timers = 0;
  /** A heap: no timer is due before the one at half its index. */
  readonly #heap: Timer[] = [];

  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers;
  }

  /** Milliseconds since 1970. */
  now(): number {
    return this.#now;
  }

  /** Calls back once; answers a function that calls it off. */
  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, ms), order: this.#order++, callback };
    this.#timers++;
    this.#push(timer);
    return () => {
      if (timer.callback === undefined) return;
      timer.callback = undefined;
      this.#timers--;
    };
  }

  /** Settles when that much time has passed. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /**
   * Moves on to the timer that falls due next, and calls it back.
   *
   * @param until Does not go beyond this moment.
   * @returns Whether there was one; else it is now `until`.
   */
  step(until: number): boolean {
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      this.#pop();
      const { callback } = next;
      if (callback === undefined) continue;
      next.callback = undefined;
      this.#timers--;
      this.#now = Math.max(this.#now, next.at);
      callback();
      return true;
    }
    this.#now = Math.max(this.#now, until);
    return false;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let place = heap.push(timer) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!isBefore(timer, heap[above]!)) break;
      heap[place] = heap[above]!;
      place = above;
    }
    heap[place] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let place = 0;
    while (true) {
      let below = 2 * place + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++;
      if (!isBefore(heap[below]!, last)) break;
      heap[place] = heap[below]!;
      place = below;
    }
    heap[place] = last;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.at !== b.at ? a.at < b.at : a.order < b.order;
}

/** The clock of one machine, or of one process on it: wrong by some hours, and stopped when the process ends. */
export class MachineClock implements Clock {
  readonly #world: SimClock;
  readonly #random: SeededRandom;
  readonly #timers = new Set<() => void>();
  #stopped = false;
  /** By how much its date is wrong, in milliseconds. */
  skew: number;

  constructor(world: SimClock, random: SeededRandom, skew: number = 0) {
    this.#world = world;
    this.#random = random;
    this.skew = skew;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    return Math.floor(this.#world.now() + this.skew);
  }

  elapsed(): number {
    return this.#world.now();
  }

  random(): number {
    return this.#random.next();
  }

  after(ms: number, callback: () => void): () => void {
    if (this.#stopped) return () => {};
    const cancel = this.#world.after(ms, () => {
      this.#timers.delete(end);
      callback();
    });
    const end = () => {
      this.#timers.delete(end);
      cancel();
    };
    this.#timers.add(end);
    return end;
  }

  /** Calls all timers off, and sets none any more. */
  stop(): void {
    this.#stopped = true;
    for (const end of [...this.#timers]) end();
  }
}

/**
 * Settles when every promise that can settle without time passing has done so.
 *
 * @param isBusy Whether something is under way that takes time of its own, such as cryptography.
 */
export async function settleAll(isBusy: () => boolean): Promise<void> {
  // A turn of the event loop, which comes only after all microtasks. A message channel is no such turn on Deno.
  do await new Promise<void>((resolve) => setImmediate(resolve)); while (isBusy());
}
