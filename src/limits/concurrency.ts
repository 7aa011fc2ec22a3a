/**
 * Limits how many requests are handled at the same time.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";

/** Counts the requests that are being read or answered. Waiting requests are not counted. */
export class ConcurrencyLimit {
  readonly #max: number;
  #entered = 0;
  #waiting = 0;
  #onEmptied: (() => void) | undefined;

  /** @param max The maximum number of requests at the same time. */
  constructor(max: number) {
    this.#max = max;
  }

  /** The number of requests now. */
  get busy(): number {
    return this.#entered - this.#waiting;
  }

  /**
   * Counts a request. Each one must call `leave` later.
   *
   * @throws {RefusalError} `OVERLOADED` when the maximum is reached.
   */
  enter(): void {
    if (this.busy >= this.#max) throw overloaded(`maxRequests (${this.#max}) are being answered`);
    this.#entered++;
  }

  /** A request has been answered. */
  leave(): void {
    this.#entered--;
    if (this.#entered === 0) this.#onEmptied?.();
  }

  /** Resolves when all requests, including waiting ones, have been answered. */
  drained(): Promise<void> {
    if (this.#entered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onEmptied = resolve);
  }

  /** A request starts to wait. */
  startWait(): void {
    this.#waiting++;
  }

  /** A request has ended its wait. */
  endWait(): void {
    this.#waiting--;
  }
}

/** Counts the requests that are being handled. */
export type RequestLimit = Pick<ConcurrencyLimit, "busy" | "enter" | "leave" | "startWait" | "endWait">;

/** The refusal of a request when a limit is reached. */
export function overloaded(found: string): RefusalError {
  return new RefusalError("ERR_REALITY_OVERLOADED", `Cannot take the request: ${found}`);
}
