/**
 * The parts of a server for one request alone, where a request may not wait for what another one began.
 *
 * On Cloudflare Workers a promise, a timer and a connection belong to the request that made them: who waits for those
 * of another request waits for ever once that one is over. So what a server otherwise has once is here made anew for
 * each request: reads, commits, the look at other processes' changes, and every timer. Requests share plain values
 * only: counts, and flags that each looks at by its own timer. A request may also be ended at any point without
 * another step of its code, so what it counted is given back after a time.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";
import { overloaded, type RequestLimit } from "../limits/concurrency.ts";
import { ReadBatcher } from "../store/read_batcher.ts";
import { WriteBatcher } from "../store/write_batcher.ts";
import type { Clock } from "../clock.ts";
import type { Deadline, DeadlineList } from "../limits/deadlines.ts";
import { markOf } from "../store/history.ts";
import { Changes } from "../store/changes.ts";
import type { Scope, ScopeOptions, ScopeSource } from "./scope.ts";
import type { WaitEnd, Waiter, WaiterSource } from "../sync/waiters.ts";
import { ChangePoller } from "../sync/change_poller.ts";

/** How often who waits looks at its flags, in milliseconds. */
const FLAG_INTERVAL = 50;

/** How often a deadline looks whether the server was closed, in milliseconds. */
const CLOSED_INTERVAL = 250;

/** So long after its time a deadline counts as left behind by a request that was ended, in milliseconds. */
const GRACE = 5_000;

/** How often a server that closes looks whether all is over, in milliseconds. */
const CLOSING_INTERVAL = 50;

/** Makes the parts of each request. */
export class RequestScopes implements ScopeSource {
  readonly concurrency: LeasedRequestLimit;
  readonly #options: ScopeOptions;
  readonly #waiting: LeaseCounter;
  readonly #streams: LeaseCounter;
  readonly #changes: LeaseCounter;

