/**
 * Who waits for which key: the bell that says "look again" and carries no data.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { markOf } from "../store/history.ts";
import type { Limits } from "../options.ts";

/** Why a waiter stopped waiting: a key may have changed, its time is up, or it was closed. */
export type WaitEnd = "wake" | "timeout" | "closed";

/** A sync request or an event stream parked on keys. It hears of every change from the moment it is made. */
export interface Waiter {
  /**
   * Waits for the next wake. One that came since the last call, or since the waiter was made, counts at once:
   * so whoever reads between two calls cannot miss a change.
   *
   * @param ms How long to wait, in milliseconds.
   */
  next(ms: number): Promise<WaitEnd>;
  /** What `next` would say at once; undefined where it would wait. A wake that is told is over. */
  poll(): WaitEnd | undefined;
  /** Gives the place back and ends a wait in progress as `closed`. May be called twice. */
  release(): void;
}

/** How much may wait at once. */
export type WaiterLimits = Pick<
  Limits,
  "maxWaiters" | "maxWaitersPerClient" | "maxWaitersPerConnection" | "maxWaitingBytes"
>;

/**
 * Under this name, the object that stands for a connection has how many waiters came by it. Almost every waiter has a
 * connection of its own: an entry of a map for each would be larger than this.
 */
const WAITERS: unique symbol = Symbol("reality.waiters");

/** What stands for a connection: one object for as long as it lives, such as its socket. */
export interface WaiterConnection {
  [WAITERS]?: number;
}

/** Where a waiter comes from, as far as that can be told. */
export interface WaiterSource {
  /** What stands for the client; `null` for one that is not known, or not limited. */
  readonly client: string | null;
  /** The connection, where one can bring several requests at once. */
  readonly connection: WaiterConnection | undefined;
}

/** What one client holds. */
interface ClientUsage {
  waiters: number;
  bytes: number;
}

/**
 * What a waiter, and each of its keys beside its text, holds in memory, in bytes, about. `tests/hostile/memory_test.ts`
 * holds 49 waiters of 10,000 short keys to it.
 */
const WAITER_BYTES = 1_024;
const KEY_BYTES = 128;

/** Says how much a waiter on these keys holds in memory, in bytes, about. */
export function waitingBytes(keys: readonly string[]): number {
  let bytes = WAITER_BYTES + KEY_BYTES * keys.length;
  for (const key of keys) bytes += key.length;
  return bytes;
}

/**
 * Storage → the waiters of all servers in this process that use it and have any. A storage in memory announces nothing
 * and is not looked at: without this, a client that waits at one server would sleep through a change made by another.
 */
const groups = new WeakMap<object, Set<Waiters>>();

