/**
 * Finds the requests and streams that wait for a key, and wakes them. A wake carries no data.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { markOf } from "../store/history.ts";
import type { Limits } from "../server_limits.ts";

/** Why a waiter stopped waiting: a key may have changed, its time limit passed, or it was closed. */
export type WaitEnd = "wake" | "timeout" | "closed";

/** A sync request or an event stream that waits for keys. It is woken by every change since its creation. */
export interface Waiter {
  /**
   * Waits for the next wake. A wake since the last call, or since the waiter was created, counts at once, so a change
   * between two calls is never missed.
   *
   * @param ms The time limit, in milliseconds.
   */
  next(ms: number): Promise<WaitEnd>;
  /** What `next` would return at once; undefined where it would wait. A wake is returned only once. */
  poll(): WaitEnd | undefined;
  /** Frees the slot and ends a running wait as `closed`. May be called twice. */
  release(): void;
}

/** How many waiters there may be. */
export type WaiterLimits = Pick<
  Limits,
  "maxWaiters" | "maxWaitersPerClient" | "maxWaitersPerConnection" | "maxWaitingBytes"
>;

/**
 * The number of waiters of a connection is stored under this symbol in the object that represents the connection.
 * Almost every waiter has its own connection, and a map entry for each would take more memory.
 */
const WAITERS: unique symbol = Symbol("reality.waiters");

/** Represents a connection: one object for its whole lifetime, such as its socket. */
export interface WaiterConnection {
  [WAITERS]?: number;
}

/** The origin of a waiter, as far as it is known. */
export interface WaiterSource {
  /** Identifies the client; `null` if it is unknown or not limited. */
  readonly client: string | null;
  /** The connection, if it can carry several requests at the same time. */
  readonly connection: WaiterConnection | undefined;
}

/** What one client uses. */
interface ClientUsage {
  waiters: number;
  bytes: number;
}

/**
 * An estimate of the memory of a waiter, and of each of its keys beside the text, in bytes.
 * `tests/hostile/memory_test.ts` checks it with 49 waiters of 10,000 short keys.
 */
const WAITER_BYTES = 1_024;
const KEY_BYTES = 128;

/** Estimates the memory of a waiter with these keys, in bytes. */
export function waitingBytes(keys: readonly string[]): number {
  let bytes = WAITER_BYTES + KEY_BYTES * keys.length;
  for (const key of keys) bytes += key.length;
  return bytes;
}

/**
 * Storage → the servers in this process that use it and have waiters. A storage in memory announces nothing and is
 * not polled. Without this map, a client that waits at one server would miss a change made at another.
 */
const groups = new WeakMap<object, Set<Waiters>>();

/** All the waiters of one server, by key. */
export class Waiters {
  /** Most keys have one waiter, which is stored directly: a set would take more memory than the waiter. */
  readonly #byKey = new Map<string, RegisteredWaiter | Set<RegisteredWaiter>>();
  readonly #all = new Set<RegisteredWaiter>();
  /** One function for all waiters saves memory. */
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
  /** What one client may use, in bytes: the same share of all bytes as it has of all waiters. */
  readonly #maxClientBytes: number;
  readonly #usage = new Map<string, ClientUsage>();
  #bytes = 0;
  readonly #group: Set<Waiters>;
  #onFilled: () => void = () => {};
  #onEmptied: () => void = () => {};
  #onClientFull: () => void = () => {};
  #closed = false;
  #wakes = 0;
  #rechecks = 0;

  /**
   * @param clock The source of timers.
   * @param limits How many waiters there may be.
   * @param storage The storage whose changes they wait for. A wake reaches the waiters of all servers in this process
   *   that use the same storage.
   */
  constructor(clock: Clock, limits: WaiterLimits, storage: object = {}) {
    this.#clock = clock;
    this.#limits = limits;
    const { maxWaiters, maxWaitersPerClient, maxWaitingBytes } = limits;
    this.#maxClientBytes = maxWaitingBytes * Math.min(1, maxWaitersPerClient / Math.max(1, maxWaiters));
    this.#group = groups.get(storage) ?? new Set();
    groups.set(storage, this.#group);
  }

  /** The number of waiters. */
  get size(): number {
    return this.#all.size;
  }

  /** An estimate of their memory, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How often a waiter was woken. */
  get wakes(): number {
    return this.#wakes;
  }

  /** How often {@linkcode Waiters.recheck} was called. */
  get rechecks(): number {
    return this.#rechecks;
  }

  /** Called each time the first waiter arrives. */
  set onFilled(callback: () => void) {
    this.#onFilled = callback;
  }

  /** Called each time a client has reached its share. */
  set onClientFull(callback: () => void) {
    this.#onClientFull = callback;
  }

  /**
   * Adds a waiter for these keys.
   *
   * @param from The origin of the waiter; left out for a caller that is trusted or unknown.
   * @returns `null` if a limit is reached: of all waiters, of this client, or of this connection.
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

  /**
   * Reserves a slot of a client's share.
   *
   * @returns Whether one was free.
   */
  #reserve(client: string, bytes: number): boolean {
    const usage = this.#usage.get(client);
    if (usage === undefined) {
      // A client without a waiter always gets one, however large. The limit of all waiters is checked elsewhere.
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

  /** Frees what a waiter used. */
  #free({ bytes, client, connection }: RegisteredWaiter): void {
    this.#bytes -= bytes;
    if (connection !== undefined) connection[WAITERS]!--;
    const usage = client === null ? undefined : this.#usage.get(client);
    if (usage === undefined) return;
    usage.waiters--;
    usage.bytes -= bytes;
    if (usage.waiters === 0) this.#usage.delete(client!);
  }

  /** Wakes all waiters of these keys; `null` stands for every key. */
  wake(keys: readonly string[] | null): void {
    for (const waiters of this.#group) waiters.#wake(keys);
  }

  /** Wakes all waiters of keys with one of these marks. */
  wakeMarked(marks: ReadonlySet<string>): void {
    for (const waiters of this.#group) {
      waiters.#wake([...waiters.#byKey.keys()].filter((key) => marks.has(markOf(key))));
    }
  }

  /**
   * Wakes the waiters of these keys, because the rights of their clients may have changed.
   *
   * @throws {TypeError} When the keys are not an array of strings.
   */
  recheck(keys: readonly string[]): void {
    if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string")) {
      throw new TypeError("Cannot recheck: expected an array of keys");
    }
    this.#rechecks++;
    this.wake(keys);
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
   * Ends every wait as `closed` and refuses new waiters. Resolves when all have freed their slots, because their
   * requests still have to be answered.
   */
  close(): Promise<void> {
    this.#closed = true;
    const emptied = new Promise<void>((resolve) => this.#onEmptied = resolve);
    if (this.#all.size === 0) this.#onEmptied();
    for (const waiter of this.#all) waiter.close();
    return emptied;
  }
}

/** What a waiter uses, and its origin. */
interface WaiterUsage extends WaiterSource {
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
    { bytes, client, connection }: WaiterUsage,
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
