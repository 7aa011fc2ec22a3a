/**
 * A scope: the parts that answer a request or make a change. `shared_scope.ts` has one scope for all requests;
 * `request_scope.ts` creates one for each.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";
import type { Clock } from "../clock.ts";
import type { RequestLimit } from "../limits/concurrency.ts";
import type { DeadlineList } from "../limits/deadlines.ts";
import type { Limits } from "../server_limits.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import type { Changes } from "../store/changes.ts";
import type { RealityStorage } from "../store/contract.ts";
import type { Groups } from "../store/groups.ts";
import type { StorageCallOptions } from "../store/timeout.ts";
import type { WriteBatcher } from "../store/write_batcher.ts";
import type { ChangePoller } from "../sync/change_poller.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { Waiters } from "../sync/waiters.ts";

/** The parts that answer one request, or make one change. */
export interface Scope {
  readonly reader: NodeReader;
  readonly writer: Pick<WriteBatcher, "readReplicated">;
  readonly changes: Changes;
  readonly waiters: Pick<Waiters, "add">;
  readonly poller: Pick<ChangePoller, "register"> & Partial<Pick<ChangePoller, "pollNow" | "expectCommit">>;
  /** Counts a stream. Returns a function to call when the stream ends. */
  beginStream(): () => void;
}

/** Provides the scopes of one server. */
export interface ScopeSource {
  readonly concurrency: RequestLimit;
  /** The number of open streams. */
  readonly streams: number;
  /** The number of reads that were sent to the storage. */
  readonly reads: number;
  /** The number of commits that were sent to the storage. */
  readonly writes: number;
  /** Returns the scope of the next request or change. */
  open(): Scope;
  /** Makes a change. `drain` waits for it. */
  change<T>(change: () => MaybePromise<T>): MaybePromise<T>;
  /** Creates a list of deadlines of one length, in milliseconds. */
  createDeadlines(timeout: number): DeadlineList;
  /**
   * Ends every wait. Settles when all requests are answered and the storage has all changes.
   *
   * @param left Returns the time that is left, in milliseconds.
   * @param steps What to do meanwhile. A scope for each request does not need it.
   * @returns Whether everything ended in time.
   */
  drain(left: () => number, steps: DrainSteps): Promise<boolean>;
}

/** The steps while a server closes. */
export interface DrainSteps {
  /** Called when half of the time is over and a request is still not answered. */
  hurry(): void;
  /** Called after the changes were stored. Sends other servers their pending updates. */
  tell(): Promise<unknown>;
}

/** What scopes are created with. */
export interface ScopeOptions {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  readonly batch: StorageCallOptions;
  readonly limits: Limits;
  /** The time limit of one call of a hook, in milliseconds. */
  readonly hookTimeout: number;
  /** Finds the groups of keys; undefined without the option. */
  readonly groups: Groups | undefined;
  /** Whether the server exchanges changes with others. */
  readonly isMeshed: boolean;
  /** Receives errors that no caller gets. */
  readonly observer: Pick<Observer, "report">;
  /** All waiting requests, by key. */
  readonly waiters: Waiters;
}
