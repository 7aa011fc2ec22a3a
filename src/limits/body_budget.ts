/**
 * Limits how many bytes of request bodies are held while they are read, and how long reading one may take.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { ClosedError, type RealityError, RefusalError } from "../errors.ts";
import type { Limits } from "../options.ts";
import { type Deadline, type DeadlineList, Deadlines } from "./deadlines.ts";

/** The reading of one body. */
export interface BodyReservation {
  /**
   * Counts bytes that are held from now on.
   *
   * @throws {RefusalError} `OVERLOADED` when all bodies together hold too many.
   */
  take(bytes: number): void;
  /** Is over: whatever it held is given back. May be called twice. */
  end(): void;
}

/** What all bodies share that are being read. */
export interface BodyBudget {
  /** What every one of `maxRequests` bodies may hold, in bytes, and there is still enough for all. */
  readonly share: number;
  /**
   * Begins to read a body.
   *
   * @param declared How long it says it is; 0 where it does not say.
   * @param onStop Called when its time is up or the server closes, unless it ended before.
   * @throws {RefusalError} `OVERLOADED` when there is no room for it.
   * @throws {ClosedError} When the server is closed.
   */
  begin(declared: number, onStop: (refusal: RealityError) => void): BodyReservation;
}

/** The bodies that are being read: how many bytes of them are held, and which have taken too long. */
export class SharedBodyBudget implements BodyBudget {
  readonly share: number;
  readonly #max: number;
  readonly #timeout: number;
  readonly #deadlines: DeadlineList;
  #held = 0;
  #isClosed = false;

  /**
   * @param limits How much there may be, and for how long.
   * @param clock Where time and timers come from.
   * @param deadlines Ends those that take longer than `bodyTimeout`; left out, one timer serves all.
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

  /** Bytes that are held now. */
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

  /** Turns down what is still being read, and whatever else would be. */
  close(): void {
    this.#isClosed = true;
    this.#deadlines.close();
  }

  /** Counts bytes of one of them. */
  take(reservation: Reservation, bytes: number): void {
    if (bytes > this.#max - this.#held) throw this.#full();
    reservation.held += bytes;
    this.#held += bytes;
  }

  /** Forgets one of them. */
  end(reservation: Reservation): void {
    this.#deadlines.remove(reservation);
    this.#held -= reservation.held;
    reservation.held = 0;
  }

  /** Why a body is given up whose time is up. */
  get timeoutError(): RealityError {
    if (this.#isClosed) return new ClosedError();
    return new UnreadRefusal(
      "ERR_REALITY_TIMEOUT",
      `Cannot read the body: it was not there after bodyTimeout (${this.#timeout} ms)`,
    );
  }

  #full(): RefusalError {
    return new UnreadRefusal(
      "ERR_REALITY_OVERLOADED",
      `Cannot read the body: maxReadingBytes (${this.#max}) are held by all that are being read`,
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

/** A refusal that leaves a part of the body unread: the connection is of no more use. */
export class UnreadRefusal extends RefusalError {}
