/**
 * How often each client may ask: so many requests in a window, counted in memory.
 *
 * The count is the one known as GCRA: of each client a single moment is kept, the one at which it will have used up
 * nothing any more. Each request moves that moment on by a share of the window, and may not move it further than one
 * window ahead. So a client that was quiet may send its whole limit at once, goes on at an even pace afterwards, and
 * finds no edge between two windows at which it could send twice as much; a sliding window would keep a list for that.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** How many clients are remembered unless told otherwise. */
const MAX_CLIENTS = 100_000;

/** What division may get wrong, in requests. */
const ROUNDING = 1e-3;

/** What one request found. */
export interface Quota {
  /** Whether it may go on. */
  readonly isAllowed: boolean;
  /** How many more may follow at once. */
  readonly remaining: number;
  /** Seconds until one more than that may. */
  readonly secondsToNext: number;
}

/** The requests of many clients, counted for each of them. */
export class RateLimiter {
  readonly #limit: number;
  readonly #window: number;
  readonly #clock: Clock;
  readonly #maxClients: number;
  readonly #startedAt: number;
  /** Client → when it will have used up nothing, in milliseconds since the start. Who asked last stands last. */
  readonly #freeAt = new Map<string, number>();

  /**
   * @param options `limit` requests in `window` milliseconds.
   * @param clock Where time comes from.
   * @param maxClients How many are remembered; of more, the one that was silent for the longest time is forgotten.
   */
  constructor(
    { limit, window }: { readonly limit: number; readonly window: number },
    clock: Clock,
    maxClients: number = MAX_CLIENTS,
  ) {
    this.#limit = limit;
    this.#window = window;
    this.#clock = clock;
    this.#maxClients = maxClients;
    this.#startedAt = clock.elapsed();
  }

  /** How many clients are remembered now. */
  get size(): number {
    return this.#freeAt.size;
  }

  /** Counts one request of a client. One that is turned down costs it nothing. */
  take(client: string): Quota {
    const now = this.#clock.elapsed() - this.#startedAt;
    const step = this.#window / this.#limit;
    const used = Math.max(0, (this.#freeAt.get(client) ?? 0) - now);
    const available = Math.floor((this.#window - used) / step + ROUNDING);
    const isAllowed = available >= 1;
    const usedAfter = isAllowed ? used + step : used;
    const remaining = isAllowed ? available - 1 : 0;
    this.#remember(client, now, now + usedAfter);
    const wait = usedAfter - (this.#window - (remaining + 1) * step);
    return { isAllowed, remaining, secondsToNext: Math.max(1, Math.ceil(wait / 1_000 - ROUNDING)) };
  }

  #remember(client: string, now: number, freeAt: number): void {
    this.#freeAt.delete(client);
    this.#freeAt.set(client, freeAt);
    // Two for one: what is over goes faster than new clients come, without a timer.
    for (let i = 0; i < 2; i++) {
      const [oldest] = this.#freeAt;
      if (oldest === undefined) return;
      if (oldest[1] > now && this.#freeAt.size <= this.#maxClients) return;
      this.#freeAt.delete(oldest[0]);
    }
  }
}

/** The value of `RateLimit-Policy`, after draft-ietf-httpapi-ratelimit-headers-11. */
export function formatPolicy({ limit, window }: { readonly limit: number; readonly window: number }): string {
  return `"default";q=${limit};w=${Math.ceil(window / 1_000)}`;
}

/** The value of `RateLimit`, after the same. */
export function formatQuota({ remaining, secondsToNext }: Quota): string {
  return `"default";r=${remaining};t=${secondsToNext}`;
}