  /** @param options What they are made with. */
  constructor(options: ScopeOptions) {
    const { clock, limits, batch, hookTimeout } = options;
    // Longer than a request that goes on can be without a sign.
    const patience = limits.bodyTimeout + limits.stallTimeout + 4 * batch.timeout + hookTimeout;
    this.#options = options;
    this.concurrency = new LeasedRequestLimit(limits.maxRequests, clock, patience);
    this.#waiting = new LeaseCounter(clock, patience);
    this.#streams = new LeaseCounter(clock, patience);
    this.#changes = new LeaseCounter(clock, patience);
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
    const { storage, clock, batch, limits, waiters: flags } = this.#options;
    const reader = new ReadBatcher(storage, batch);
    const writer = new WriteBatcher(storage, batch, (keys) => {
      reader.expire();
      flags.wake(keys);
    });
    const held: Lease[] = [];
    const renew = () => held.forEach((lease) => lease.renew());
    let waiter: PollingWaiter | undefined;
    const poller = new ChangePoller({
      storage,
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
      changes: new Changes(writer, clock, limits),
      waiters: { add },
      poller: {
        register(reading) {
          // What nobody waits for is not looked at.
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

/** Waits by timers of its own request: it is woken by the request's own watch, and looks at a flag for all else. */
class PollingWaiter implements Waiter {
  readonly #keys: readonly string[];
  readonly #flag: Waiter;
  readonly #clock: Clock;
  readonly #onSign: () => void;
  readonly #onRelease: () => void;
  /** Whether the watch found something. It looks again from each reading that is parked, so that ends this. */
  isWoken = false;
  #finish: ((end: WaitEnd) => void) | undefined;

  constructor(
    keys: readonly string[],
    flag: Waiter,
    clock: Clock,
    onSign: () => void,
    onRelease: () => void,
  ) {
    this.#keys = keys;
    this.#flag = flag;
    this.#clock = clock;
    this.#onSign = onSign;
    this.#onRelease = onRelease;
  }

  next(ms: number): Promise<WaitEnd> {
    const end = this.poll();
    if (end !== undefined) return Promise.resolve(end);
    const endsAt = this.#clock.elapsed() + ms;
    return new Promise((resolve) => {
      let stopTimer: () => void;
      this.#finish = (end) => {
        stopTimer();
        this.#finish = undefined;
        resolve(end);
      };
      const rest = (left: number) => {
        this.#onSign();
        stopTimer = this.#clock.after(Math.min(left, FLAG_INTERVAL), () => {
          const left = endsAt - this.#clock.elapsed();
          const end = this.poll() ?? (left > 0 ? undefined : "timeout");
          if (end === undefined) rest(left);
          else this.#finish?.(end);
        });
      };
      rest(ms);
    });
  }

  poll(): WaitEnd | undefined {
    const end = this.#flag.poll();
    if (end === "closed" || !this.isWoken) return end;
    this.isWoken = false;
    return "wake";
  }

  /** Looks again if one of these keys is its own; `null` stands for every key. */
  wake(keys: readonly string[] | null): void {
    if (keys !== null && !keys.some((key) => this.#keys.includes(key))) return;
    if (this.#finish === undefined) this.isWoken = true;
    else this.#finish("wake");
  }

  /** Looks again if one of its own keys has one of these marks. */
  wakeMarked(marks: ReadonlySet<string>): void {
    this.wake(this.#keys.filter((key) => marks.has(markOf(key))));
  }

  release(): void {
    this.#flag.release();
    this.#onRelease();
    this.#finish?.("closed");
  }
}

/** One place that is held. */
interface Lease {
  /** The request that holds it goes on. */
  renew(): void;
  /** Gives it back. May be called twice. */
  end(): void;
}

/** Counts what requests hold. A place whose request was ended is found and given back by those who come later. */
class LeaseCounter {
  readonly #clock: Clock;
  readonly #patience: number;
  /** When each gave a sign, and what is to be done where none came for too long. Who was looked at last stands last. */
  readonly #seenAt = new Map<Lease, { at: number; onLost: () => void }>();

  constructor(clock: Clock, patience: number) {
    this.#clock = clock;
    this.#patience = patience;
  }

  get size(): number {
    return this.#seenAt.size;
  }

  take(onLost: () => void = () => {}): Lease {
    this.forgetLost();
    const held = { at: this.#clock.elapsed(), onLost };
    const lease = {
      renew: () => void (held.at = this.#clock.elapsed()),
      end: () => void this.#seenAt.delete(lease),
    };
    this.#seenAt.set(lease, held);
    return lease;
  }

  /** Looks at two of them, so that what is lost goes faster than new ones come, without a timer. */
  forgetLost(): void {
    for (let i = 0; i < 2; i++) {
      const [oldest] = this.#seenAt;
      if (oldest === undefined) return;
      const [lease, held] = oldest;
      this.#seenAt.delete(lease);
      if (this.#clock.elapsed() - held.at > this.#patience) held.onLost();
      else this.#seenAt.set(lease, held);
    }
  }
}

/** Deadlines of one length, each behind a timer of the request that it is for. */
class RequestDeadlines implements DeadlineList {
  readonly #clock: Clock;
  readonly #timeout: number;
  /** What is under way and how its timer is stopped, in the order in which it is due. */
  readonly #all = new Map<Deadline, () => void>();
  #isClosed = false;

  /**
   * @param clock Where time and timers come from.
   * @param timeout How long each may take, in milliseconds.
   */
  constructor(clock: Clock, timeout: number) {
    this.#clock = clock;
    this.#timeout = timeout;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  add(due: Deadline): void {
    if (this.#isClosed) return;
    this.#endLost();
    due.dueAt = this.#clock.elapsed() + this.#timeout;
    this.#rest(due, this.#timeout);
  }

  remove(due: Deadline): boolean {
    this.#all.get(due)?.();
    return this.#all.delete(due);
  }

  /** Ends what is under way, each by its own timer. */
  close(): void {
    this.#isClosed = true;
  }

  #rest(due: Deadline, left: number): void {
    const stop = this.#clock.after(Math.min(left, CLOSED_INTERVAL), () => {
      const left = due.dueAt - this.#clock.elapsed();
      if (left > 0 && !this.#isClosed) return this.#rest(due, left);
      this.#all.delete(due);
      due.onExpire();
    });
    this.#all.set(due, stop);
  }

  /** What is long past its time has no timer any more: its request was ended. */
  #endLost(): void {
    for (const [due] of this.#all) {
      if (this.#clock.elapsed() - due.dueAt <= GRACE) return;
      this.remove(due);
      due.onAbandon?.();
    }
  }
}

/**
 * Counts the requests that are dealt with. Requests are not told apart: one that leaves takes the youngest away, so
 * that those which were ended without leaving grow old, and count no longer after a time.
 */
class LeasedRequestLimit implements RequestLimit {
  readonly #max: number;
  readonly #clock: Clock;
  readonly #patience: number;
  /** When each came in, the oldest first. */
  readonly #enteredAt: number[] = [];

  /**
   * @param max How many there may be at once.
   * @param clock Where time comes from.
   * @param patience How long one may take, in milliseconds, before it counts as ended.
   */
  constructor(max: number, clock: Clock, patience: number) {
    this.#max = max;
    this.#clock = clock;
    this.#patience = patience;
  }

  get busy(): number {
    const since = this.#clock.elapsed() - this.#patience;
    while (this.#enteredAt.length > 0 && this.#enteredAt[0]! < since) this.#enteredAt.shift();
    return this.#enteredAt.length;
  }

  enter(): void {
    if (this.busy >= this.#max) throw overloaded(`maxRequests (${this.#max}) are being answered`);
    this.endWait();
  }

  leave(): void {
    this.#enteredAt.pop();
  }

  startWait(): void {
    this.#enteredAt.pop();
  }

  endWait(): void {
    this.#enteredAt.push(this.#clock.elapsed());
  }
}
