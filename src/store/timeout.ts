/**
 * Time limits of storage calls.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { StorageError } from "../errors.ts";
import { attempt, type MaybePromise } from "../maybe_promise.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** What the storage desk needs beside the storage itself. */
export interface BatchOptions {
  /** Where timers come from. */
  readonly clock: Clock;
  /** How long one call of the storage may take, in milliseconds. */
  readonly timeout: number;
  /** Hears how each call went: the operation, the error if it failed, and how long it took in milliseconds. */
  readonly onOutcome: (operation: string, error: StorageError | undefined, ms: number) => void;
  /** Counts how large reads and commits are. */
  readonly metrics?: Pick<Metrics, "readSizes" | "writeSizes"> | undefined;
}

/**
 * The share of `storageTimeout` after which a read without an answer no longer counts as under way, so that a lost
 * one does not hold those that come after it. At most ten times as many reads are under way as there are places.
 */
const READ_PATIENCE = 1 / 10;

/** What is to happen when a call has no answer yet after a part of its time. */
export interface Silence {
  /** The part of the time limit: above 0, below 1. */
  readonly share: number;
  /** Called once: who held a place for the call gives it to the next one. */
  readonly onSilent: () => void;
  /** Called when the call settles after it was given up. */
  readonly onLate?: () => void;
}

/** The silence of a read that holds a place. */
export function silence(onSilent: () => void): Silence {
  return { share: READ_PATIENCE, onSilent };
}

/**
 * Calls the storage, and turns a failure, or an answer that takes too long, into a `StorageError` that names the
 * operation. How long it took includes what the call itself did before it gave back a promise.
 */
export function guarded<T>(
  operation: string,
  call: () => MaybePromise<T>,
  options: BatchOptions,
  silence?: Silence,
): Promise<T> {
  const { clock, onOutcome, timeout } = options;
  const startedAt = clock.elapsed();
  const answer = Promise.resolve(attempt(call));
  return new Promise((resolve, reject) => {
    let cancel: (() => void) | undefined;
    let settled = false;
    const fail = (cause: unknown) => {
      if (settled) return silence?.onLate?.();
      settled = true;
      cancel?.();
      const error = cause instanceof StorageError ? cause : new StorageError(operation, cause);
      onOutcome(operation, error, clock.elapsed() - startedAt);
      reject(error);
    };
    answer.then((value) => {
      if (settled) return silence?.onLate?.();
      settled = true;
      cancel?.();
      onOutcome(operation, undefined, clock.elapsed() - startedAt);
      resolve(value);
    }, fail);
    const giveUp = () => fail(lateness(options));
    // A call that has its answer already has settled by then: a timer would cost more than the answer did.
    queueMicrotask(() => {
      if (settled) return;
      if (silence === undefined) {
        cancel = clock.after(timeout, giveUp);
        return;
      }
      const patience = timeout * silence.share;
      cancel = clock.after(patience, () => {
        cancel = clock.after(timeout - patience, giveUp);
        silence.onSilent();
      });
    });
  });
}

/** The error of a call that has no answer in time. */
export function lateness({ timeout }: BatchOptions): Error {
  return new Error(`no answer within storageTimeout (${timeout} ms)`);
}
