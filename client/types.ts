/**
 * The shapes that the client and the application exchange.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";
import type { PageState } from "./page_state.ts";

/**
 * What the server says about a key that changed: its version, hash and time, or its deletion.
 *
 * ```ts
 * import type { KeyChange } from "@rootlodge/reality-server/client";
 *
 * const change: KeyChange = { key: "chat:general", version: 6, hash: "abc123", updatedAt: 1699876543210 };
 * console.assert(change.deleted === undefined);
 * ```
 */
export interface KeyChange {
  /** The key, as the application wrote it. */
  readonly key: string;
  /** The version of the node; 0 beside `deleted`. */
  readonly version: number;
  /** The application's fingerprint of the state; empty where the server did not say it. */
  readonly hash: string;
  /** The time of the change in milliseconds since 1970, by the clock of the server; 0 where it is not known. */
  readonly updatedAt: number;
  /** Present and `true` if the server has no such node. */
  readonly deleted?: true;
}

/**
 * The versions that fetched data stands for. The server read them before it read the data.
 *
 * ```ts
 * import type { DataStamp } from "@rootlodge/reality-server/client";
 *
 * const stamp: DataStamp = { epoch: "0lqx1k2p3-x1y2z3w4", versions: { "chat:general": 6 } };
 * console.assert(stamp.versions["chat:general"] === 6);
 * ```
 */
export interface DataStamp {
  /** The epoch of the versions. */
  readonly epoch: string;
  /** Key → version; 0 for a key without a node. */
  readonly versions: Readonly<Record<string, number>>;
}

/**
 * Fetches again what depends on the changed keys, or tells a query cache to do so.
 *
 * The client calls it once for each key whose version it does not know yet, and then for each change. A returned promise
 * is the fetch: until it settles, further changes are collected, and told in one call afterwards. If it rejects, the same
 * keys are told again after a growing pause. If it resolves to a {@linkcode DataStamp}, the client compares the stamp
 * with what the server told: where the data is older, the keys are told again after a growing pause.
 *
 * ```ts
 * import type { FollowListener } from "@rootlodge/reality-server/client";
 *
 * const listener: FollowListener = async (changed, { signal }) => {
 *   for (const key of changed.keys()) await fetch(`https://example.org/data/${key}`, { signal });
 * };
 * console.assert(listener.length === 2);
 * ```
 *
 * @param changed The keys that changed, with what the server says about them.
 * @param context Has the `signal` of the fetch.
 * @returns Nothing, or the fetch.
 */
export type FollowListener = (
  changed: ReadonlyMap<string, KeyChange>,
  context: FollowContext,
) => unknown;

/** What a listener gets beside the changes. */
export interface FollowContext {
  /** Aborts when the subscription or the client ends, and after `refetchTimeout`. */
  readonly signal: AbortSignal;
}

/** Options of {@linkcode FollowClient.follow}. */
export interface FollowOptions {
  /**
   * The versions of the data that the page already shows. The listener is not called until one of them changes.
   *
   * ```ts
   * import { createClient } from "@rootlodge/reality-server/client";
   *
   * using reality = createClient({ url: "https://example.org/reality" });
   * const initial = { epoch: "0lqx1k2p3-x1y2z3w4", versions: { "chat:general": 6 } };
   * const stop = reality.follow(["chat:general"], (changed) => console.log([...changed.keys()]), { initial });
   * stop();
   * ```
   */
  readonly initial?: DataStamp;
}

/**
 * How the connection to the server is, for a status light.
 *
 * | state | meaning |
 * | --- | --- |
 * | `idle` | no key is followed, so nothing is asked |
 * | `connecting` | the first request, or the first after a rest, is not answered yet |
 * | `live` | the server answers: changes arrive |
 * | `retrying` | the last request failed; the client asks again after a pause |
 * | `offline` | the browser says that it has no network |
 * | `hidden` | the page is hidden and rests |
 * | `unauthorized` | the server answered 401 or 403; {@linkcode FollowClient.nudge} asks again |
 * | `closed` | the client was closed |
 */
export type ClientState =
  | "idle"
  | "connecting"
  | "live"
  | "retrying"
  | "offline"
  | "hidden"
  | "unauthorized"
  | "closed";

/** How the client learns about changes. */
export type TransportName = "wait" | "poll" | "events";

