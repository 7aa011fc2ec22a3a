/**
 * Runs the conformance kit on a faulty storage.
 *
 * @module
 */
import { type StorageTestOptions, testStorage } from "../../storage/conformance/mod.ts";

/** Runs the whole kit, and returns the names of the tests that failed. */
export async function failures(options: Omit<StorageTestOptions, "name" | "test">): Promise<string[]> {
  const tests: [string, () => Promise<void>][] = [];
  testStorage({ ...options, name: "kit", runs: 100, seed: 1, test: (name, fn) => tests.push([name, fn]) });
  const failed: string[] = [];
  for (const [name, fn] of tests) {
    await fn().catch(() => failed.push(name));
  }
  return failed;
}
