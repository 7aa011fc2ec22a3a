/**
 * How long a client that was sent away stays away.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** At least so long, in milliseconds, … */
export const PAUSE_FROM = 500;
/** … and up to so much longer, by chance: clients that were sent away together do not come back together. */
const PAUSE_SPREAD = 2_500;

/**
 * Draws how long a client stays away, in milliseconds.
 *
 * @param clock Where chance comes from.
 * @param least How long it stays away at least, in milliseconds.
 */
export function drawPause(clock: Pick<Clock, "random">, least: number = PAUSE_FROM): number {
  return Math.max(PAUSE_FROM, least) + Math.floor(PAUSE_SPREAD * clock.random());
}
