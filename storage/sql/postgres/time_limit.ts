/**
 * Time limits of statements and connections, on a clock that tests can replace.
 *
 * @module
 */

/** Time, timers and random numbers, as `Clock` of `src/clock.ts` has them. The time need not be the wall clock's. */
export interface PoolClock {
  /** A time in milliseconds that never goes back. */
  now(): number;
  /** Calls back once, after at least that many milliseconds. Returns a function that cancels it. */
  after(ms: number, callback: () => void): () => void;
  /** A number from 0 up to, not including, 1. */
  random(): number;
}

/** The runtime's monotonic clock, which setting the system's time does not move. */
export const monotonicClock: PoolClock = {
  now: () => performance.now(),
  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** The time limit passed before there was an answer. */
export class LateError extends Error {}

/**
 * Settles as the work does, or rejects when the time limit passes.
 *
 * @param clock Time and timers.
 * @param timeout The time limit, in milliseconds.
 * @param work Starts the work.
 * @throws {LateError} When the time limit passes.
 */
export function inTime<T>(clock: PoolClock, timeout: number, work: () => PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(timeout, () => reject(new LateError(`no answer within ${timeout} ms`)));
    work().then((value) => {
      cancel();
      resolve(value);
    }, (error) => {
      cancel();
      reject(error);
    });
  });
}
