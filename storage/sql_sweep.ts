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

/**
 * Sweeps in the background, and only where there are writes: each begins a few pieces at most, after it was answered.
 * The next ones follow another write and no timer, so that nothing keeps a process alive.
 *
 * A storage that has just been made waits for an interval first. One that was made for a single transaction of the
 * application never comes so far.
 */
export class Sweeper {
  readonly #sweep: () => Promise<boolean>;
  readonly #elapsed: () => number;
  readonly #interval: number;
  #next: number | undefined;
  #running: Promise<void> | undefined;
  #hasEnded = false;

  /**
   * @param sweep Sweeps one piece, and says whether there may be more.
   * @param elapsed Milliseconds from some moment on.
   * @param tombstoneTimeout How long tombstones are kept, in milliseconds.
   */
  constructor(sweep: () => Promise<boolean>, elapsed: () => number, tombstoneTimeout: number) {
    this.#sweep = sweep;
    this.#elapsed = elapsed;
    this.#interval = Math.min(SWEEP_INTERVAL, tombstoneTimeout);
    this.#hasEnded = tombstoneTimeout === Infinity;
  }

  /** Begins to sweep if it is time. Called after each write. */
  wake(): void {
    const now = this.#elapsed();
    this.#next ??= now + this.#interval;
    if (this.#hasEnded || this.#running || now < this.#next) return;
    this.#running = this.#run().finally(() => this.#running = undefined);
  }

  /** Begins no more, and settles when the piece under way is done. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const beginning = this.#elapsed();
    let isMore = true;
    for (let pieces = 0; isMore && pieces < PIECES; pieces++) {
      // A database in this process answers at once: whoever wrote, or asks meanwhile, is to go on first.
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
      if (this.#hasEnded) return;
      // What fails is tried again an interval later: whoever writes learns by its own statement what is wrong.
      isMore = await this.#sweep().catch(() => false);
    }
    const now = this.#elapsed();
    this.#next = now + (isMore ? REST * (now - beginning) : this.#interval);
  }
}
