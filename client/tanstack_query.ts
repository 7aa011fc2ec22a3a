/**
 * Keeps the queries of TanStack Query current. It works for React, Vue, Svelte and Solid alike, since they share one core.
 *
 * ```ts
 * import { createFollowClient } from "@rootlodge/reality-server/client";
 * import { followQueries } from "@rootlodge/reality-server/tanstack-query";
 * import { QueryClient } from "@tanstack/query-core";
 *
 * const queryClient = new QueryClient();
 * const reality = createFollowClient({ url: "https://example.org/reality" });
 * const stop = followQueries(queryClient, reality);
 * stop();
 * reality.close();
 * ```
 *
 * @module
 */
import { joinVersions, parseStamp } from "./stamp.ts";
import type { DataStamp, FollowClient, FollowListener } from "./types.ts";

/**
 * What a query depends on: its keys, or the stamp of its data. `undefined` if the query names neither.
 *
 * ```ts
 * import type { QuerySource } from "@rootlodge/reality-server/tanstack-query";
 *
 * const source: QuerySource = ["chat:general"];
 * console.assert(source.length === 1);
 * ```
 */
export type QuerySource = readonly string[] | DataStamp | undefined;

/** The part of a `Query` of TanStack Query that {@linkcode followQueries} uses. */
export interface FollowedQuery {
  /** The key of the query. */
  readonly queryKey: readonly unknown[];
  /** The key of the query as text. */
  readonly queryHash: string;
  /** What the application says about the query. `meta.reality` is a {@linkcode QuerySource} or a function that returns one. */
  readonly meta: Readonly<Record<string, unknown>> | undefined;
  /** The data, and whether it is being fetched. */
  readonly state: { readonly data: unknown; readonly fetchStatus: "fetching" | "paused" | "idle" };
  /** Whether an enabled component shows the query. */
  isActive(): boolean;
  /** Marks the data as old. */
  invalidate(): void;
  /** Fetches, or returns the fetch that runs. */
  fetch(): Promise<unknown>;
  /** Ends the fetch that runs. */
  cancel(options: { readonly revert: boolean }): Promise<unknown>;
}

/** What the cache tells about a query. */
export interface QueryCacheEvent {
  /** What happened, such as `observerAdded`. */
  readonly type: string;
  /** The query. */
  readonly query: FollowedQuery;
  /** How the state of the query changed, if it did. `manual` stands for data that was not fetched. */
  readonly action?: { readonly type: string; readonly manual?: boolean };
}

/** The part of a `QueryClient` that {@linkcode followQueries} uses. Every version 5 fits. */
export interface QueryClientLike {
  /** The cache with all queries. */
  getQueryCache(): {
    getAll(): readonly FollowedQuery[];
    get(queryHash: string): FollowedQuery | undefined;
    subscribe(listener: (event: QueryCacheEvent) => void): () => void;
  };
}

/** Options of {@linkcode followQueries}. */
export interface FollowQueriesOptions {
  /**
   * Names the keys of queries that have neither `meta.reality` nor stamped data, for example made from `queryKey`.
   *
   * ```ts
   * import { createFollowClient } from "@rootlodge/reality-server/client";
   * import { followQueries } from "@rootlodge/reality-server/tanstack-query";
   * import { QueryClient } from "@tanstack/query-core";
   *
   * using reality = createFollowClient({ url: "https://example.org/reality" });
   * const keys = (query: { readonly queryKey: readonly unknown[] }) => [query.queryKey.join(":")];
   * const stop = followQueries(new QueryClient(), reality, { keys });
   * stop();
   * ```
   */
  readonly keys?: (query: FollowedQuery) => QuerySource;
  /** Called when a query cannot be followed, for example since its answer has no stamp. @default {console.warn} */
  readonly onError?: (error: unknown) => void;
}

/**
 * Data with its stamp, as {@linkcode stamped} returns it.
 *
 * ```ts
 * import type { StampedData } from "@rootlodge/reality-server/tanstack-query";
 *
 * const page: StampedData<string[]> = { data: ["hello"], stamp: { epoch: "e", versions: { "chat:general": 6 } } };
 * console.assert(page.data.length === 1);
 * ```
 */
export interface StampedData<T> {
  /** The data. */
  readonly data: T;
  /** Its stamp; `null` if the answer had none. */
  readonly stamp: DataStamp | null;
}

