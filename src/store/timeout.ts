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
export interface StorageCallOptions {
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
const SLOW_READ_SHARE = 1 / 10;

/** What is to happen when a call has no answer yet after a part of its time. */
export interface SlowCall {
  /** The part of the time limit: above 0, below 1. */
  readonly share: number;
  /** Called once: who held a place for the call gives it to the next one. */
  readonly onSlow: () => void;
  /** Called when the call settles after it was given up. */
  readonly onLateAnswer?: () => void;
}

/** The silence of a read that holds a place. */
export function slowRead(onSlow: () => void): SlowCall {
  return { share: SLOW_READ_SHARE, onSlow };
}

/**
 * Calls the storage, and turns a failure, or an answer that takes too long, into a `StorageError` that names the
 * operation. How long it took includes what the call itself did before it gave back a promise.
 */
export function withTimeout<T>(
  operation: string,
  call: () => MaybePromise<T>,
  options: StorageCallOptions,
  slowRead?: SlowCall,
): Promise<T> {
  const { clock, onOutcome, timeout } = options;
  const startedAt = clock.elapsed();
  const answer = Promise.resolve(attempt(call));
  return new Promise((resolve, reject) => {
    let cancel: (() => void) | undefined;
    let settled = false;
    const fail = (cause: unknown) => {
      if (settled) return slowRead?.onLateAnswer?.();
      settled = true;
      cancel?.();
      const error = cause instanceof StorageError ? cause : new StorageError(operation, cause);
      onOutcome(operation, error, clock.elapsed() - startedAt);
      reject(error);
    };
    answer.then((value) => {
      if (settled) return slowRead?.onLateAnswer?.();
      settled = true;
      cancel?.();
      onOutcome(operation, undefined, clock.elapsed() - startedAt);
      resolve(value);
    }, fail);
    const giveUp = () => fail(timeoutError(options));
    // A call that has its answer already has settled by then: a timer would cost more than the answer did.
    queueMicrotask(() => {
      if (settled) return;
      if (slowRead === undefined) {
        cancel = clock.after(timeout, giveUp);
        return;
      }
      const patience = timeout * slowRead.share;
      cancel = clock.after(patience, () => {
        cancel = clock.after(timeout - patience, giveUp);
        slowRead.onSlow();
      });
    });
  });
}

/** The error of a call that has no answer in time. */
export function timeoutError({ timeout }: StorageCallOptions): Error {
  return new Error(`no answer within storageTimeout (${timeout} ms)`);
}
