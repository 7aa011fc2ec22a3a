/**
 * How long a client that was sent away stays away.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** At least so long, in milliseconds, … */
export const MIN_RETRY_DELAY = 500;
/** … and up to so much longer, by chance: clients that were sent away together do not come back together. */
const RETRY_DELAY_SPREAD = 2_500;

/**
 * Draws how long a client stays away, in milliseconds.
 *
 * @param clock Where chance comes from.
 * @param minimum How long it stays away at least, in milliseconds.
 */
export function drawRetryDelay(clock: Pick<Clock, "random">, minimum: number = MIN_RETRY_DELAY): number {
  return Math.max(MIN_RETRY_DELAY, minimum) + Math.floor(RETRY_DELAY_SPREAD * clock.random());
}
