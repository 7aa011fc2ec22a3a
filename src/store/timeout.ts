/**
 * Time limits of storage calls.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { StorageError } from "../errors.ts";
import { attempt, type MaybePromise } from "../maybe_promise.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** How storage calls are made. */
export interface StorageCallOptions {
  /** The source of timers. */
  readonly clock: Clock;
  /** The time limit of one storage call (`storageTimeout`), in milliseconds. */
  readonly timeout: number;
  /** Receives the outcome of each call: the operation, the error if it failed, and the duration in milliseconds. */
  readonly onOutcome: (operation: string, error: StorageError | undefined, ms: number) => void;
  /** Counts the sizes of reads and commits. */
  readonly metrics?: Pick<Metrics, "readSizes" | "writeSizes"> | undefined;
}

/**
 * After this share of `storageTimeout`, a read without an answer no longer counts as running, so that a lost read
 * does not delay later ones. At most ten times as many reads run as there are slots.
 */
const SLOW_READ_SHARE = 1 / 10;

/** What to do when a call has no answer after a part of its time limit. */
export interface SlowCall {
  /** The part of the time limit: above 0, below 1. */
  readonly share: number;
  /** Called once. The owner of the call's slot gives it to the next call. */
  readonly onSlow: () => void;
  /** Called when the call settles after its time limit. */
  readonly onLateAnswer?: () => void;
}

/** Options of a read that holds a slot. */
export function slowRead(onSlow: () => void): SlowCall {
  return { share: SLOW_READ_SHARE, onSlow };
}

/**
 * Calls the storage. A failure, or an answer that takes too long, becomes a `StorageError` with the name of the
 * operation. The measured duration includes the synchronous part of the call.
 *
 * @throws {StorageError} When the call fails or takes too long; rejects with it.
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
    // A call that has its answer already has settled by then. A timer would cost more than the answer.
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

/** The error of a call without an answer in time. */
export function timeoutError({ timeout }: StorageCallOptions): Error {
  return new Error(`no answer within storageTimeout (${timeout} ms)`);
}
