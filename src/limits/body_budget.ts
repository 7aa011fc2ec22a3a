/**
 * Limits how many bytes of request bodies are held while they are read, and how long reading one may take.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { ClosedError, type RealityError, RefusalError, type RefusalOptions } from "../errors.ts";
import type { Limits } from "../server_limits.ts";
import { type Deadline, type DeadlineList, Deadlines } from "./deadlines.ts";

/** Reserves memory for one body while it is read. */
export interface BodyReservation {
  /**
   * Counts bytes that are held from now on.
   *
   * @throws {RefusalError} `OVERLOADED` when all bodies together hold too many bytes.
   */
  take(bytes: number): void;
  /** Ends the reservation and frees its bytes. May be called twice. */
  end(): void;
}

/** The limits that all bodies share. */
export interface BodyBudget {
  /** The number of bytes that each of `maxRequests` bodies may hold at the same time. */
  readonly share: number;
  /**
   * Starts to read a body.
   *
   * @param declared The declared length; 0 if there is none.
   * @param onStop Called at the time limit or when the server closes, unless the reservation has ended before.
   * @throws {RefusalError} `OVERLOADED` when there is not enough memory for it.
   * @throws {ClosedError} When the server is closed.
   */
  begin(declared: number, onStop: (refusal: RealityError) => void): BodyReservation;
}

/** Limits the memory of all bodies that are being read, and the time for each of them. */
export class SharedBodyBudget implements BodyBudget {
  readonly share: number;
  readonly #max: number;
  readonly #timeout: number;
  readonly #deadlines: DeadlineList;
  #held = 0;
  #isClosed = false;

  /**
   * @param limits The maximum number of bytes, and the time limit.
   * @param clock The source of time and timers.
   * @param deadlines Ends bodies that take longer than `bodyTimeout`. Left out: one timer serves all bodies.
   */
  constructor(
    { maxReadingBytes, maxRequests, bodyTimeout }: Pick<
      Limits,
      "maxReadingBytes" | "maxRequests" | "bodyTimeout"
    >,
    clock: Clock,
    deadlines: DeadlineList = new Deadlines(clock, bodyTimeout),
  ) {
    this.share = Math.floor(maxReadingBytes / maxRequests);
    this.#max = maxReadingBytes;
    this.#timeout = bodyTimeout;
    this.#deadlines = deadlines;
  }

  /** The number of bytes held now. */
  get held(): number {
    return this.#held;
  }

  begin(declared: number, onStop: (refusal: RealityError) => void): BodyReservation {
    if (this.#isClosed) throw new ClosedError();
    if (this.#held >= this.#max || declared > this.#max - this.#held) throw this.#full();
    const reservation = new Reservation(this, onStop);
    this.#deadlines.add(reservation);
    return reservation;
  }

  /** Refuses all bodies that are being read, and all later ones. */
  close(): void {
    this.#isClosed = true;
    this.#deadlines.close();
  }

  /** Counts bytes of one body. */
  take(reservation: Reservation, bytes: number): void {
    if (bytes > this.#max - this.#held) throw this.#full();
    reservation.held += bytes;
    this.#held += bytes;
  }

  /** Ends the reservation of one body. */
  end(reservation: Reservation): void {
    this.#deadlines.remove(reservation);
    this.#held -= reservation.held;
    reservation.held = 0;
  }

  /** The error of a body that exceeds its time limit. */
  get timeoutError(): RealityError {
    if (this.#isClosed) return new ClosedError();
    return new RefusalError(
      "ERR_REALITY_TIMEOUT",
      `Cannot read the body: it did not arrive within bodyTimeout (${this.#timeout} ms)`,
      CLOSE_CONNECTION,
    );
  }

  #full(): RefusalError {
    return new RefusalError(
      "ERR_REALITY_OVERLOADED",
      `Cannot read the body: maxReadingBytes (${this.#max}) are in use by all bodies`,
      CLOSE_CONNECTION,
    );
  }
}

class Reservation implements BodyReservation, Deadline {
  dueAt = 0;
  before: Deadline | undefined = undefined;
  after: Deadline | undefined = undefined;
  held = 0;
  readonly #budget: SharedBodyBudget;
  readonly #onStop: (refusal: RealityError) => void;

  constructor(budget: SharedBodyBudget, onStop: (refusal: RealityError) => void) {
    this.#budget = budget;
    this.#onStop = onStop;
  }

  take(bytes: number): void {
    this.#budget.take(this, bytes);
  }

  end(): void {
    this.#budget.end(this);
  }

  onExpire(): void {
    this.end();
    this.#onStop(this.#budget.timeoutError);
  }

  onAbandon(): void {
    this.end();
  }
}

/** For a refusal that leaves a part of the body unread. The connection cannot be reused. */
export const CLOSE_CONNECTION: RefusalOptions = Object.freeze({
  headers: Object.freeze({ connection: "close" }),
});
