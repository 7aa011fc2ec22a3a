/**
 * Keeps all subscriptions of a client: what to ask the server, and what each answer means to them.
 *
 * @module
 */
import { type Refetch, type Refetcher, Subscription } from "./subscription.ts";
import type { KeyChange } from "./types.ts";

/** What to ask the server. */
export interface Question {
  /** Key → the least version that a subscription has. */
  readonly known: ReadonlyMap<string, number>;
  /** The epoch of these versions; absent if none is known. */
  readonly epoch: string | undefined;
  /** Whether the answer must come at once, since a subscription does not know the version of a key yet. */
  readonly isUrgent: boolean;
}

/** What the server says. */
export interface Answer {
  readonly epoch: string;
  /** The keys whose version is another one than asked. */
  readonly changed: ReadonlyMap<string, KeyChange>;
  /** Key → why it can never change. */
  readonly refused?: Readonly<Record<string, { readonly message: string }>>;
}

/** All subscriptions of a client. */
export class Subscriptions {
  readonly #refetcher: Omit<Refetcher, "jitter">;
  readonly #onKeys: () => void;
  readonly #all = new Set<Subscription>();
  /** What the last answers said about the keys, in the epoch of the last one. */
  readonly #told = new Map<string, KeyChange>();
  #epoch: string | undefined;

  /** Calls `onKeys` when the question may be another one. */
  constructor(refetcher: Omit<Refetcher, "jitter">, onKeys: () => void) {
    this.#refetcher = refetcher;
    this.#onKeys = onKeys;
  }

  /** The epoch of the last answer. */
  get epoch(): string | undefined {
    return this.#epoch;
  }

  /** Adds a subscription without keys, whose fetches are delayed by up to so many milliseconds. */
  add(refetch: Refetch, jitter = 0): Subscription {
    const subscription = new Subscription({ ...this.#refetcher, jitter }, refetch, () => {
      this.#all[subscription.isStopped ? "delete" : "add"](subscription);
      for (const [key, { epoch, version }] of subscription.held) {
        const change = this.#told.get(key);
        if (!change) continue;
        // What is fetched from now on is not older than the last answer, so no request is needed to begin.
        if (epoch === undefined) subscription.tell(this.#epoch!, change);
        // The least version of all subscriptions hides this one from a waiting request.
        else if (epoch !== this.#epoch || version !== change.version) this.#refetcher.recheck();
      }
      this.#onKeys();
    });
    return subscription;
  }

  /** What all subscriptions together want to know. Versions of another epoch than that of the question become 0. */
  question(): Question {
    const all = [...this.#all].flatMap(({ held }) => [...held]);
    const epoch = this.#epoch ?? all.find(([, held]) => held.epoch !== undefined)?.[1].epoch;
    const known = new Map<string, number>();
    let isUrgent = false;
    for (const [key, held] of all) {
      const isComparable = held.epoch !== undefined && held.epoch === epoch;
      isUrgent ||= !isComparable;
      known.set(key, Math.min(known.get(key) ?? Infinity, isComparable ? held.version : 0));
    }
    // What is not asked is not up to date any more.
    for (const key of this.#told.keys()) if (!known.has(key)) this.#told.delete(key);
    return { known, epoch, isUrgent };
  }

  /**
   * Tells every subscription what the server has.
   *
   * @param asked Key → the version that was sent. A key that is not in `changed` has exactly this version.
   * @returns Whether a subscription has to fetch.
   */
  answer(asked: ReadonlyMap<string, number>, { epoch, changed }: Answer): boolean {
    let isNews = false;
    if (epoch !== this.#epoch) this.#told.clear();
    this.#epoch = epoch;
    for (const [key, version] of asked) {
      const before = this.#told.get(key);
      const change = changed.get(key) ?? (before?.version === version ? before : unknownChange(key, version));
      this.#told.set(key, change);
      for (const subscription of this.#all) isNews = subscription.tell(epoch, change) || isNews;
    }
    return isNews;
  }

  /** Whether data brought a version that the server did not tell. */
  get isAhead(): boolean {
    return [...this.#all].some(({ held }) =>
      [...held].some(([key, { version }]) => version !== this.#told.get(key)?.version)
    );
  }

  /** Ends the pauses and delays before fetches. */
  retry(): void {
    for (const subscription of this.#all) subscription.retry();
  }

  /** Ends all subscriptions. */
  close(): void {
    for (const subscription of this.#all) subscription.stop();
  }
}

/** Describes a version that the server confirmed without sending the meta. */
function unknownChange(key: string, version: number): KeyChange {
  return { key, version, hash: "", updatedAt: 0, ...(version === 0 && { deleted: true }) };
}
