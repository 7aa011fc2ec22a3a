/**
 * The options that the storages of this package share, and the one place where they are checked.
 *
 * @module
 */
import { checkNames, optionError } from "../src/check.ts";
import { kindOf } from "../src/store/node.ts";
import type { CounterKind } from "../src/store/contract.ts";

export type { CounterKind } from "../src/store/contract.ts";

/** How a storage of this package counts and forgets. */
export interface StorageOptions {
  /**
   * How changes are numbered. `"clock"` keeps above the microseconds since 2020, so that a storage that lost its last
   * changes, or all of them, does not give their numbers to others; and in every number it has a residue of its
   * own, so that storages which stand beside each other never give the same one. `"sequential"` counts 1, 2, 3. It
   * is for a storage that stands alone and is never set back to an earlier state: after a restored backup, a
   * failover to a replica that lags behind or, in memory, a restart, clients that send no epoch miss what is
   * numbered again. A database that was once numbered by the clock stays so, whatever is asked for here.
   *
   * @default {"clock"}
   */
  counter?: CounterKind;
  /**
   * How long a deletion is kept as news, in milliseconds, at least. Peers and readers that stay away longer
   * take a full copy. Lower keeps less; higher forgives longer absences. `Infinity` keeps every tombstone, 0
   * lets a later write sweep it. Nothing is swept without a write. The time is that of the database, or in memory a
   * monotonic clock's, so that a process whose clock is wrong sweeps nothing early.
   *
   * @default {86400000}
   */
  tombstoneTimeout?: number;
  /**
   * The clock, in milliseconds since 1970. For tests: it also takes the place of the clock by which the age of
   * tombstones is judged.
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
