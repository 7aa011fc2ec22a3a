/**
 * Counts of what requests use, where the runtime may end a request at any time.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { overloaded, type RequestLimit } from "../limits/concurrency.ts";

/** A slot that is in use. */
export interface Lease {
  /** Records that the request is still running. */
  renew(): void;
  /** Frees the slot. May be called twice. */
  end(): void;
}

/** Counts slots that are in use. Later requests free the slot of a request that the runtime has ended. */
export class LeaseCounter {
  readonly #clock: Clock;
  readonly #timeout: number;
  /** Lease → when its request was running, and what to call if it has ended. The lease that was checked last is last. */
  readonly #held = new Map<Lease, { at: number; onLost: () => void }>();

  /**
   * @param clock The clock of the server.
   * @param timeout After this time without a sign the request counts as ended, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
  }

  /** The number of slots in use. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Takes a slot.
   *
   * @param onLost Called if the request was ended without freeing it.
   */
  take(onLost: () => void = () => {}): Lease {
    this.forgetLost();
    const held = { at: this.#clock.elapsed(), onLost };
    const lease = {
      renew: () => void (held.at = this.#clock.elapsed()),
      end: () => void this.#held.delete(lease),
    };
    this.#held.set(lease, held);
    return lease;
  }

  /** Checks two leases. Lost ones are freed faster than new ones are taken, without a timer. */
  forgetLost(): void {
    for (let i = 0; i < 2; i++) {
      const [oldest] = this.#held;
      if (oldest === undefined) return;
      const [lease, held] = oldest;
      this.#held.delete(lease);
      if (this.#clock.elapsed() - held.at > this.#timeout) held.onLost();
      else this.#held.set(lease, held);
    }
  }
}

/**
 * Counts the requests that are handled. A request that leaves removes the newest entry, whichever request it is of.
 * Entries of requests that the runtime has ended therefore grow old, and are no longer counted after a time.
 */
export class LeasedRequestLimit implements RequestLimit {
  readonly #max: number;
  readonly #clock: Clock;
  readonly #timeout: number;
  /** When the requests entered, the oldest first. */
  readonly #enteredAt: number[] = [];

  /**
   * @param max The maximum number of requests at the same time.
   * @param clock The clock of the server.
   * @param timeout After this time a request counts as ended, in milliseconds.
   */
  constructor(max: number, clock: Clock, timeout: number) {
    this.#max = max;
    this.#clock = clock;
    this.#timeout = timeout;
  }

  get busy(): number {
    const since = this.#clock.elapsed() - this.#timeout;
    while (this.#enteredAt.length > 0 && this.#enteredAt[0]! < since) this.#enteredAt.shift();
    return this.#enteredAt.length;
  }

  enter(): void {
    if (this.busy >= this.#max) throw overloaded(`maxRequests (${this.#max}) are being answered`);
    this.endWait();
  }

  leave(): void {
    this.#enteredAt.pop();
  }

  startWait(): void {
    this.#enteredAt.pop();
  }

  endWait(): void {
    this.#enteredAt.push(this.#clock.elapsed());
  }
}
