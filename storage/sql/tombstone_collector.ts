/**
 * When tombstones are swept: after writes, a piece at a time, so that nobody waits for it.
 *
 * @module
 */

/** No sooner than this are expired tombstones looked for again once none were left, in milliseconds. */
const SWEEP_INTERVAL = 60_000;
/** One write begins so many pieces at most: together they forget as many tombstones as a write makes. */
const PIECES = 2;
/** When more were left, so many times as long as the pieces took pass before the next: a quarter of all time is spent. */
const REST = 3;

/** So long at most is a piece waited for that is under way when the storage is closed, in milliseconds. */
const END_TIMEOUT = 5000;

/** When and how a storage sweeps. */
export interface CollectorOptions {
  /** Milliseconds from some moment on. */
  readonly elapsed: () => number;
  /** How long tombstones are kept, in milliseconds. */
  readonly tombstoneTimeout: number;
  /** Whether nothing goes on when a request has been answered: then each write waits for the piece that it begins. */
  readonly isScoped: boolean;
}

/**
 * Sweeps in the background, and only where there are writes: each begins a few pieces at most, after it was answered.
 * The next ones follow another write and no timer, so that nothing keeps a process alive.
 *
 * A storage that has just been made waits for an interval first. One that was made for a single transaction of the
 * application never comes so far.
 */
export class TombstoneCollector {
  readonly #sweep: () => Promise<boolean>;
  readonly #elapsed: () => number;
  readonly #interval: number;
  readonly #isScoped: boolean;
  #next: number | undefined;
  #began = 0;
  #running: Promise<void> | undefined;
  #hasEnded: boolean;

  /**
   * @param sweep Sweeps one piece, and says whether there may be more.
   * @param options When.
   */
  constructor(sweep: () => Promise<boolean>, { elapsed, tombstoneTimeout, isScoped }: CollectorOptions) {
    this.#sweep = sweep;
    this.#elapsed = elapsed;
    this.#interval = Math.min(SWEEP_INTERVAL, tombstoneTimeout);
    this.#isScoped = isScoped;
    this.#hasEnded = tombstoneTimeout === Infinity;
  }

  /** Begins to sweep if it is time. Called after each write, which waits for what this gives. */
  wake(): Promise<void> | undefined {
    const now = this.#elapsed();
    this.#next ??= now + (this.#isScoped ? 0 : this.#interval);
    if (this.#hasEnded || now < this.#next) return;
    // One that has lasted for so long was lost, with the connection or the request that it belonged to.
    if (this.#running && now < this.#began + SWEEP_INTERVAL) return;
    this.#began = now;
    const running = this.#run().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return this.#isScoped ? running : undefined;
  }

  /** Begins no more, and settles when the piece under way is done, or takes too long. */
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
    for (let pieces = 0; isMore && pieces < (this.#isScoped ? 1 : PIECES); pieces++) {
      // A database in this process answers at once: whoever wrote, or asks meanwhile, is to go on first.
      if (!this.#isScoped) await new Promise<void>((resolve) => setTimeout(resolve, 0));
      if (this.#hasEnded) return;
      // What fails is tried again an interval later: whoever writes learns by its own statement what is wrong.
      isMore = await this.#sweep().catch(() => false);
    }
    const now = this.#elapsed();
    this.#next = now + (isMore ? REST * (now - this.#began) : this.#interval);
  }
}
