/**
 * Runs several requests at once.
 *
 * @module
 */

/** How many requests run at once. */
const MAX_REQUESTS = 16;

/**
 * Does some work for each value, for several at once, and returns the results in order. After a failure no more work is
 * started, and running work is awaited first: no request outlives the call that sent it.
 */
export async function inParallel<T, U>(values: readonly T[], work: (value: T) => Promise<U>): Promise<U[]> {
  const results: U[] = [];
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    while (next < values.length && failures.length === 0) {
      const i = next++;
      try {
        results[i] = await work(values[i] as T);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_REQUESTS, values.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}
