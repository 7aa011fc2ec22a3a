/**
 * How long a client waits before it tries again.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** The shortest delay, in milliseconds. */
export const MIN_RETRY_DELAY = 500;
/** A random delay up to this is added, in milliseconds, so that clients do not return at the same moment. */
const RETRY_DELAY_SPREAD = 2_500;

/**
 * Draws a random delay before a client tries again, in milliseconds.
 *
 * @param clock The source of random numbers.
 * @param minimum The shortest delay, in milliseconds.
 */
export function drawRetryDelay(clock: Pick<Clock, "random">, minimum: number = MIN_RETRY_DELAY): number {
  return Math.max(MIN_RETRY_DELAY, minimum) + Math.floor(RETRY_DELAY_SPREAD * clock.random());
}
