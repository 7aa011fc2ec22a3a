/**
 * Creates a client: subscriptions, and the rounds that ask the server for all of them.
 *
 * @module
 */
import { systemClock } from "./clock.ts";
import { browserPage } from "./page_state.ts";
import { Rounds } from "./rounds.ts";
import { Subscriptions } from "./subscriptions.ts";
import { createSyncTransport, type Transport } from "./transport.ts";
import { createLive, type Live, type LiveDeps, type LiveOptions, type LiveSource } from "./live.ts";
import type { Sharing } from "./tabs.ts";
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
   * @throws {TypeError} If `keys` is a string.
   * @throws {RangeError} If a key is empty, longer than 512 bytes of UTF-8, or has control characters.
   */
  live<T = unknown>(source: LiveSource, options?: LiveOptions<T>): Live<T>;
}

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
  const {
    url,
    transport = "wait",
    headers,
    fetch = callFetch,
    signal,
    wait = 20_000,
    pollInterval = 5_000,
    minInterval = 100,
    timeout = 10_000,
    refetchTimeout = 30_000,
    refetchJitter = 0,
    maxKeys = 1_000,
    public: isPublic = false,
    tabs = !headers && fetch === callFetch,
    onUnauthorized = () => {},
    onError: report = console.warn,
    clock = systemClock,
    page = browserPage(),
    ...unknown
  } = Object(options) as ClientOptions;
  if (!url) throw new TypeError('Cannot use url: write createClient({ url: "/reality" })');
  for (const name in unknown) throw new TypeError(`Unknown option "${name}"`);
  if (!["wait", "poll", "events"].includes(transport)) {
    throw new TypeError('Cannot use transport: expected "wait", "poll" or "events"');
  }
  const numbers = { wait, pollInterval, minInterval, timeout, refetchTimeout, maxKeys };
  for (const [name, value] of Object.entries({ ...numbers, refetchJitter })) {
    const least = name === "refetchJitter" ? 0 : 1;
    // Timers cannot be longer than that.
    if (!(value >= least && value < 2 ** 30)) {
      throw new RangeError(`Cannot use ${name}: expected at least ${least}`);
    }
  }

  const listeners = new Set<(state: ClientState) => void>();
  let state: ClientState = "idle";
  let sharing: Promise<Sharing | undefined> | undefined;
  // An error of the application's own function must not stop the client.
  const onError = (error: unknown) => queueMicrotask(() => report(error));
  const onState = (next: ClientState) => {
    if (next === state || state === "closed") return;
    state = next;
    if (!ACTIVE.includes(next)) void sharing?.then((other) => other?.leave());
    for (const listener of [...listeners]) {
      try {
        listener(state);
      } catch (error) {
        onError(error);
      }
    }
  };

  // On another page of the origin the same relative address can name another server. The two must not share.
  const base = globalThis.document?.baseURI;
  const config = {
    url: `${base ? new URL(url, base) : url}`.replace(/\/+$/, ""),
    headers,
    fetch,
    clock,
    onError,
    ...numbers,
  };
  const subscriptions: Subscriptions = new Subscriptions({
    ...config,
    timeout: refetchTimeout,
    isResting: () => page.current !== "active",
    recheck: () => rounds.recheck(),
  }, () => rounds.restart());
  const askByPost = createSyncTransport(config);
  // Pages that do not use caches or streams do not load their code.
  const cached = isPublic &&
    import("./transport_get.ts").then(({ createGetTransport }) => createGetTransport(config))
      .catch(() => {});
  const askOnce: Transport = cached
    ? async (question, round) => (await cached || askByPost)(question, round)
    : askByPost;
  const readEvents: Transport = async (question, round) => {
    const events = await import("./transport_events.ts").catch(() => {});
    // The file of a page that was loaded before a deployment may be gone.
    const read = events?.createEventsTransport(config, askOnce, askByPost) ?? askOnce;
    return await read(question, round);
  };
  const isStream = transport === "events";
  const ask = isStream ? readEvents : askOnce;
  const askWithTabs: Transport = async (question, round) => {
    if (!round.wait && !sharing) return await askOnce(question, round);
    sharing ??= import("./tabs.ts").then(({ shareWithTabs }) =>
      shareWithTabs({
        ...config,
        tabs: page.tabs!,
        name: `reality 1 ${config.url} ${tabs} ${isPublic}`,
        subscriptions,
        askOnce,
        transport: ask,
      })
    ).catch(() => undefined);
    return await ((await sharing)?.transport ?? ask)(question, round);
  };
  const rounds: Rounds = new Rounds({
    ...config,
    page,
    subscriptions,
    transport: tabs && page.tabs ? askWithTabs : ask,
    wait: transport === "poll" ? 0 : wait,
    isStream,
    onState,
    onUnauthorized,
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
    return subscriptions.add(refetch, refetchJitter);
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
  return { client, deps: { ...config, add } };
}

/** The states in which the client asks the server. */
const ACTIVE: readonly ClientState[] = ["connecting", "live", "retrying"];

/** Looks `fetch` up at each call: the application may replace it later. */
const callFetch: typeof globalThis.fetch = (input, init) => globalThis.fetch(input, init);
