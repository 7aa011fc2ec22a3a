/**
 * Time, timers and random numbers as one interface that tests replace.
 *
 * @module
 */

/** Time, timers and random numbers. All code of the package takes them from a clock. */
export interface Clock {
  /** The date, in milliseconds since 1970. It may jump forwards and backwards, so it is used for dates only. */
  now(): number;
  /**
   * Milliseconds since an arbitrary moment. Never goes back, even if the date is changed. Used for durations and
   * deadlines.
   */
  elapsed(): number;
  /**
   * Calls back once, not earlier than after the given number of milliseconds. Returns a function that cancels the
   * timer.
   */
  after(ms: number, callback: () => void): () => void;
  /** A random number from 0 up to, but not including, 1. */
  random(): number;
}

/** The time, timers and random numbers of the runtime. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => Math.floor(performance.now()),
  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/**
 * Waits for a task for a limited time, in milliseconds. Rejects if the task rejects.
 *
 * @returns Whether the task has settled in time.
 */
export async function settlesWithin(clock: Clock, ms: number, task: Promise<unknown>): Promise<boolean> {
  let cancel = () => {};
  const timeout = new Promise<false>((resolve) => cancel = clock.after(ms, () => resolve(false)));
  try {
    return await Promise.race([task.then(() => true), timeout]);
  } finally {
    cancel();
  }
}
