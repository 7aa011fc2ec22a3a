/**
 * What is noted of one request on its way: handed along, since a server has no other place to remember it by.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import type { RouteName, WaitOutcome } from "./metrics.ts";

const NO_KEYS: readonly string[] = Object.freeze([]);

/** One request, or one call of `handleSync`, from its arrival to its answer. Kept for as long as it waits. */
export class RequestRecord {
  /** When it came, by `clock.elapsed()`. */
  readonly startedAt: number;
  /** Where it went. */
  route: RouteName = "none";
  /** What it is about, as far as that was read. */
  keys: readonly string[] = NO_KEYS;
  /** What stands for the client; `null` for one that is not known or not limited, undefined where nobody asked yet. */
  client: string | null | undefined = undefined;
  /** How many keys it was told as changed. */
  changed = 0;
  /** When it began to wait, by `clock.elapsed()`; undefined when it did not. */
  waitStartedAt: number | undefined = undefined;
  /** How long it has waited, in milliseconds. */
  waited = 0;
  /** How its wait ended; `answered` when there was none. */
  outcome: WaitOutcome | "answered" = "failed";
  /** Why it was turned down, or failed. */
  code: ErrorCode | undefined = undefined;

  /** @param startedAt When it came, by `clock.elapsed()`. */
  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }
}