/** All the waiters of one server, found by key. */
export class Waiters {
  /** Most keys have one waiter, which then stands here itself: a set would be the larger part of its memory. */
  readonly #byKey = new Map<string, RegisteredWaiter | Set<RegisteredWaiter>>();
  readonly #all = new Set<RegisteredWaiter>();
  /** One function for all of them, not one for each. */
  readonly #remove = (waiter: RegisteredWaiter): void => {
    this.#all.delete(waiter);
    this.#free(waiter);
    if (this.#all.size === 0) {
      this.#group.delete(this);
      this.#onEmptied();
    }
    for (const key of waiter.keys) {
      const registered = this.#byKey.get(key);
      if (registered === waiter) this.#byKey.delete(key);
      else if (registered instanceof Set && registered.delete(waiter) && registered.size === 0) {
        this.#byKey.delete(key);
      }
    }
  };
  readonly #clock: Clock;
  readonly #limits: WaiterLimits;
  /** What one client may hold, in bytes: as large a part of all as of the places. */
  readonly #maxClientBytes: number;
  readonly #usage = new Map<string, ClientUsage>();
  #bytes = 0;
  readonly #group: Set<Waiters>;
  #onFilled: () => void = () => {};
  #onEmptied: () => void = () => {};
  #onClientFull: () => void = () => {};
  #closed = false;
  #wakes = 0;

  /**
   * @param clock Where timers come from.
   * @param limits How much may wait at once.
   * @param storage What they wait for changes of: a wake reaches the waiters of every server here that has the same one.
   */
  constructor(clock: Clock, limits: WaiterLimits, storage: object = {}) {
    this.#clock = clock;
    this.#limits = limits;
    const { maxWaiters, maxWaitersPerClient, maxWaitingBytes } = limits;
    this.#maxClientBytes = maxWaitingBytes * Math.min(1, maxWaitersPerClient / Math.max(1, maxWaiters));
    this.#group = groups.get(storage) ?? new Set();
    groups.set(storage, this.#group);
  }

  /** How many wait now. */
  get size(): number {
    return this.#all.size;
  }

  /** How much they hold in memory, in bytes, about. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How often a waiter was told to look again. */
  get wakes(): number {
    return this.#wakes;
  }

  /** Calls back each time the first waiter arrives after there was none. */
  set onFilled(callback: () => void) {
    this.#onFilled = callback;
  }

  /** Calls back each time there is no place for a client since it has its share already. */
  set onClientFull(callback: () => void) {
    this.#onClientFull = callback;
  }

  /**
   * Parks a new waiter on these keys.
   *
   * @param from Where it comes from; left out for a caller that is trusted, or not known.
   * @returns `null` when there is no place left: for anybody, for this client, or on this connection.
   */
  add(keys: readonly string[], from?: WaiterSource): Waiter | null {
    const bytes = waitingBytes(keys);
    const { maxWaiters, maxWaitersPerConnection, maxWaitingBytes } = this.#limits;
    if (this.#closed || this.#all.size >= maxWaiters || bytes > maxWaitingBytes - this.#bytes) return null;
    const connection = from?.connection;
    if ((connection?.[WAITERS] ?? 0) >= maxWaitersPerConnection) return null;
    const client = from?.client ?? null;
    if (client !== null && !this.#reserve(client, bytes)) return null;
    if (connection !== undefined) connection[WAITERS] = (connection[WAITERS] ?? 0) + 1;
    this.#bytes += bytes;
    const waiter = new RegisteredWaiter(keys, this.#clock, this.#remove, { bytes, client, connection });
    this.#all.add(waiter);
    for (const key of keys) {
      const registered = this.#byKey.get(key);
      if (registered === undefined) this.#byKey.set(key, waiter);
      else if (registered instanceof Set) registered.add(waiter);
      else this.#byKey.set(key, new Set([registered, waiter]));
    }
    if (this.#all.size === 1) {
      this.#group.add(this);
      this.#onFilled();
    }
    return waiter;
  }

  /** Takes a place of a client's share; says whether there was one. */
  #reserve(client: string, bytes: number): boolean {
    const usage = this.#usage.get(client);
    if (usage === undefined) {
      // Whoever has no place yet gets one, however large it is: what all hold together is looked at elsewhere.
      this.#usage.set(client, { waiters: 1, bytes });
      return true;
    }
    if (usage.waiters >= this.#limits.maxWaitersPerClient || usage.bytes + bytes > this.#maxClientBytes) {
      this.#onClientFull();
      return false;
    }
    usage.waiters++;
    usage.bytes += bytes;
    return true;
  }

  /** Takes back what a waiter held. */
  #free({ bytes, client, connection }: RegisteredWaiter): void {
    this.#bytes -= bytes;
    if (connection !== undefined) connection[WAITERS]!--;
    const usage = client === null ? undefined : this.#usage.get(client);
    if (usage === undefined) return;
    usage.waiters--;
    usage.bytes -= bytes;
    if (usage.waiters === 0) this.#usage.delete(client!);
  }

  /** Tells all who wait for one of these keys to look again; `null` stands for every key. */
  wake(keys: readonly string[] | null): void {
    for (const waiters of this.#group) waiters.#wake(keys);
  }

  /** Tells all who wait for a key with one of these marks to look again. */
  wakeMarked(marks: ReadonlySet<string>): void {
    for (const waiters of this.#group) {
      waiters.#wake([...waiters.#byKey.keys()].filter((key) => marks.has(markOf(key))));
    }
  }

  #wake(keys: readonly string[] | null): void {
    if (keys === null) {
      this.#wakes += this.#all.size;
      for (const waiter of this.#all) waiter.wake();
      return;
    }
    for (const key of keys) {
      const registered = this.#byKey.get(key);
      if (registered === undefined) continue;
      this.#wakes += registered instanceof Set ? registered.size : 1;
      if (registered instanceof Set) { for (const waiter of registered) waiter.wake(); }
      else registered.wake();
    }
  }

  /**
   * Ends every wait as `closed` and takes no waiter any more. Settles when all have given back their places: who was
   * ended still has to answer.
   */
  close(): Promise<void> {
    this.#closed = true;
    const emptied = new Promise<void>((resolve) => this.#onEmptied = resolve);
    if (this.#all.size === 0) this.#onEmptied();
    for (const waiter of this.#all) waiter.close();
    return emptied;
  }
}

/** What a waiter holds, and whose that is. */
interface Reservation extends WaiterSource {
  readonly bytes: number;
}

class RegisteredWaiter implements Waiter {
  readonly keys: readonly string[];
  readonly bytes: number;
  readonly client: string | null;
  readonly connection: WaiterConnection | undefined;
  readonly #clock: Clock;
  readonly #onRelease: (waiter: RegisteredWaiter) => void;
  #woken = false;
  #closed = false;
  #released = false;
  #resolve: ((end: WaitEnd) => void) | undefined;
  #stopTimer: (() => void) | undefined;

  constructor(
    keys: readonly string[],
    clock: Clock,
    onRelease: (waiter: RegisteredWaiter) => void,
    { bytes, client, connection }: Reservation,
  ) {
    this.keys = keys;
    this.bytes = bytes;
    this.client = client;
    this.connection = connection;
    this.#clock = clock;
    this.#onRelease = onRelease;
  }

  next(ms: number): Promise<WaitEnd> {
    const end = this.poll();
    if (end !== undefined) return Promise.resolve(end);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#stopTimer = this.#clock.after(ms, () => this.#finish("timeout"));
    });
  }

  poll(): WaitEnd | undefined {
    if (this.#closed) return "closed";
    if (!this.#woken) return undefined;
    this.#woken = false;
    return "wake";
  }

  wake(): void {
    if (!this.#finish("wake")) this.#woken = true;
  }

  close(): void {
    this.#closed = true;
    this.#finish("closed");
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#onRelease(this);
    this.close();
  }

  #finish(end: WaitEnd): boolean {
    const resolve = this.#resolve;
    if (resolve === undefined) return false;
    this.#stopTimer?.();
    this.#resolve = this.#stopTimer = undefined;
    resolve(end);
    return true;
  }
}
