/**
 * When an SQL storage collects tombstones: after writes, in small steps, so that no write waits.
 *
 * @module
 */

/** The shortest time between two searches for expired tombstones while none are left, in milliseconds. */
const COLLECT_INTERVAL = 60_000;
/** The most steps after one write. Together they delete as many tombstones as a write makes. */
const MAX_STEPS = 2;
/**
 * With a backlog, the pause before the next steps, as a multiple of the time that the last ones took. So collecting takes
 * a quarter of the time.
 */
const PAUSE_FACTOR = 3;
/** How long `end()` waits for a running step, in milliseconds. */
const END_TIMEOUT = 5000;

/** When a storage collects tombstones. */
export interface CollectorOptions {
  /** A monotonic clock, in milliseconds. */
  readonly elapsed: () => number;
  /** How long tombstones are kept, in milliseconds; `Infinity` for ever. */
  readonly tombstoneTimeout: number;
  /** Whether nothing may continue after a request was answered. Then a write waits for the step that it starts. */
  readonly requestScopedIO: boolean;
}

/**
 * Collects tombstones in the background, and only after writes: each write starts a few steps at most. There is no timer,
 * so nothing keeps a process alive.
 *
 * A new collector waits for an interval first. So a storage that was made for one transaction of the application never
 * collects.
 */
export class TombstoneCollector {
  readonly #collect: () => Promise<boolean>;
  readonly #elapsed: () => number;
  readonly #interval: number;
  readonly #requestScopedIO: boolean;
  #nextAt: number | undefined;
  #startedAt = 0;
  #running: Promise<void> | undefined;
  #hasEnded: boolean;

  /**
   * @param collect Runs one step. Returns whether there may be more to collect.
   * @param options When to collect.
   */
  constructor(collect: () => Promise<boolean>, options: CollectorOptions) {
    this.#collect = collect;
    this.#elapsed = options.elapsed;
    this.#interval = Math.min(COLLECT_INTERVAL, options.tombstoneTimeout);
    this.#requestScopedIO = options.requestScopedIO;
    this.#hasEnded = options.tombstoneTimeout === Infinity;
  }

  /** Starts to collect if it is time. Call it after each write, and await the result. */
  wake(): Promise<void> | undefined {
    const now = this.#elapsed();
    this.#nextAt ??= now + (this.#requestScopedIO ? 0 : this.#interval);
    if (this.#hasEnded || now < this.#nextAt) return;
    // A run that has lasted this long was lost with its connection or its request.
    if (this.#running && now < this.#startedAt + COLLECT_INTERVAL) return;
    this.#startedAt = now;
    const running = this.#run().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return this.#requestScopedIO ? running : undefined;
  }

  /** Starts no more steps. Settles when the running step is done, after 5 seconds at the latest. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    if (this.#running === undefined) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, END_TIMEOUT));
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    let isMore = true;
    for (let steps = 0; isMore && steps < (this.#requestScopedIO ? 1 : MAX_STEPS); steps++) {
      // A database in this process answers at once. The write, and calls that came meanwhile, continue first.
      if (!this.#requestScopedIO) await new Promise<void>((resolve) => setTimeout(resolve, 0));
      if (this.#hasEnded) return;
      // A failed step is tried again an interval later. Writes report what is wrong by themselves.
      isMore = await this.#collect().catch(() => false);
    }
    const now = this.#elapsed();
    this.#nextAt = now + (isMore ? PAUSE_FACTOR * (now - this.#startedAt) : this.#interval);
  }
}
