/**
 * Whether both connections to Redis work: time limits of commands, failures, recoveries and retries.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { RelayError } from "../errors.ts";
import type { Timers } from "./timers.ts";

/** How long Redis may take for one command before it counts as down, in milliseconds. */
export const COMMAND_TIMEOUT_MS = 2_000;

/** The pauses before a failed command is retried, in milliseconds: they double, and vary by half. */
const SHORTEST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

/** One of the two connections. */
export type ConnectionSide = "publisher" | "subscriber";

/** What connection health needs. */
export interface ConnectionHealthOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Receives the start and the end of an outage. */
  readonly report: (error: RelayError) => void;
  /** Called at the start and at the end of an outage. */
  readonly onHealth: ((isDown: boolean) => void) | undefined;
  /** Called when a failed command may be retried. */
  readonly onRetry: () => void;
}

/** The health of the publisher and the subscriber. */
export class ConnectionHealth {
  readonly #options: ConnectionHealthOptions;
  readonly #down = new Set<ConnectionSide>();
  /** The failure that was reported. */
  #fault: unknown;
  #cancelRetry: (() => void) | undefined;
  #retryPause = SHORTEST_RETRY_MS;
  #isClosing = false;

  /** @param options The clock, and the receivers of changes. */
  constructor(options: ConnectionHealthOptions) {
    this.#options = options;
  }

  /** Whether no failure is known. */
  get isUp(): boolean {
    return this.#down.size === 0;
  }

  /** Whether the relay is closing: nothing is reported or retried any more. */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Whether a retry is scheduled. */
  get isRetryPending(): boolean {
    return this.#cancelRetry !== undefined;
  }

  /** Ends reports and retries. */
  close(): void {
    this.#isClosing = true;
  }

  /** Records a failure. The first of an outage is reported. */
  fail(side: ConnectionSide, cause: unknown): void {
    if (this.#isClosing || this.#down.has(side)) return;
    this.#down.add(side);
    if (this.#down.size > 1) return;
    this.#fault = cause;
    this.#options.report(new RelayError(cause));
    this.#options.onHealth?.(true);
  }

  /** Records that a side works. The end of an outage is reported. */
  recover(side: ConnectionSide): void {
    if (this.#isClosing || !this.#down.delete(side) || this.#down.size > 0) return;
    this.#retryPause = SHORTEST_RETRY_MS;
    this.#options.report(new RelayError(this.#fault, true));
    this.#options.onHealth?.(false);
  }

  /**
   * Sends a command.
   *
   * @param side The side that sends it.
   * @param isCurrent Whether the result still matters.
   * @param command Sends it.
   * @returns `false` when Redis refuses the command or does not answer, or when the result does not matter any more.
   */
  async send(
    side: ConnectionSide,
    isCurrent: () => boolean,
    command: () => PromiseLike<unknown>,
  ): Promise<boolean> {
    const { timers } = this.#options;
    let cancel = () => {};
    const timeout = new Promise<false>((resolve) => {
      cancel = timers.after(COMMAND_TIMEOUT_MS, () => {
        if (isCurrent()) this.fail(side, `no answer to the ${side} in ${COMMAND_TIMEOUT_MS} ms`);
        // A connection that loses an answer does not report it, and accepts the next command.
        cancel = timers.after(COMMAND_TIMEOUT_MS, () => resolve(false));
      });
    });
    try {
      const isAnswered = await Promise.race([(async () => await command())().then(() => true), timeout]);
      if (!isAnswered && isCurrent()) this.retryLater();
      return isAnswered && isCurrent();
    } catch (error) {
      if (isCurrent()) {
        this.fail(side, error);
        this.retryLater();
      }
      return false;
    } finally {
      cancel();
    }
  }

  /** Schedules a retry, unless one is scheduled. */
  retryLater(): void {
    if (this.#cancelRetry || this.#isClosing) return;
    const { clock, timers, onRetry } = this.#options;
    const pause = this.#retryPause * (1 + clock.random()) / 2;
    this.#retryPause = Math.min(this.#retryPause * 2, LONGEST_RETRY_MS);
    this.#cancelRetry = timers.after(pause, () => {
      this.#cancelRetry = undefined;
      onRetry();
    });
  }

  /** Cancels the scheduled retry. */
  cancelRetry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
  }
}
