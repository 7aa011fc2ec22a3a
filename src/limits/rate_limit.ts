/**
 * Limits how many requests each client may send in a time window, counted in memory.
 *
 * The algorithm is GCRA. It keeps one moment per client: the one at which its whole limit is available again. Each
 * request delays that moment by a fraction of the window, at most to one window from now. So a client that was quiet
 * may send its whole limit at once and continues at an even rate afterwards. Unlike with fixed windows, it cannot
 * send twice the limit around a boundary. A sliding window would have to keep a list of requests.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** The default number of clients that are remembered. */
const MAX_CLIENTS = 100_000;

/** The rounding error of a division, in requests. */
const ROUNDING = 1e-3;

/** The result of counting a request. */
export interface Quota {
  /** Whether the request is allowed. */
  readonly isAllowed: boolean;
  /** How many more requests are allowed now. */
  readonly remaining: number;
  /** Seconds until one more request than that is allowed. */
  readonly secondsToNext: number;
}

/** Counts the requests of many clients. */
export class RateLimiter {
  readonly #limit: number;
  readonly #window: number;
  readonly #clock: Clock;
  readonly #maxClients: number;
  readonly #startedAt: number;
  /**
   * Client → when its whole limit is available again, in milliseconds since the start. Ordered by the last request.
   */
  readonly #freeAt = new Map<string, number>();

  /**
   * @param options `limit` requests in `window` milliseconds.
   * @param clock The source of time.
   * @param maxClients How many clients are remembered. The one whose last request is oldest is forgotten first.
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

  /** The number of clients that are remembered now. */
  get size(): number {
    return this.#freeAt.size;
  }

  /** Counts a request of a client. A refused request does not count. */
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
    // Looks at two old entries for each new one, so expired entries disappear without a timer.
    for (let i = 0; i < 2; i++) {
      const [oldest] = this.#freeAt;
      if (oldest === undefined) return;
      if (oldest[1] > now && this.#freeAt.size <= this.#maxClients) return;
      this.#freeAt.delete(oldest[0]);
    }
  }
}

/** The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11). */
export function formatPolicy({ limit, window }: { readonly limit: number; readonly window: number }): string {
  return `"default";q=${limit};w=${Math.ceil(window / 1_000)}`;
}

/** The value of `RateLimit` (same draft). */
export function formatQuota({ remaining, secondsToNext }: Quota): string {
  return `"default";r=${remaining};t=${secondsToNext}`;
}
