/**
 * Time, timers and chance as one injected interface, so that tests can own them.
 *
 * @module
 */

/** Time, timers and chance. Every room takes them from here and from nowhere else. */
export interface Clock {
  /** The date, in milliseconds since 1970. It may be set forward and back at any time: for dates, not for durations. */
  now(): number;
  /** Milliseconds since some moment; never goes back, whatever is done to the date. For durations and deadlines. */
  elapsed(): number;
  /** Calls back once, no sooner than after that many milliseconds; answers a function that calls it off. */
  after(ms: number, callback: () => void): () => void;
  /** A number from 0 up to, not including, 1. */
  random(): number;
}

/** The real time, timers and chance of the runtime. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => Math.floor(performance.now()),
  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Waits for a task, and no longer than so many milliseconds; says whether it has settled. Rejects as the task does. */
export async function settlesWithin(clock: Clock, ms: number, task: Promise<unknown>): Promise<boolean> {
  let cancel = () => {};
  const late = new Promise<false>((resolve) => cancel = clock.after(ms, () => resolve(false)));
  try {
    return await Promise.race([task.then(() => true), late]);
  } finally {
    cancel();
  }
}
