/**
 * One `test` on every runtime: `Deno.test` on Deno, so that its sanitizers watch, and `node:test` elsewhere.
 *
 * @module
 */

/** Registers a test. A function that returns after its promise settles has passed. */
export type Test = (name: string, fn: () => void | Promise<void>) => void;

const deno = (globalThis as { Deno?: { test: Test } }).Deno;

/** The runner's own `test`. */
export const test: Test = deno
  ? (name, fn) => deno.test(name, fn)
  : await import("node:test").then(({ test }) => (name, fn) => void test(name, async () => await fn()));