/** Options of {@linkcode createClient}. Only `url` is required. */
export interface ClientOptions {
  /** The base path of the server, such as `/reality`, or its whole URL. Outside of browsers it must be a whole URL. */
  readonly url: string | URL;
  /**
   * How the client learns about changes: `wait` sends requests that the server answers when something changes, `poll` asks
   * at an interval, `events` keeps a stream of server-sent events open.
   *
   * @default {"wait"}
   */
  readonly transport?: TransportName;
  /**
   * Headers of each request, or a function that is called before each request, for tokens that expire. It may be
   * asynchronous.
   */
  // `HeadersInit` is not global in the types of Node.
  readonly headers?:
    | RequestInit["headers"]
    | (() => RequestInit["headers"] | Promise<RequestInit["headers"]>);
  /** Used in place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal;
  /** The time that the server may hold a request, in milliseconds. Lower values send more requests. @default {20_000} */
  readonly wait?: number;
  /** The time between two requests of `transport: "poll"`, in milliseconds, give or take a tenth. @default {5_000} */
  readonly pollInterval?: number;
  /** The least time between two requests, whatever the server answers, in milliseconds. @default {100} */
  readonly minInterval?: number;
  /** The time for an answer beyond `wait`, in milliseconds. A request that takes longer has failed. @default {10_000} */
  readonly timeout?: number;
  /** The time for the promise of a listener to settle, in milliseconds. Later it has failed. @default {30_000} */
  readonly refetchTimeout?: number;
  /**
   * The longest delay between a change and the fetch that it causes, in milliseconds. Each delay is random, between 0 and
   * this, so that many clients do not fetch from the application at the same moment. Further changes within the delay
   * cause no fetch of their own. Nothing is delayed within 5 seconds after a subscription begins,
   * {@linkcode FollowClient.nudge}, and the return of a page that was hidden or offline.
   *
   * @default {0}
   */
  readonly refetchJitter?: number;
  /** The most keys in one request; more are split. Must not be above `maxKeys` of the server. @default {1_000} */
  readonly maxKeys?: number;
  /**
   * Whether all followed keys are `public` on the server. Then the client asks by `GET`, without cookies and `headers`, and
   * HTTP caches between it and the server may answer. Where a cache may be wrong it asks by `POST` for about a minute.
   *
   * @default {false}
   */
  readonly public?: boolean;
  /**
   * Whether the tabs of a browser share one waiting request. Tabs share if they have the same `url` and `public`, and all
   * of them get what one of them may read. So a string must name the user where requests do not have the same cookies, but
   * `headers` or a `fetch` of their own.
   *
   * @default `true` without `headers` and `fetch`, else `false`
   */
  readonly tabs?: boolean | string;
  /**
   * Called when the server answers 401 or 403. The client then sends nothing until {@linkcode FollowClient.nudge} is
   * called, or until the returned promise resolves to `true`: for example after a token was renewed.
   */
  readonly onUnauthorized?: (status: number) => unknown;
  /**
   * Called when a request or a listener fails: the client tries again by itself. Also called once for each key that the
   * server refuses because no group has it; the error has the `key`.
   */
  readonly onError?: (error: unknown) => void;
  /** Time, timers and random numbers, for tests. */
  readonly clock?: ClientClock;
  /** Whether the page is visible and online, for tests and for hosts without a `document`. */
  readonly page?: PageState;
}

/** A client of one server, without live stores. All of its subscriptions share one request. */
export interface FollowClient extends Disposable {
  /** How the connection is. */
  readonly state: ClientState;
  /**
   * Calls the listener with the state now and whenever it changes. Fits Svelte's store contract and React's
   * `useSyncExternalStore`. May be passed unbound.
   *
   * @param listener Is called with the state.
   * @returns A function that ends it.
   */
  subscribe(listener: (state: ClientState) => void): () => void;
  /**
   * Follows keys: calls the listener when data that depends on them must be fetched again.
   *
   * A key whose version is not known yet is told as soon as the server has answered, since data that was fetched before
   * may be older. Pass `initial` if the versions are known.
   *
   * ```ts
   * import { createClient } from "@rootlodge/reality-server/client";
   *
   * using reality = createClient({ url: "https://example.org/reality" });
   * const stop = reality.follow(["chat:general"], async (changed, { signal }) => {
   *   for (const key of changed.keys()) await fetch(`https://example.org/data/${key}`, { signal });
   * });
   * stop();
   * ```
   *
   * @param keys The keys. An empty list asks nothing.
   * @param listener Fetches again. See {@linkcode FollowListener}.
   * @param options The versions that are known already.
   * @returns A function that ends it.
   * @throws {TypeError} If the client is closed, or `keys` is a string.
   * @throws {RangeError} If a key is empty, longer than 512 bytes of UTF-8, or has control characters.
   */
  follow(
    keys: Iterable<string>,
    listener: FollowListener,
    options?: FollowOptions,
  ): () => void;
  /**
   * Asks the server at once, for example after the page's own write. Also ends the pause after a failure and after 401.
   * A pause that the server asked for is kept. Changes that are told before, or within 5 seconds, are not delayed by
   * {@linkcode ClientOptions.refetchJitter}.
   */
  nudge(): void;
  /** Ends all subscriptions and requests. No listener is called afterwards. May be called again. */
  close(): void;
}
