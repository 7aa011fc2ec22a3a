/**
 * Limits how many requests are handled at the same time.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";

/** The requests that are being read or answered. Who waits is none of them. */
export class ConcurrencyLimit {
  readonly #max: number;
  #entered = 0;
  #waiting = 0;
  #onEmptied: (() => void) | undefined;

  /**
   * @param max How many there may be at once.
   */
  constructor(max: number) {
    this.#max = max;
  }

  /** How many there are now. */
  get busy(): number {
    return this.#entered - this.#waiting;
  }

  /**
   * Lets a request in, which has to leave.
   *
   * @throws {RefusalError} `OVERLOADED` when there are enough.
   */
  enter(): void {
    if (this.busy >= this.#max) throw overloaded(`maxRequests (${this.#max}) are being answered`);
    this.#entered++;
  }

  /** Has been answered. */
  leave(): void {
    this.#entered--;
    if (this.#entered === 0) this.#onEmptied?.();
  }

  /** Settles when all that came in, those who wait included, have been answered. */
  drained(): Promise<void> {
    if (this.#entered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onEmptied = resolve);
  }

  /** Begins to wait. */
  startWait(): void {
    this.#waiting++;
  }

  /** Has waited. */
  endWait(): void {
    this.#waiting--;
  }
}

/** What counts the requests that are dealt with. */
export type RequestLimit = Pick<ConcurrencyLimit, "busy" | "enter" | "leave" | "startWait" | "endWait">;

/** The refusal of a request for which there is no place. */
export function overloaded(found: string): RefusalError {
  return new RefusalError("ERR_REALITY_OVERLOADED", `Cannot take the request: ${found}`);
}
