/**
 * One `test` on every runtime: `Deno.test` on Deno, so that its sanitizers watch, and `node:test` elsewhere.
 *
 * @module
 */

/** Registers a test. A function that returns after its promise settles has passed. */
export type Test = (name: string, fn: () => void | Promise<void>) => void;

const deno = (globalThis as { Deno?: { test: Test & { ignore: Test } } }).Deno;
const nodeTest = deno ? undefined : await importNodeTest();

/**
 * Loads `node:test` without the hook by which Node assigns each promise, timer and socket to a test. The hook takes a quarter
 * of the processor time. Without it, an error that is thrown outside of a test's promise fails the file, not the test.
 */
async function importNodeTest(): Promise<typeof import("node:test").test> {
  const { default: hooks } = await import("node:async_hooks");
  const { createHook } = hooks;
  const none = { enable: () => none, disable: () => none };
  hooks.createHook = () => none;
  try {
    return (await import("node:test")).test;
  } finally {
    hooks.createHook = createHook;
  }
}

/** The runner's own `test`. */
export const test: Test = (name, fn) => {
  if (deno) deno.test(name, fn);
  else void nodeTest?.(name, async () => await fn());
};

/** Registers a test that is not run, and is counted as skipped. The name says why. */
export const skip: Test = (name, fn) => {
  if (deno) deno.test.ignore(name, fn);
  else void nodeTest?.(name, { skip: true }, async () => await fn());
};