/**
 * Reads a response of the application: its JSON, and the stamp of the field `Reality-Stamp`. The stamp stays with the data in the
 * cache of queries. `select: ({ data }) => data` gives components the data alone.
 *
 * ```ts
 * import { stamped } from "@rootlodge/reality-server/tanstack-query";
 *
 * const headers = { "reality-stamp": 'epoch="e", keys=("chat:general";v="6")' };
 * const { data, stamp } = await stamped<string[]>(Response.json(["hello"], { headers }));
 * console.assert(data.length === 1 && stamp?.versions["chat:general"] === 6);
 * ```
 *
 * @param response The answer to a request of the query.
 * @returns The data and its stamp.
 * @throws {Error} If the status is not 200 to 299. The error has the `status`.
 */
export async function stamped<T = unknown>(response: Response): Promise<StampedData<T>> {
  if (!response.ok) {
    void response.body?.cancel().catch(() => {});
    throw Object.assign(new Error(`Cannot fetch: the application answered ${response.status}`), {
      status: response.status,
    });
  }
  return { data: await response.json(), stamp: parseStamp(response.headers.get("reality-stamp")) ?? null };
}

/** A query that is followed. */
interface Followed {
  /** What the query depends on, by its data now. */
  source: readonly string[] | DataStamp;
  /** Aborts when the fetch that a change caused takes too long, or is not wanted any more. */
  running: AbortSignal | undefined;
  stop(): void;
}

/**
 * Fetches active queries again when the keys change that they depend on. A query is active while an enabled component shows it.
 * What a query depends on is, in this order:
 *
 * 1. `meta.reality`: keys, or a function of the query that returns keys or a stamp;
 * 2. the stamp of its data: `{ data, stamp }`, as {@linkcode stamped} returns it, or such pages of an infinite query;
 * 3. what the option `keys` returns.
 *
 * Data that names nothing is followed by the keys of the data before it, as long as the query is active.
 *
 * Data with a stamp is fetched again only if a key has another version than the stamp. Data without a stamp is fetched again
 * whenever the query becomes active, since a change may have come before. A fetch that began before a change is followed by
 * another one. A fetch that fails is repeated after a growing pause.
 *
 * ```ts
 * import { createFollowClient } from "@rootlodge/reality-server/client";
 * import { followQueries, stamped } from "@rootlodge/reality-server/tanstack-query";
 * import { QueryClient, QueryObserver } from "@tanstack/query-core";
 *
 * using reality = createFollowClient({ url: "https://example.org/reality" });
 * const queryClient = new QueryClient();
 * const stop = followQueries(queryClient, reality);
 * const messages = new QueryObserver(queryClient, {
 *   queryKey: ["messages"],
 *   queryFn: async ({ signal }) =>
 *     await stamped<string[]>(await fetch("https://example.org/api/messages", { signal })),
 *   select: ({ data }) => data,
 * });
 * console.assert(messages.getCurrentResult().status === "pending");
 * stop();
 * ```
 *
 * @param queryClient The `QueryClient` of the application.
 * @param reality The client that follows the keys.
 * @param options Keys for all queries, and where errors go.
 * @returns A function that ends it.
 */
