/**
 * Creates a client: subscriptions, and the rounds that ask the server for all of them.
 *
 * @module
 */
import { systemClock } from "./clock.ts";
import { browserPage } from "./page_state.ts";
import { Rounds } from "./rounds.ts";
import { Subscriptions } from "./subscriptions.ts";
import { createSyncTransport } from "./transport.ts";
import { createEventsTransport } from "./transport_events.ts";
import { createLive, type Live, type LiveDeps, type LiveOptions, type LiveSource } from "./live.ts";
import type { ClientOptions, ClientState, FollowClient } from "./types.ts";

/** A client of one server: {@linkcode FollowClient} with live stores. */
export interface RealityClient extends FollowClient {
  /**
   * Fetches data and keeps it current. Which keys it depends on is in the field `Reality-Stamp` of the answer, which
   * `server.stamp()` makes.
   *
   * ```ts
   * import { createClient } from "@rootlodge/reality-server/client";
   *
   * using reality = createClient({ url: "https://example.org/reality" });
   * const messages = reality.live<string[]>("https://example.org/api/messages");
   * console.assert(messages.getSnapshot().state === "loading");
   * ```
   *
   * @param source The address of the data, or a function that fetches it.
   * @param options How to fetch and read it, and what is there already.
   * @returns A store. It fetches when it has a subscriber.
   */
  live<T = unknown>(source: LiveSource, options?: LiveOptions<T>): Live<T>;
}

/** The options that are numbers: their defaults, and the least value. */
const NUMBERS = {
  wait: [20_000, 0],
  pollInterval: [5_000, 1],
  minInterval: [100, 1],
  timeout: [10_000, 1],
  refetchTimeout: [30_000, 1],
  maxKeys: [1_000, 1],
} as const;

/** The other options. */
const NAMES = "url transport headers fetch signal onUnauthorized onError clock page".split(
  " ",
);

/**
 * Creates a client of a Reality server. It asks nothing until keys are followed, and has to be closed only where it should
 * end before the page does.
 *
 * ```ts
 * import { createClient } from "@rootlodge/reality-server/client";
 *
 * const reality = createClient({ url: "https://example.org/reality" });
 * const stop = reality.follow(["chat:general"], (changed) => console.log("fetch again", [...changed.keys()]));
 * stop();
 * reality.close();
 * ```
 *
 * @param options Only `url` is required.
 * @returns The client.
 * @throws {TypeError} If an option is unknown or has the wrong type.
 * @throws {RangeError} If a number is too low.
 */
export function createClient(options: ClientOptions): RealityClient {
  const { client, deps } = createCore(options);
  return Object.assign(client, {
    live: ((source, liveOptions = {}) =>
      createLive(deps, source, liveOptions)) satisfies RealityClient["live"],
  });
}

/**
 * Creates a client without {@linkcode RealityClient.live}, for pages that have a query cache: it is a smaller module.
 *
 * ```ts
 * import { createFollowClient } from "@rootlodge/reality-server/client";
 *
 * const reality = createFollowClient({ url: "https://example.org/reality" });
 * reality.close();
 * ```
 *
 * @param options Only `url` is required.
 * @returns The client.
 * @throws {TypeError} If an option is unknown or has the wrong type.
 * @throws {RangeError} If a number is too low.
 */
export function createFollowClient(options: ClientOptions): FollowClient {
  return createCore(options).client;
}

/** Creates a client, and what live stores need of it. */
function createCore(options: ClientOptions): { readonly client: FollowClient; readonly deps: LiveDeps } {
  const numbers = checkOptions(options);
  const {
    transport = "wait",
    clock = systemClock,
    page = browserPage(),
    signal,
    onUnauthorized,
  } = options;
  const listeners = new Set<(state: ClientState) => void>();
  let state: ClientState = "idle";
  const onError = (error: unknown) => {
    // An error of the application's own function must not stop the client.
    queueMicrotask(() => (options.onError ?? console.warn)(error));
  };
  const onState = (next: ClientState) => {
    if (next === state || state === "closed") return;
    state = next;
    for (const listener of [...listeners]) {
      try {
        listener(state);
      } catch (error) {
        onError(error);
      }
    }
  };

  const config = {
    ...numbers,
    url: `${options.url}`.replace(/\/+$/, ""),
    headers: options.headers,
    // Browsers refuse to call it as a method of another object.
    fetch: options.fetch ??
      ((input: RequestInfo | URL, init?: RequestInit) => globalThis.fetch(input, init)),
    clock,
  };
  const subscriptions: Subscriptions = new Subscriptions({
    clock,
    timeout: numbers.refetchTimeout,
    isResting: () => page.current !== "active",
    recheck: () => rounds.restart(),
    onError,
  }, () => rounds.restart());
  const askOnce = createSyncTransport(config);
  const rounds: Rounds = new Rounds({
    ...numbers,
    clock,
    page,
    subscriptions,
    transport: transport === "events" ? createEventsTransport(config, askOnce) : askOnce,
    wait: transport === "poll" ? 0 : numbers.wait,
    isStream: transport === "events",
    onState,
    onError,
    onUnauthorized: (status) => onUnauthorized?.(status),
  });

  const close = () => {
    signal?.removeEventListener("abort", close);
    onState("closed");
    subscriptions.close();
    rounds.close();
    listeners.clear();
  };
  signal?.addEventListener("abort", close);
  if (signal?.aborted) close();

  const add: LiveDeps["add"] = (refetch) => {
    if (state === "closed") throw new TypeError("Cannot follow keys: the client is closed");
    return subscriptions.add(refetch);
  };
  const client: FollowClient = {
    get state() {
      return state;
    },
    subscribe(listener) {
      // A function may be passed twice, and each time ends by itself.
      const own = (next: ClientState) => listener(next);
      listeners.add(own);
      listener(state);
      return () => {
        listeners.delete(own);
      };
    },
    follow(keys, listener, { initial } = {}) {
      const subscription = add((changed, signal) => listener(changed, { signal }));
      subscription.setKeys(keys, initial);
      return () => subscription.stop();
    },
    nudge() {
      if (state === "closed") return;
      subscriptions.retry();
      rounds.nudge();
    },
    close,
    [Symbol.dispose]: close,
  };
  return { client, deps: { fetch: config.fetch, add, onError } };
}

/** Checks the options. Returns the numbers, with defaults filled in. */
function checkOptions(
  options: ClientOptions,
): Record<keyof typeof NUMBERS, number> {
  const numbers = {} as Record<keyof typeof NUMBERS, number>;
  for (
    const [name, [byDefault, least]] of Object.entries(NUMBERS) as [
      keyof typeof NUMBERS,
      readonly number[],
    ][]
  ) {
    const value = numbers[name] = options[name] ?? byDefault!;
    // Timers cannot be longer.
    if (!(value >= least! && value < 2 ** 30)) {
      throw new RangeError(`Cannot use ${name}: expected at least ${least}`);
    }
  }
  for (const name of Object.keys(options)) {
    if (!(name in NUMBERS) && !NAMES.includes(name)) {
      throw new TypeError(`Cannot use ${name}: no such option`);
    }
  }
  if (!options.url) {
    throw new TypeError("Cannot use url: expected the base path of the server");
  }
  if (!["wait", "poll", "events"].includes(options.transport ?? "wait")) {
    throw new TypeError(
      'Cannot use transport: expected "wait", "poll" or "events"',
    );
  }
  return numbers;
}
