/**
 * Messages that were refused: counted, and reported once per episode.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { RelayError } from "../errors.ts";
import type { Timers } from "./timers.ts";

/** An episode of refused messages ends after this long without one, in milliseconds. */
const EPISODE_PAUSE_MS = 60_000;

/** Counts refused messages, and reports the start and the end of each episode. */
export class RefusedMessages {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #report: (error: RelayError) => void;
  #count = 0;
  #lastAt: number | undefined;

  /**
   * @param clock Dates the messages.
   * @param timers Ends an episode.
   * @param report Receives the start and the end of an episode.
   */
  constructor(clock: Clock, timers: Timers, report: (error: RelayError) => void) {
    this.#clock = clock;
    this.#timers = timers;
    this.#report = report;
  }

  /** How many messages were refused. */
  get count(): number {
    return this.#count;
  }

  /** Records a refused message. */
  add(reason: string): void {
    this.#count++;
    const isFirst = this.#lastAt === undefined;
    this.#lastAt = this.#clock.elapsed();
    if (!isFirst) return;
    this.#report(new RelayError(reason));
    const end = (): void => {
      const rest = (this.#lastAt ?? 0) + EPISODE_PAUSE_MS - this.#clock.elapsed();
      if (rest > 0) {
        this.#timers.after(rest, end);
        return;
      }
      this.#lastAt = undefined;
      this.#report(new RelayError(reason, true));
    };
    this.#timers.after(EPISODE_PAUSE_MS, end);
  }
}
