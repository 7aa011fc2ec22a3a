/**
 * The end of an event stream. Apart from the streams, since refusals need it as well.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { drawRetryDelay } from "../limits/retry_delay.ts";

/**
 * Sets how long the client waits before it reconnects, in milliseconds.
 *
 * @param id The cursor to resume from until an event has one. Left out: a client without one begins anew.
 */
export function retryFrame(ms: number, id?: string): string {
  return `retry: ${ms}\n${id === undefined ? "" : `id: ${id}\n`}\n`;
}

/** The end of a stream: tells the client to reconnect after a random delay, at least `least` milliseconds. */
export function closingStream(clock: Clock, least?: number): string {
  return retryFrame(drawRetryDelay(clock, least));
}
