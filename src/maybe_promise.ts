/**
 * Values that may be available at once.
 *
 * A storage in the memory of this process answers without a promise. Then a sync and a single change are answered
 * without one as well, because the promises would cost more than the rest of the work. `bench/sync_bench.ts` measures the
 * sync, and "updateNode, memory" of `bench/against.ts` the change. All other code uses plain promises.
 *
 * @module
 */

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** Whether a value is a promise of any class, including those of other libraries. */
export function isThenable<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null)?.then === "function";
}

/** Calls `next` with the value: at once where it is available, otherwise when the promise is fulfilled. */
export function then<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Calls a function. A thenable becomes a native promise, and an exception a rejected one. */
export function attempt<T>(call: () => MaybePromise<T>): MaybePromise<T> {
  try {
    const given = call();
    return isThenable(given) ? Promise.resolve(given) : given;
  } catch (error) {
    return Promise.reject(error);
  }
}
