/**
 * One subscription: the versions of the data that it shows, and the fetches that changes cause.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";
import { settleWithin } from "./deadline.ts";
import { growingPause } from "./pause.ts";
import type { DataStamp, KeyChange } from "./types.ts";

/** The version of a key that a subscription has, or is about to fetch. Without an epoch no version is known. */
export interface Held {
  readonly epoch: string | undefined;
  readonly version: number;
}

/** What is told within this time after a subscription begins, and after `retry()`, is fetched without a delay, in milliseconds. */
const PROMPT_MS = 5_000;

const NOT_KNOWN: Held = { epoch: undefined, version: 0 };

/** Fetches what depends on the changed keys. May return a stamp, or a promise of one. */
export type Refetch = (
  changed: ReadonlyMap<string, KeyChange>,
  signal: AbortSignal,
) => unknown;

/** What fetches need from the client. */
export interface Refetcher {
  readonly clock: ClientClock;
  /** The time for a fetch, in milliseconds. */
  readonly timeout: number;
  /** The longest random delay of a fetch, in milliseconds. */
  readonly jitter: number;
  /** Whether the page rests. Fetches wait until it does not. */
  isResting(): boolean;
  /** Asks the server at once: data came with another epoch than the one that it told. */
  recheck(): void;
  onError(error: unknown): void;
}

/**
 * Holds (epoch, version) for each key. A key that was told is due until a fetch that began afterwards has succeeded. Only
 * then the version stands for the data.
 */
export class Subscription {
  readonly #refetcher: Refetcher;
  readonly #refetch: Refetch;
  readonly #onKeys: () => void;
  /** The versions of the followed keys. */
  readonly held: Map<string, Held> = new Map();
  #due = new Map<string, KeyChange>();
  /** Whether to fetch although no key is due. */
  #isForced = false;
  #isStopped = false;
  #isScheduled = false;
  #failures = 0;
  /** Aborts the fetch that runs. */
  #running: AbortController | undefined;
  /** Cancels the pause after a failure, or the random delay after a change. */
  #cancelPause: (() => void) | undefined;
  /** No fetch is delayed until then, by `clock.elapsed()`. */
  #promptUntil: number;

  /** Calls `onKeys` when it follows other keys, or none any more. */
  constructor(refetcher: Refetcher, refetch: Refetch, onKeys: () => void) {
    this.#refetcher = refetcher;
    this.#refetch = refetch;
    this.#onKeys = onKeys;
    this.#promptUntil = refetcher.clock.elapsed() + PROMPT_MS;
  }

  /** Whether it has ended. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** How many fetches in a row have failed, or brought old data. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Whether data with this stamp is older than what the server told. If the server told that there is no node, data of a
   * node may be older or newer. It counts as older until the server tells of the node.
   */
  isBehind({ epoch, versions }: DataStamp): boolean {
    return Object.entries(versions).some(([key, version]) => {
      const held = this.held.get(key);
      if (held?.epoch === undefined) return false;
      return held.epoch !== epoch || version < held.version || (held.version === 0 && version > 0);
    });
  }

  /** Asks the server at once if it told another epoch than that of the data: it may have changed since the last answer. */
  checkEpoch({ epoch, versions }: DataStamp): void {
    const isOther = Object.keys(versions).some((key) => (this.held.get(key)?.epoch ?? epoch) !== epoch);
    if (isOther) this.#refetcher.recheck();
  }

  /** Follows these keys and no others. A new key has the version of the stamp, if there is one. */
  setKeys(keys: Iterable<string>, stamp?: DataStamp): void {
    const wanted = checkKeys(keys);
    for (const key of this.held.keys()) {
      if (wanted.has(key)) continue;
      this.held.delete(key);
      this.#due.delete(key);
    }
    for (const key of wanted) {
      if (this.held.has(key)) continue;
      const isStamped = stamp && Object.hasOwn(stamp.versions, key);
      this.held.set(key, isStamped ? { epoch: stamp.epoch, version: stamp.versions[key]! } : NOT_KNOWN);
    }
    this.#onKeys();
  }

