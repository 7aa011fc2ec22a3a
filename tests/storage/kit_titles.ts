/**
 * Runs a part of the conformance kit, chosen by the titles of its tests.
 *
 * A title that the kit does not have fails at once. So a renamed test is never left out unnoticed.
 *
 * @module
 */
import { type StorageTestOptions, testStorage } from "../../storage/conformance/mod.ts";

/** Registers the tests with these titles, and no others. */
export function testOnly(titles: readonly string[], options: StorageTestOptions): void {
  testByTitle(titles, options, (isListed) => isListed ? options.test : undefined);
}

/** Registers all tests but those with these titles. */
export function testAllBut(titles: readonly string[], options: StorageTestOptions): void {
  testByTitle(titles, options, (isListed) => isListed ? undefined : options.test);
}

/**
 * Registers each test with the function that `choose` returns, and leaves it out if that is nothing.
 *
 * @throws {Error} When the kit has no test with one of the titles.
 */
export function testByTitle(
  titles: readonly string[],
  options: StorageTestOptions,
  choose: (isListed: boolean) => StorageTestOptions["test"] | undefined,
): void {
  const missing = new Set(titles);
  testStorage({
    ...options,
    test: (name, fn) => {
      const title = name.slice(`${options.name}: `.length);
      missing.delete(title);
      return choose(titles.includes(title))?.(name, fn);
    },
  });
  if (missing.size > 0) {
    throw new Error(`Cannot choose tests of the kit: it has none titled "${[...missing].join('", "')}"`);
  }
}
