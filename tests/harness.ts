/**
 * One `test` on every runtime: `Deno.test` on Deno, so that its sanitizers watch, and `node:test` elsewhere.
 *
 * @module
 */

/** Registers a test. A function that returns after its promise settles has passed. */
export type Test = (name: string, fn: () => void | Promise<void>) => void;

const deno = (globalThis as { Deno?: { test: Test & { ignore: Test } } }).Deno;
const node = deno ? undefined : await import("node:test");

/** The runner's own `test`. */
export const test: Test = (name, fn) => {
  if (deno) deno.test(name, fn);
  else void node?.test(name, async () => await fn());
};

/** Registers a test that is not run, and is counted as skipped. The name says why. */
export const skip: Test = (name, fn) => {
  if (deno) deno.test.ignore(name, fn);
  else void node?.test(name, { skip: true }, async () => await fn());
};
