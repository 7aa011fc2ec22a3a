/**
 * Keeps all subscriptions of a client: what to ask the server, and which of them an answer concerns.
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
}

/** A key that at least one subscription follows. */
interface FollowedKey {
  readonly users: Set<Subscription>;
  /** What the last answer said. */
  told?: { readonly epoch: string; readonly change: KeyChange };
}

/** All subscriptions of a client. */
export class Subscriptions {
  readonly #refetcher: Refetcher;
  readonly #onKeys: () => void;
  readonly #keys = new Map<string, FollowedKey>();
  readonly #all = new Set<Subscription>();
  /** The epoch of the last answer. */
  #epoch: string | undefined;

  /** Calls `onKeys` when the question has other keys, or must be asked at once. */
  constructor(refetcher: Refetcher, onKeys: () => void) {
    this.#refetcher = refetcher;
    this.#onKeys = onKeys;
  }

  /** Whether there is nothing to ask. */
  get isEmpty(): boolean {
    return this.#keys.size === 0;
  }

  /** Adds a subscription without keys. */
  add(refetch: Refetch): Subscription {
    const subscription: Subscription = new Subscription(
      this.#refetcher,
      refetch,
      {
        added: (key) => this.#join(key, subscription),
        removed: (key) => this.#leave(key, subscription),
        stopped: () => this.#all.delete(subscription),
      },
    );
    this.#all.add(subscription);
    return subscription;
  }

  /** What all subscriptions together want to know. Versions of another epoch than that of the question become 0. */
  question(): Question {
    const all = [...this.#keys].flatMap(([key, { users }]) =>
      [...users].map((user) => [key, user.held(key)!] as const)
    );
    const epoch = this.#epoch ??
      all.find(([, held]) => held.epoch !== undefined)?.[1].epoch;
    const known = new Map<string, number>();
    let isUrgent = false;
    for (const [key, held] of all) {
      const isComparable = held.epoch !== undefined && held.epoch === epoch;
      isUrgent ||= !isComparable;
      known.set(
        key,
        Math.min(known.get(key) ?? Infinity, isComparable ? held.version : 0),
      );
    }
    return { known, epoch, isUrgent };
  }

  /**
   * Tells every subscription what the server has.
   *
   * @param asked Key → the version that was sent. A key that is not in `changed` has exactly this version.
   * @returns Whether a subscription has to fetch.
   */
  answer(
    asked: ReadonlyMap<string, number>,
    { epoch, changed }: Answer,
  ): boolean {
    let isNews = false;
    this.#epoch = epoch;
    for (const [key, version] of asked) {
      const followed = this.#keys.get(key);
      if (!followed) continue;
      const before = followed.told?.change;
      const change = changed.get(key) ??
        (before?.version === version ? before : unknownChange(key, version));
      followed.told = { epoch, change };
      for (const user of followed.users) {
        isNews = user.tell(epoch, change) || isNews;
      }
    }
    return isNews;
  }

  /** Ends the pauses after failed fetches. */
  retry(): void {
    for (const subscription of this.#all) subscription.retry();
  }

  /** Ends all subscriptions. */
  close(): void {
    for (const subscription of this.#all) subscription.stop();
  }

  #join(key: string, subscription: Subscription): void {
    const followed = this.#keys.get(key) ?? { users: new Set() };
    this.#keys.set(key, followed);
    followed.users.add(subscription);
    const { told } = followed;
    const { epoch, version } = subscription.held(key)!;
    // What is fetched from now on is not older than the last answer, so no request is needed to begin.
    if (told && told.epoch === this.#epoch && epoch === undefined) {
      subscription.tell(told.epoch, told.change);
    } else if (told?.epoch !== epoch || told?.change.version !== version) {
      this.#onKeys();
    }
  }

  #leave(key: string, subscription: Subscription): void {
    const { users } = this.#keys.get(key)!;
    users.delete(subscription);
    if (users.size > 0) return;
    this.#keys.delete(key);
    this.#onKeys();
  }
}

/** Describes a version that the server confirmed without sending the meta. */
function unknownChange(key: string, version: number): KeyChange {
  return {
    key,
    version,
    hash: "",
    updatedAt: 0,
    ...(version === 0 && { deleted: true }),
  };
}
