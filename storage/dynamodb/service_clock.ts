/**
 * The service's time, by which a DynamoDB storage measures the age of tombstones.
 *
 * @module
 */

/** A client of the SDK. `systemClockOffset`: how far the service's clock is ahead of this process's, in milliseconds. */
interface Timed {
  readonly config?: { readonly systemClockOffset?: number };
}

/**
 * The service's clock. The client computes its offset from the date of each response. The clock has two times, which
 * are usually equal. If this process's clock was set since the last response, or the process was suspended, one of
 * them is before the service's time and the other one after it.
 */
export class ServiceClock {
  readonly #client: Timed;
  readonly #testNow: (() => number) | undefined;
  /** The service's time when `performance.now()` was 0, according to the last response. */
  #beginning: number | undefined;

  /**
   * @param client The client. If it does not have the offset, this process's clock is used.
   * @param testNow The clock of a test, which is used instead.
   */
  constructor(client: object, testNow: (() => number) | undefined) {
    this.#client = client;
    this.#testNow = testNow;
  }

  /** To be called after each response. */
  hear(): void {
    this.#beginning = this.#byWall() - performance.now();
  }

  /** At or before the service's time, in milliseconds since 1970. Use it where too late is harmless. */
  get early(): number {
    return this.#testNow?.() ?? Math.min(this.#byWall(), this.#byDuration());
  }

  /** At or after the service's time, in milliseconds since 1970. Use it where too early is harmless. */
  get late(): number {
    return this.#testNow?.() ?? Math.max(this.#byWall(), this.#byDuration());
  }

  #byWall(): number {
    return Date.now() + (this.#client.config?.systemClockOffset ?? 0);
  }

  #byDuration(): number {
    return this.#beginning === undefined ? this.#byWall() : this.#beginning + performance.now();
  }
}
