/**
 * The parts of a server for one request alone, on runtimes where a request may not wait for another request.
 *
 * On Cloudflare Workers a promise, a timer and a connection belong to the request that created them. A request that
 * waits for a promise of another request never continues once that request is over. So each request gets its own
 * reads, commits, change poller and timers. Requests share plain values only: counts, and flags that each request
 * checks with its own timer. The runtime may end a request at any time without running its code, so what a request
 * uses is counted by leases, which later requests free.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";
import type { DeadlineList } from "../limits/deadlines.ts";
import { Changes } from "../store/changes.ts";
import { FailedKeys } from "../store/failed_keys.ts";
import type { RealityError } from "../errors.ts";
import { drainBeforeReads, OutboxDrain } from "../store/outbox.ts";
import { ReadBatcher } from "../store/read_batcher.ts";
import { WriteBatcher } from "../store/write_batcher.ts";
import { ChangePoller } from "../sync/change_poller.ts";
import type { Waiter, WaiterSource } from "../sync/waiters.ts";
import { type Lease, LeaseCounter, LeasedRequestLimit } from "./leases.ts";
import { PollingWaiter } from "./polling_waiter.ts";
import { RequestDeadlines } from "./request_deadlines.ts";
import type { Scope, ScopeOptions, ScopeSource } from "./scope.ts";

/** The interval at which a closing server checks whether all requests are over, in milliseconds. */
const CLOSING_INTERVAL = 50;

/** Creates the parts of each request. */
export class RequestScopes implements ScopeSource {
  readonly concurrency: LeasedRequestLimit;
  readonly #options: ScopeOptions;
  readonly #waiting: LeaseCounter;
  readonly #streams: LeaseCounter;
  readonly #changes: LeaseCounter;
  readonly #failed = new FailedKeys();

  /** @param options What the parts are created with. */
  constructor(options: ScopeOptions) {
    const { clock, limits, batch, hookTimeout } = options;
    // A running request never takes longer between two signs.
    const timeout = limits.bodyTimeout + limits.stallTimeout + 4 * batch.timeout + hookTimeout;
    this.#options = options;
    this.concurrency = new LeasedRequestLimit(limits.maxRequests, clock, timeout);
    this.#waiting = new LeaseCounter(clock, timeout);
    this.#streams = new LeaseCounter(clock, timeout);
    this.#changes = new LeaseCounter(clock, timeout);
  }

  get streams(): number {
    return this.#streams.size;
  }

  get reads(): number {
    return this.#options.batch.metrics?.readSizes.count ?? 0;
  }

  get writes(): number {
    return this.#options.batch.metrics?.writeSizes.count ?? 0;
  }

  open(): Scope {
    const { storage, clock, batch, limits, waiters: flags, isMeshed, groups, observer } = this.#options;
    const writer = new WriteBatcher(storage, { ...batch, failed: this.#failed }, (keys) => {
      reader.expire();
      flags.wake(keys);
    });
    const report = (error: RealityError) => observer.report(error);
    const changes = new Changes(writer, clock, { limits, isMeshed, groups, report });
    const outbox = storage.outbox &&
      new OutboxDrain(storage.outbox, { changes, calls: batch, report, isRequestScoped: true });
    const readable = drainBeforeReads(storage, outbox);
    const reader = new ReadBatcher(readable, batch);
    const held: Lease[] = [];
    const renew = () => held.forEach((lease) => lease.renew());
    let waiter: PollingWaiter | undefined;
    const poller = new ChangePoller({
      storage: readable,
      reader,
      clock,
      calls: batch,
      isRequestScoped: true,
      waiters: {
        get size() {
          return waiter === undefined ? 0 : 1;
        },
        wake: (keys) => waiter?.wake(keys),
        wakeMarked: (marks) => waiter?.wakeMarked(marks),
      },
    });
    const add = (keys: readonly string[], from?: WaiterSource): Waiter | null => {
      this.#waiting.forgetLost();
      const flag = flags.add(keys, from);
      if (flag === null) return null;
      const lease = this.#waiting.take(() => flag.release());
      held.push(lease);
      return waiter = new PollingWaiter(keys, flag, clock, renew, () => {
        waiter = undefined;
        lease.end();
        void poller.close();
      });
    };
    return {
      reader,
      writer,
      changes,
      waiters: { add },
      poller: {
        register(reading) {
          // Without a waiter there is nothing to poll for.
          if (waiter === undefined) return;
          waiter.isWoken = false;
          poller.register(reading);
        },
      },
      beginStream: () => {
        const lease = this.#streams.take();
        held.push(lease);
        return () => lease.end();
      },
    };
  }

  async change<T>(change: () => MaybePromise<T>): Promise<T> {
    const lease = this.#changes.take();
    try {
      return await change();
    } finally {
      lease.end();
    }
  }

  createDeadlines(timeout: number): DeadlineList {
    return new RequestDeadlines(this.#options.clock, timeout);
  }

  async drain(left: () => number): Promise<boolean> {
    const { clock, waiters } = this.#options;
    void waiters.close();
    const isIdle = () => waiters.size + this.concurrency.busy + this.#changes.size === 0;
    while (!isIdle()) {
      const time = Math.min(left(), CLOSING_INTERVAL);
      if (time <= 0) return false;
      await new Promise<void>((resolve) => void clock.after(time, resolve));
    }
    return true;
  }
}