export function followQueries(
  queryClient: QueryClientLike,
  reality: FollowClient,
  options: FollowQueriesOptions = {},
): () => void {
  const { keys, onError = console.warn } = options;
  const cache = queryClient.getQueryCache();
  const followed = new Map<FollowedQuery, Followed>();
  /** How many fetches of a query have succeeded. */
  const fetches = new WeakMap<FollowedQuery, number>();
  /** Data that was reported to have no stamp. */
  const reported = new WeakSet<object>();
  const touched = new Set<FollowedQuery>();

  const sourceOf = (query: FollowedQuery): QuerySource => {
    const { data } = query.state;
    const named = query.meta?.["reality"];
    const own: unknown = typeof named === "function" ? named(query) : named;
    if (Array.isArray(own) || isStamp(own)) return own;
    if (own) {
      throw new TypeError(
        `Cannot use meta.reality of the query ${query.queryHash}: expected an array of keys`,
      );
    }
    const stamps = stampsIn(data);
    if (stamps.includes(null) && !reported.has(data as object)) {
      reported.add(data as object);
      onError(new Error(`Cannot follow the query ${query.queryHash}: expected Reality-Stamp in the answer`));
    }
    const parts = stamps.filter((stamp) => stamp !== null);
    return joinVersions(
      parts.map(({ epoch }) => epoch),
      parts.flatMap(({ versions }) => Object.entries(versions)),
    ) ?? keys?.(query);
  };

  /** Begins or ends to follow a query, or follows what its data depends on now. */
  const update = (query: FollowedQuery): void => {
    const isActive = cache.get(query.queryHash) === query && query.isActive();
    const before = followed.get(query);
    // Data that names no keys, after data that did, is followed by the same keys.
    const source = isActive ? sourceOf(query) ?? before?.source : undefined;
    // The listener that fetches compares the source at its end.
    if (source && before?.running?.aborted === false) return;
    if (before && JSON.stringify(before.source) === JSON.stringify(source)) return;
    before?.stop();
    followed.delete(query);
    if (source) followed.set(query, follow(query, source));
  };

  const follow = (query: FollowedQuery, source: readonly string[] | DataStamp): Followed => {
    let isStopped = false;
    const refetch: FollowListener = async (_, { signal }) => {
      own.running = signal;
      signal.addEventListener("abort", () => {
        // A fetch that never ends would block all later ones.
        if (isStopped || reality.state === "closed" || query.state.fetchStatus !== "fetching") return;
        void query.cancel({ revert: true });
      });
      try {
        query.invalidate();
        if (query.state.fetchStatus === "fetching") {
          // This fetch may have read the data before the change. A fetch that is paused has not.
          await query.fetch().catch(() => {});
          if (signal.aborted) return;
          query.invalidate();
        }
        const before = fetches.get(query);
        await query.fetch();
        // A fetch that was cancelled settles with the data from before.
        if (fetches.get(query) === before) {
          throw new Error(`Cannot fetch the query ${query.queryHash}: the fetch was cancelled`);
        }
      } finally {
        if (own.running === signal) own.running = undefined;
      }
      if (signal.aborted) return;
      const next = sourceOf(query);
      if (isStamp(next) && isStamp(own.source) && haveSameKeys(next, own.source)) {
        own.source = next;
        return next;
      }
      update(query);
    };
    const end = isStamp(source)
      ? reality.follow(Object.keys(source.versions), refetch, { initial: source })
      : reality.follow(source, refetch);
    const own: Followed = {
      source,
      running: undefined,
      stop() {
        isStopped = true;
        end();
      },
    };
    return own;
  };

  const stop = (): void => {
    unsubscribe();
    touched.clear();
    for (const { stop } of followed.values()) stop();
    followed.clear();
  };

  /** Looks at a query after the current task, when a component that replaces another one has been mounted. */
  const touch = (query: FollowedQuery): void => {
    if (touched.size === 0) {
      queueMicrotask(() => {
        if (reality.state === "closed") stop();
        for (const query of touched) {
          touched.delete(query);
          try {
            update(query);
          } catch (error) {
            onError(error);
          }
        }
      });
    }
    touched.add(query);
  };

  const unsubscribe = cache.subscribe(({ query, action }) => {
    if (action?.type === "success" && !action.manual) fetches.set(query, (fetches.get(query) ?? 0) + 1);
    touch(query);
  });
  for (const query of cache.getAll()) touch(query);
  return stop;
}

/** The stamps of data, or of the pages of an infinite query. `null` stands for an answer without a stamp. */
function stampsIn(data: unknown): (DataStamp | null)[] {
  const { pages } = Object(data);
  const parts: unknown[] = Array.isArray(pages) ? [data, ...pages] : [data];
  return parts.map(Object).filter((part) => isStamp(part.stamp) || (part.stamp === null && "data" in part))
    .map(({ stamp }) => stamp);
}

function isStamp(value: unknown): value is DataStamp {
  const { epoch, versions } = Object(value);
  return typeof epoch === "string" && Object(versions) === versions;
}

function haveSameKeys(a: DataStamp, b: DataStamp): boolean {
  const keys = Object.keys(a.versions);
  return keys.length === Object.keys(b.versions).length &&
    keys.every((key) => Object.hasOwn(b.versions, key));
}