  /**
   * Takes over what the server has of a key, if it is followed.
   *
   * @returns Whether data must be fetched.
   */
  tell(epoch: string, change: KeyChange): boolean {
    const { key, version } = change;
    const held = this.held.get(key);
    if (!held) return false;
    this.held.set(key, { epoch, version });
    // In another epoch even a key without a node may have had one in between.
    if (held.epoch === epoch && held.version === version) return false;
    const { clock, jitter } = this.#refetcher;
    // What is due already is fetched soon, or after a delay that has begun.
    if (jitter > 0 && this.#due.size === 0 && !this.#cancelPause && clock.elapsed() >= this.#promptUntil) {
      this.#pause(jitter * clock.random());
    }
    this.#due.set(key, change);
    this.#schedule();
    return true;
  }

  /** Fetches although no change was told. */
  force(): void {
    this.#isForced = true;
    this.#schedule();
  }

  /** Ends the pause or the delay. What is told soon afterwards is not delayed. */
  retry(): void {
    this.#promptUntil = this.#refetcher.clock.elapsed() + PROMPT_MS;
    this.#endPause();
    this.#schedule();
  }

  /** Ends the subscription. The fetch that runs is aborted. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#endPause();
    this.#running?.abort();
    this.setKeys([]);
  }

  #pause(ms: number): void {
    this.#endPause();
    this.#cancelPause = this.#refetcher.clock.after(ms, () => {
      this.#endPause();
      this.#schedule();
    });
  }

  #endPause(): void {
    this.#cancelPause?.();
    this.#cancelPause = undefined;
  }

  /** Fetches after the current task, so that all keys of one answer are told together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (this.#isStopped || this.#running) return;
      // A forced fetch waits for the pause after a failure only.
      if (this.#cancelPause && (this.#failures > 0 || !this.#isForced)) return;
      if (
        this.#isForced || (this.#due.size > 0 && !this.#refetcher.isResting())
      ) void this.#run();
    });
  }

  async #run(): Promise<void> {
    const { clock, timeout } = this.#refetcher;
    this.#endPause();
    const batch = this.#due;
    const wasForced = this.#isForced;
    this.#due = new Map();
    this.#isForced = false;
    const controller = this.#running = new AbortController();
    let isBehind = false;
    try {
      const fetched = this.#refetch(batch, controller.signal);
      isBehind = this.#adopt(
        await settleWithin(fetched, { clock, ms: timeout, controller }),
        batch,
      );
    } catch (error) {
      isBehind = true;
      for (const change of batch.values()) this.#owe(change);
      this.#isForced ||= wasForced;
      if (!this.#isStopped) this.#refetcher.onError(error);
    }
    this.#running = undefined;
    if (this.#isStopped) return;
    if (isBehind) this.#pause(growingPause(this.#failures++, clock.random()));
    else this.#failures = 0;
    this.#schedule();
  }

  /**
   * Takes over the versions of fetched data.
   *
   * @returns Whether the data is older than what the server told.
   */
  #adopt(stamp: unknown, batch: ReadonlyMap<string, KeyChange>): boolean {
    if (!isStamp(stamp)) return false;
    const isBehind = this.isBehind(stamp);
    this.checkEpoch(stamp);
    for (const [key, version] of Object.entries(stamp.versions)) {
      const held = this.held.get(key);
      if (!held) continue;
      if (this.isBehind({ epoch: stamp.epoch, versions: { [key]: version } })) {
        this.#owe(batch.get(key) ?? { key, version: held.version, hash: "", updatedAt: 0 });
      } else {
        this.held.set(key, { epoch: stamp.epoch, version });
        this.#due.delete(key);
      }
    }
    return isBehind;
  }

  /** Tells a change again, unless a newer one is due. */
  #owe(change: KeyChange): void {
    if (this.held.has(change.key) && !this.#due.has(change.key)) {
      this.#due.set(change.key, change);
    }
  }
}

/**
 * Refuses a lone key, which would be iterated as letters, and keys that no server takes. One of those in a question makes
 * the server refuse the question, and so all keys of all subscriptions.
 */
export function checkKeys(keys: Iterable<string>): Set<string> {
  if (typeof keys === "string") throw new TypeError(`Cannot follow "${keys}": expected a list of keys`);
  const checked = new Set(keys);
  for (const key of checked) {
    if (/^$|[\p{Cc}\p{Cs}]/u.test(key) || new TextEncoder().encode(key).length > 512) {
      throw new RangeError(
        `Cannot follow ${JSON.stringify(key)}: expected 1 to 512 bytes, no control characters`,
      );
    }
  }
  return checked;
}

/** Whether a listener returned a stamp. */
function isStamp(value: unknown): value is DataStamp {
  const { epoch, versions } = Object(value);
  return typeof epoch === "string" && Object(versions) === versions;
}
