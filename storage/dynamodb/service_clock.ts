/**
 * The time by which a DynamoDB storage judges the age of tombstones: that of the service.
 *
 * @module
 */

/** What a client of the SDK tells of the service's clock: how far it is ahead of this process's, in milliseconds. */
interface Timed {
  readonly config?: { readonly systemClockOffset?: number };
}

/**
 * The service's clock, as the client has learnt it from the date of every answer. It tells two times, the same as a
 * rule: where this process's clock was set since the last answer, or the process stood still, one of them lies before
 * the service's time and one after it.
 */
export class ServiceClock {
  readonly #client: Timed;
  readonly #testNow: (() => number) | undefined;
  /** The service's time when `performance.now()` was 0, by the last answer. */
  #beginning: number | undefined;

  /**
   * @param client The client. One that does not tell has this process's clock taken for the service's.
   * @param testNow A test's clock, which takes its place.
   */
  constructor(client: object, testNow: (() => number) | undefined) {
    this.#client = client;
    this.#testNow = testNow;
  }

  /** Takes note that an answer came. */
  hear(): void {
    this.#beginning = this.#byWall() - performance.now();
  }

  /** No later than the service's time, in milliseconds since 1970: for what must not come early. */
  get early(): number {
    return this.#testNow?.() ?? Math.min(this.#byWall(), this.#byDuration());
  }

  /** No earlier than the service's time, in milliseconds since 1970: for what must not come late. */
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
