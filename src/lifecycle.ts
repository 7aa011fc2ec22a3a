/**
 * Whether a server is open or closing.
 *
 * @module
 */
import { ClosedError } from "./errors.ts";

/** The state of one server. A closed server does not open again. */
export class Lifecycle {
  #closing: Promise<void> | undefined;

  /** Whether `close()` was called. */
  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Checks that the server is open.
   *
   * @throws {ClosedError} After `close()`.
   */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError();
  }

  /** Closes the server. Further calls return the promise of the first one. */
  close(stop: () => Promise<void>): Promise<void> {
    return this.#closing ??= stop();
  }
}
