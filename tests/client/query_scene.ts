/**
 * Queries of the real TanStack Query beside a real server and an application with data.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type * as QueryCore from "@tanstack/query-core";
import type * as QueryCore50 from "@tanstack/query-core-5.0";
import {
  followQueries,
  type FollowQueriesOptions,
  type QueryClientLike,
  stamped,
  type StampedData,
} from "../../client/tanstack_query.ts";
import type { ClientOptions, RealityClient } from "../../client/mod.ts";
import { Scene } from "./scene.ts";

/** The module under test beside `followQueries`, typed as its newest version. */
export type Core = typeof QueryCore;

/** The lowest and the highest version that `followQueries` supports. Another package manager may have installed neither. */
export const versions: readonly { readonly name: string; readonly core: Core }[] = await Promise.all(
  readdirSync("node_modules/.deno").filter((entry) => entry.startsWith("@tanstack+query-core@5.")).sort().map(
    async (entry) => {
      const path = join(
        "node_modules/.deno",
        entry,
        "node_modules/@tanstack/query-core/build/modern/index.js",
      );
      return {
        name: entry.replace("@tanstack+", ""),
        core: await import(pathToFileURL(resolve(path)).href) as Core,
      };
    },
  ),
);

// Checked by the compiler alone: a client of each version fits.
type Fits<T extends QueryClientLike> = T;
/** The types of the clients that fit. */
export type Clients = Fits<QueryCore.QueryClient> | Fits<QueryCore50.QueryClient>;

/** What the application says of one key: a number that grows with each change. */
export type Values = Record<string, number>;

/** The function under test. */
export type FollowQueries = typeof followQueries;

/** Options of the client, and a copy of the function under test. */
export interface SceneOptions extends Partial<ClientOptions> {
  readonly follow?: FollowQueries;
}

/** A scene with a query client. */
export class QueryScene extends Scene {
  readonly core: Core;
  readonly queryClient: QueryCore.QueryClient;
  readonly reality: RealityClient;
  /** The values that the application stores. */
  readonly values: Values = {};
  /** What was reported by `followQueries`. */
  readonly problems: unknown[] = [];
  /** The keys of each fetch. */
  readonly loads: string[] = [];
  readonly signals: AbortSignal[] = [];
  /** While it is set, fetches wait for it after they have read the data. */
  gate: Promise<unknown> | undefined;
  /** Whether fetches fail. */
  isDown = false;
  /** Gives the answers of a replica, while it lags. */
  replica: (() => Response) | undefined;
  readonly stop: () => void;
  readonly #ends: (() => void)[] = [];

  constructor(
    core: Core,
    options: FollowQueriesOptions = {},
    { follow = followQueries, ...clientOptions }: SceneOptions = {},
  ) {
    super();
    this.core = core;
    // Version 5.0 has no scheduler that can be replaced.
    core.notifyManager.setScheduler?.(queueMicrotask);
    this.queryClient = new core.QueryClient({
      defaultOptions: { queries: { retry: false, gcTime: Infinity } },
    });
    this.queryClient.mount();
    this.reality = this.client(clientOptions);
    this.stop = follow(this.queryClient, this.reality, {
      onError: (error) => this.problems.push(error),
      ...options,
    });
  }

  /** Changes the data of a key. */
  async set(key: string): Promise<void> {
    this.values[key] = (this.values[key] ?? 0) + 1;
    await this.server.invalidate(key);
  }

  /** Fetches the values of keys, as the application answers. */
  readonly load = async (keys: readonly string[], signal?: AbortSignal): Promise<Response> => {
    this.loads.push(keys.join());
    if (signal) this.signals.push(signal);
    if (this.isDown) throw new Error("The application is down");
    if (this.replica) {
      await this.gate;
      return this.replica().clone();
    }
    const response = await this.answer(keys);
    await this.gate;
    return response;
  };

  /** The answer of the application now: the stamp is made before the data is read. */
  async answer(keys: readonly string[]): Promise<Response> {
    const stamp = await this.server.stamp([...keys]);
    return stamp.json(Object.fromEntries(keys.map((key) => [key, this.values[key] ?? 0])));
  }

  /** A query whose answer is stamped. */
  stamped(keys: readonly string[] | (() => readonly string[]), name = `${keys}`): TestQuery {
    return {
      queryKey: ["stamped", name],
      queryFn: async ({ signal }: { signal: AbortSignal }): Promise<StampedData<Values>> =>
        await stamped<Values>(await this.load(typeof keys === "function" ? keys() : keys, signal)),
    };
  }

  /** A query that names its keys. */
  named(...keys: string[]): TestQuery {
    return {
      queryKey: ["named", ...keys],
      meta: { reality: keys },
      queryFn: async (): Promise<Values> => await (await this.load(keys)).json(),
    };
  }

  /** Shows a query, as a component does. An infinite query has pages. */
  show(options: object, isInfinite: boolean = false): Shown {
    const { QueryObserver, InfiniteQueryObserver } = this.core;
    const Observer = isInfinite ? InfiniteQueryObserver as unknown as typeof QueryObserver : QueryObserver;
    const observer = new Observer<unknown>(this.queryClient, options as never);
    const shown: Shown = {
      observer,
      hide: observer.subscribe(() => {}),
      fetchNextPage: () => (observer as unknown as QueryCore.InfiniteQueryObserver).fetchNextPage(),
      get data() {
        return observer.getCurrentQuery().state.data;
      },
    };
    this.#ends.push(shown.hide);
    return shown;
  }

  /** The keys that the last request asks for. */
  get asked(): string[] {
    return Object.keys(this.questions.at(-1) ?? {}).sort();
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    for (const end of this.#ends) end();
    this.queryClient.clear();
    this.queryClient.unmount();
    await super[Symbol.asyncDispose]();
    // Version 5.0 notifies observers after a timer.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The options of a query. */
export interface TestQuery {
  readonly queryKey: readonly unknown[];
  readonly queryFn: (context: { readonly signal: AbortSignal }) => Promise<unknown>;
  readonly meta?: Record<string, unknown>;
}

/** A query that is shown. */
export interface Shown {
  readonly observer: QueryCore.QueryObserver<unknown>;
  /** What the cache has. */
  readonly data: unknown;
  hide(): void;
  /** Only of an infinite query. */
  fetchNextPage(): Promise<unknown>;
}
