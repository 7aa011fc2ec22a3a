/**
 * The parts of a server that all requests share.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { ConcurrencyLimit } from "../limits/concurrency.ts";
import { type DeadlineList, Deadlines } from "../limits/deadlines.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { CachedReader, canCache, type NodeReader } from "../store/cached_reader.ts";
import { Changes } from "../store/changes.ts";
import type { RealityError } from "../errors.ts";
import { drainBeforeReads, OutboxDrain } from "../store/outbox.ts";
import { ReadBatcher } from "../store/read_batcher.ts";
import { WriteBatcher } from "../store/write_batcher.ts";
import { ChangePoller } from "../sync/change_poller.ts";
import type { Waiters } from "../sync/waiters.ts";
import type { DrainSteps, Scope, ScopeOptions, ScopeSource } from "./scope.ts";

/** One scope for all requests. Concurrent reads and changes are sent to the storage together. */
export class SharedScope implements Scope, ScopeSource {
  readonly concurrency: ConcurrencyLimit;
  readonly reader: NodeReader;
  readonly writer: WriteBatcher;
  readonly changes: Changes;
  readonly waiters: Waiters;
  readonly poller: ChangePoller;
  readonly #clock: Clock;
  readonly #outbox: OutboxDrain | undefined;
  #streams = 0;
  /** One function for all streams saves memory. */
  readonly #endStream = (): void => void this.#streams--;

  /**
   * @param options What the scope is created with.
   * @param onCommit Called with the keys of each commit and its highest version; 0 for a commit that failed.
   */
  constructor(
    { storage, clock, batch, limits, waiters, isMeshed, groups, observer }: ScopeOptions,
    onCommit: (keys: readonly string[], version: number) => void,
  ) {
    this.#clock = clock;
    this.concurrency = new ConcurrencyLimit(limits.maxRequests);
    this.writer = new WriteBatcher(storage, batch, (keys, version) => {
      reader.expire();
      waiters.wake(keys);
      onCommit(keys, version);
    });
    const report = (error: RealityError) => observer.report(error);
    this.changes = new Changes(this.writer, clock, { limits, isMeshed, groups, report });
    this.#outbox = storage.outbox &&
      new OutboxDrain(storage.outbox, { changes: this.changes, calls: batch, report });
    const readable = drainBeforeReads(storage, this.#outbox);
    const reader = new ReadBatcher(readable, batch);
    this.reader = canCache(storage) ? new CachedReader(readable, reader, batch) : reader;
    this.waiters = waiters;
    this.poller = new ChangePoller({ storage: readable, reader: this.reader, waiters, clock, calls: batch });
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
    return this.#endStream;
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
    // The peers receive the pending changes as well.
    await settlesWithin(this.#clock, left(), Promise.all([answered, this.writer.flush()]));
    const all = [answered, this.writer.flush(), tell(), this.poller.close(), this.#outbox?.close()];
    return await settlesWithin(this.#clock, left(), Promise.all(all));
  }
}
