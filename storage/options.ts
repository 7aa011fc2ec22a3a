/**
 * The options that the storages of this package share, and the one place where they are checked.
 *
 * @module
 */
import { checkNames, optionError } from "../src/check.ts";
import { kindOf } from "../src/store/node.ts";
import type { CounterKind } from "../src/store/contract.ts";

export type { CounterKind } from "../src/store/contract.ts";

/** How a storage numbers changes, and how long it keeps deletions. */
export interface StorageOptions {
  /**
   * How changes are numbered. `"clock"`: each number is above the microseconds since 2020. So a storage that lost its last
   * changes, or all of them, does not give their numbers again. Each storage also has numbers of its own, so no two storages
   * of a mesh give the same number. `"sequential"`: 1, 2, 3. Only for a storage that is not part of a mesh and never goes back
   * to an earlier state. A restored backup, a failover to a replica that lags and, in memory, a restart are such returns:
   * afterwards, clients that send no epoch can miss changes. A database that was once numbered by the clock stays so.
   *
   * @default {"clock"}
   */
  counter?: CounterKind;
  /**
   * How long the record of a deletion (its tombstone) is kept at least, in milliseconds. A peer or a reader that was away
   * for longer takes a full copy. Lower stores less; higher allows longer absences. `Infinity` keeps every tombstone; with 0
   * a later write may remove it. Only writes remove tombstones. Their age is measured by the clock of the database, and in
   * memory by a monotonic clock, so a process whose clock is wrong removes nothing early.
   *
   * @default {86400000}
   */
  tombstoneTimeout?: number;
  /**
   * The clock, in milliseconds since 1970. For tests: it also replaces the clock that measures the age of tombstones.
   *
   * @default {Date.now}
   */
  now?: () => number;
}

/** The shared options with every default filled in. */
export interface ReadStorageOptions {
  /** How changes are numbered. */
  readonly counter: CounterKind;
  /** How long a tombstone is kept, in milliseconds. */
  readonly tombstoneTimeout: number;
  /** The clock. */
  readonly now: () => number;
  /** The clock that a test gave; `undefined` outside of tests. */
  readonly testNow: (() => number) | undefined;
  /** Milliseconds from some moment on, for durations: a clock that is set does not move it. */
  readonly elapsed: () => number;
}

/** How long a deletion is kept unless told otherwise: a day, in milliseconds. */
export const DEFAULT_TOMBSTONE_TIMEOUT = 86_400_000;

/**
 * Checks the shared options and fills in their defaults.
 *
 * @param options What the caller gave.
 * @param owner Whose options they are, for messages.
 * @param more The names of the owner's own options.
 * @throws {TypeError} When an option is unknown or wrong; names it.
 */
export function readStorageOptions(
  options: StorageOptions,
  owner: string,
  more: readonly string[] = [],
): ReadStorageOptions {
  checkNames(owner, options, ["counter", "tombstoneTimeout", "now", ...more]);
  const { counter = "clock", tombstoneTimeout = DEFAULT_TOMBSTONE_TIMEOUT, now = Date.now } = options;
  if (counter !== "sequential" && counter !== "clock") {
    throw wrongOption("counter", '"sequential" or "clock"', counter);
  }
  if (typeof tombstoneTimeout !== "number" || !(tombstoneTimeout >= 0)) {
    throw wrongOption("tombstoneTimeout", "milliseconds, 0 or more", tombstoneTimeout);
  }
  if (typeof now !== "function") throw wrongOption("now", "a function", now);
  return {
    counter,
    tombstoneTimeout,
    now,
    testNow: options.now,
    elapsed: options.now ?? (() => performance.now()),
  };
}

/** The error for an option of the wrong kind. */
export function wrongOption(name: string, expected: string, value: unknown): TypeError {
  const found = typeof value === "string" ? JSON.stringify(value) : kindOf(value);
  return optionError(name, expected, found);
}
