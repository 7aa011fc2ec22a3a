/**
 * Computes how long to pause: after failures, and as the server asks. Pure.
 *
 * @module
 */

/** The longest pause that a server can ask for, in milliseconds: a day. Timers cannot be much longer. */
const MAX_PAUSE_MS = 86_400_000;

/** The longest pause until a date, in milliseconds: the clock of the computer may be wrong by years. */
const MAX_DATE_PAUSE_MS = 300_000;

/**
 * The pause after so many failures in a row, in milliseconds: 500, then twice as much each time, 30 seconds at most. Up
 * to a half of it is left out at random, so that clients do not return at the same time.
 */
export function growingPause(failures: number, random: number): number {
  return Math.min(30_000, 500 * 2 ** failures) * (1 - random / 2);
}

/** Parses `Retry-After`: seconds, or a date, which counts for five minutes at most. Returns milliseconds; 0 without the field. */
export function parseRetryAfter(value: string | null, now: number): number {
  const seconds = Number(value);
  return limitPause(
    seconds >= 0 ? seconds * 1000 : Math.min(MAX_DATE_PAUSE_MS, Date.parse(value!) - now),
  );
}

/** Limits a pause that comes from outside to what a timer can do. Anything but a number is no pause. */
export function limitPause(ms: unknown): number {
  return Math.min(MAX_PAUSE_MS, Math.max(0, Number(ms) || 0));
}
