/**
 * Ends waiting for foreign code at a deadline, or when the caller aborts.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";

/**
 * Waits for a value. Aborts the controller after `ms` milliseconds. Rejects when the controller aborts, for whatever reason:
 * foreign code may ignore its signal.
 */
export async function settleWithin<T>(
  value: T | PromiseLike<T>,
  { clock, ms, controller }: {
    readonly clock: ClientClock;
    readonly ms: number;
    readonly controller: AbortController;
  },
): Promise<T> {
  const { signal } = controller;
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
  const cancel = clock.after(ms, () => controller.abort(new Error("No answer in time")));
  try {
    return await Promise.race([value, aborted]);
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}
