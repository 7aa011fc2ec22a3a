/**
 * The few assertions that the kit needs, so that it runs wherever a storage runs.
 *
 * @module
 */

/** Fails the test with this message. */
export function fail(message: string): never {
  throw new Error(message);
}

/** Fails unless the condition holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) fail(message);
}

/** Fails unless both show the same; the order of an object's properties and of a map's entries does not count. */
export function assertEquals(actual: unknown, expected: unknown, message: string): void {
  const [found, wanted] = [show(actual), show(expected)];
  if (found !== wanted) fail(`${message}: expected ${wanted}, got ${found}`);
}

/** Fails unless the call rejects; a call that throws at once does not. Gives the error. */
export async function assertRejects(call: () => Promise<unknown>, message: string): Promise<unknown> {
  let pending: Promise<unknown>;
  try {
    pending = call();
  } catch (error) {
    fail(`${message}: expected a rejection, but it threw ${String(error)}`);
  }
  return await pending.then(
    (value) => fail(`${message}: expected a rejection, got ${show(value)}`),
    (error: unknown) => error,
  );
}

/** Fails unless the promise settles within ten seconds. */
export async function assertSettles<T>(promise: Promise<T>, message: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${message}: nothing came within 10 seconds`)), 10_000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A value as text, the same text for equal values. */
function show(value: unknown): string {
  return JSON.stringify(value, (_name, part: unknown) => {
    if (part instanceof Map) return { entries: [...part].sort(byFirst) };
    if (typeof part === "number" && !Number.isFinite(part)) return String(part);
    if (typeof part === "bigint") return `${part}n`;
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(byFirst));
  }) ?? "undefined";
}

function byFirst(a: readonly unknown[], b: readonly unknown[]): number {
  return String(a[0]) < String(b[0]) ? -1 : 1;
}
