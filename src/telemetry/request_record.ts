/**
 * What is known about one request. It is passed along with the request.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import type { RouteName, WaitOutcome } from "./metrics.ts";

const NO_KEYS: readonly string[] = Object.freeze([]);

/**
 * One request, or one call of `handleSync`, from its arrival to its answer. It stays in memory while the request
 * waits.
 */
export class RequestRecord {
  /** When the request arrived, by `clock.elapsed()`. */
  readonly startedAt: number;
  /** The route. */
  route: RouteName = "none";
  /** The keys of the request, as far as they were read. */
  keys: readonly string[] = NO_KEYS;
  /** Identifies the client; `null` if it is unknown or not limited, undefined if it was not determined yet. */
  client: string | null | undefined = undefined;
  /** The number of keys reported as changed. */
  changed = 0;
  /** When the wait started, by `clock.elapsed()`; undefined if there was none. */
  waitStartedAt: number | undefined = undefined;
  /** The duration of the wait, in milliseconds. */
  waited = 0;
  /** How the wait ended; `answered` if there was none. */
  outcome: WaitOutcome | "answered" = "failed";
  /** Why the request was refused or failed. */
  code: ErrorCode | undefined = undefined;

  /** @param startedAt When the request arrived, by `clock.elapsed()`. */
  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }
}
