/**
 * Time, timers and random numbers of the client as one interface that tests replace.
 *
 * @module
 */

/** Time, timers and random numbers. */
export interface ClientClock {
  /** The date, in milliseconds since 1970. A jump of it shows that the computer slept. */
  now(): number;
  /** Milliseconds since an arbitrary moment. Never goes back. Used for pauses. */
  elapsed(): number;
  /** Calls back once after that many milliseconds. Returns a function that cancels it. */
  after(ms: number, callback: () => void): () => void;
  /** A random number from 0 up to, but not including, 1. */
  random(): number;
}

/** The time, timers and random numbers of the runtime. */
export const systemClock: ClientClock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};
