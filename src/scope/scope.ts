/**
 * What answers requests and makes changes: shared by all of them here, made for each in `request_scope.ts`.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";
import { ConcurrencyLimit, type RequestLimit } from "../limits/concurrency.ts";
import type { StorageCallOptions } from "../store/timeout.ts";
import { ReadBatcher } from "../store/read_batcher.ts";
import { WriteBatcher } from "../store/write_batcher.ts";
import { type Clock, settlesWithin } from "../clock.ts";
import { type DeadlineList, Deadlines } from "../limits/deadlines.ts";
import { CachedReader, canCache, type NodeReader } from "../store/cached_reader.ts";
import { Changes } from "../store/changes.ts";
import type { Limits } from "../server_limits.ts";
import type { RealityStorage } from "../store/contract.ts";
import type { Waiters } from "../sync/waiters.ts";
import { ChangePoller } from "../sync/change_poller.ts";

/** What answers one request, or makes one change. */
export interface Scope {
  readonly reader: NodeReader;
  readonly writer: Pick<WriteBatcher, "readReplicated">;
  readonly changes: Changes;
  readonly waiters: Pick<Waiters, "add">;
  readonly poller: Pick<ChangePoller, "register"> & Partial<Pick<ChangePoller, "pollNow">>;
  /** Counts a stream that begins; gives a function to call when it ends. */
  beginStream(): () => void;
}

/** What a server answers its requests with. */
export interface ScopeSource {
  readonly concurrency: RequestLimit;
  /** How many streams are open. */
  readonly streams: number;
  /** How many questions and reads the storage was sent. */
  readonly reads: number;
  /** How many commits the storage was sent. */
  readonly writes: number;
  /** What answers the next request, or makes the next change. */
  open(): Scope;
  /** Makes a change, which `drain` waits for. */
  change<T>(change: () => MaybePromise<T>): MaybePromise<T>;
  /** Deadlines of one length, in milliseconds. */
  createDeadlines(timeout: number): DeadlineList;
  /**
   * Ends every wait, and settles when all that came in is answered and all changes have reached the storage.
   *
   * @param left How much time is left, in milliseconds.
   * @param steps What is done meanwhile, where requests share it.
   * @returns Whether everything was over in time.
   */
  drain(left: () => number, steps: DrainSteps): Promise<boolean>;
}

/** What is done while a server closes. */
export interface DrainSteps {
  /** Called when half of the time is over and something is not answered yet. */
  hurry(): void;
  /** Called when changes had their time: tells other servers what they are owed. */
  tell(): Promise<unknown>;
}

/** What scopes are made with. */
export interface ScopeOptions {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  readonly batch: StorageCallOptions;
  readonly limits: Limits;
  /** How long one call of a hook may take, in milliseconds. */
  readonly hookTimeout: number;
  /** Who waits, by key. */
  readonly waiters: Waiters;
}

/** One scope for all requests: what is asked and changed at the same moment goes to the storage together. */
export class SharedScope implements Scope, ScopeSource {
  readonly concurrency: ConcurrencyLimit;
  readonly reader: NodeReader;
  readonly writer: WriteBatcher;
  readonly changes: Changes;
  readonly waiters: Waiters;
  readonly poller: ChangePoller;
  readonly #clock: Clock;
  #streams = 0;

  /**
   * @param options What it is made with.
   * @param onCommit Hears the keys of every commit and the highest version in it; 0 for one that failed.
   */
  constructor(
    { storage, clock, batch, limits, waiters }: ScopeOptions,
    onCommit: (keys: readonly string[], version: number) => void,
  ) {
    const reader = new ReadBatcher(storage, batch);
    this.#clock = clock;
    this.concurrency = new ConcurrencyLimit(limits.maxRequests);
    this.reader = canCache(storage) ? new CachedReader(storage, reader, batch) : reader;
    this.writer = new WriteBatcher(storage, batch, (keys, version) => {
      reader.expire();
      waiters.wake(keys);
      onCommit(keys, version);
    });
    this.changes = new Changes(this.writer, clock, limits);
    this.waiters = waiters;
    this.poller = new ChangePoller({ storage, reader: this.reader, waiters, clock, calls: batch });
  }

  get streams(): number {
    return this.#streams;
  }

  get reads(): number {
    return this.reader.sent;
  }

  get writes(): number {
    return this.writer.sent;
  }

  open(): Scope {
    return this;
  }

  beginStream(): () => void {
    this.#streams++;
    return () => void this.#streams--;
  }

  change<T>(change: () => MaybePromise<T>): MaybePromise<T> {
    return change();
  }

  createDeadlines(timeout: number): DeadlineList {
    return new Deadlines(this.#clock, timeout);
  }

  async drain(left: () => number, { hurry, tell }: DrainSteps): Promise<boolean> {
    const answered = Promise.all([this.waiters.close(), this.concurrency.drained()]);
    if (!await settlesWithin(this.#clock, left() / 2, answered)) hurry();
    // What is still to be committed is still told to the peers.
    await settlesWithin(this.#clock, left(), Promise.all([answered, this.writer.flush()]));
    const all = [answered, this.writer.flush(), tell(), this.poller.close()];
    return await settlesWithin(this.#clock, left(), Promise.all(all));
  }
}
