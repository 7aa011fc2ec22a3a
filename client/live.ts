/**
 * Data that is fetched again when it changes, as a store for user interfaces.
 *
 * @module
 */
import { parseStamp } from "./stamp.ts";
import { checkKeys, type Refetch, type Subscription } from "./subscription.ts";
import type { DataStamp, KeyChange } from "./types.ts";

/** After so many refused fetches, data is shown that is older than before, if the server says that it is the newest. */
const MAX_REFUSED = 3;

/** What a fetcher gets. */
export interface FetchContext {
  /** Aborts when the last subscriber ends, and after `refetchTimeout`. */
  readonly signal: AbortSignal;
  /** The keys that changed; empty the first time. */
  readonly changed: ReadonlyMap<string, KeyChange>;
}

/** The address of the data, or a function that fetches it: a `Response`, or the data itself. */
export type LiveSource = string | URL | ((context: FetchContext) => unknown);

/**
 * How the data is.
 *
 * | state | meaning |
 * | --- | --- |
 * | `loading` | there is no data yet |
 * | `live` | the data is the newest that the server told of |
 * | `updating` | newer data is being fetched |
 * | `retrying` | the last fetch failed, see `error`; it is repeated after a pause |
 */
export type LiveState = "loading" | "live" | "updating" | "retrying";

/** What a store holds. It is replaced by another object whenever something changes. */
export interface LiveSnapshot<T> {
  /** The data; `undefined` until it was fetched. */
  readonly data: T | undefined;
  /** Why the last fetch failed; `undefined` if it did not. */
  readonly error: unknown;
  /** How the data is. */
  readonly state: LiveState;
}

/** Options of {@linkcode RealityClient.live}. */
export interface LiveOptions<T> {
  /**
   * The keys that the data depends on. Without them they come from the field `Reality-Stamp` of each answer, which is
   * better: without a stamp, the first data is fetched twice, since a change may have come in between.
   */
  readonly keys?: readonly string[];
  /** Used in place of the client's `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  /** Reads a `Response`. @default {(response) => response.json()} */
  readonly parse?: (response: Response) => unknown;
  /** Makes the data of what was parsed, or of what the fetcher returned. */
  readonly select?: (value: never) => T;
  /** Finds the stamp inside of what was parsed, where the answer has no field for it. */
  readonly stamp?: (value: never) => DataStamp | undefined;
  /** Data that the page already has, for example from rendering on the server. It is not fetched again until it changes. */
  readonly initial?: {
    /** The data. */
    readonly data: T;
    /** Its stamp: the value of the field `Reality-Stamp`, or what `stamp.toJSON()` gave. Without it, data is fetched. */
    readonly stamp?: DataStamp | string;
  };
  /** Whether the data stays while newer data is fetched. @default {true} */
  readonly keepPrevious?: boolean;
}

/**
 * Data that stays current. Fits Svelte's store contract, React's `useSyncExternalStore`, Solid's `from` and Vue's
 * `shallowRef`. Methods may be passed unbound. Nothing is fetched or followed without a subscriber.
 */
export interface Live<T> {
  /**
   * Calls the listener with the snapshot now and whenever it changes.
   *
   * @param listener Is called with the snapshot.
   * @returns A function that ends it.
   */
  subscribe(listener: (snapshot: LiveSnapshot<T>) => void): () => void;
  /** The snapshot. It is the same object until something changes. */
  getSnapshot(): LiveSnapshot<T>;
  /** Fetches again, although no change is known. */
  refresh(): void;
}

/** What a live store needs of the client. */
export interface LiveDeps {
  readonly fetch: typeof globalThis.fetch;
  /** Adds a subscription. Throws if the client is closed. */
  add(refetch: Refetch): Subscription;
  onError(error: unknown): void;
}

/** Creates a store. */
export function createLive<T>(deps: LiveDeps, source: LiveSource, options: LiveOptions<T>): Live<T> {
  const { keys, initial, keepPrevious = true } = options;
  const listeners = new Set<(snapshot: LiveSnapshot<T>) => void>();
  let subscription: Subscription | undefined;
  /** The signal of the last fetch that began. */
  let last: AbortSignal | undefined;
  let shown = typeof initial?.stamp === "string" ? parseStamp(initial.stamp) : initial?.stamp;
  checkKeys(keys ?? Object.keys(shown?.versions ?? {}));
  let snapshot: LiveSnapshot<T> = {
    data: initial?.data,
    error: undefined,
    state: initial ? "live" : "loading",
  };

  const show = (next: Partial<LiveSnapshot<T>>) => {
    snapshot = { ...snapshot, ...next };
    for (const listener of [...listeners]) {
      try {
        listener(snapshot);
      } catch (error) {
        deps.onError(error);
      }
    }
  };

  const load = async (context: FetchContext): Promise<[data: T, stamp: DataStamp | undefined]> => {
    const answer = typeof source === "function"
      ? await source(context)
      : await (options.fetch ?? deps.fetch)(source, {
        signal: context.signal,
        // What a browser has cached may be older than what the server told.
        ...("document" in globalThis && { cache: "no-cache" as const }),
      });
    if (!isResponse(answer)) return [selectFrom(options, answer), options.stamp?.(answer as never)];
    if (!answer.ok) {
      void answer.body?.cancel().catch(() => {});
      throw Object.assign(new Error(`Cannot fetch: the application answered ${answer.status}`), {
        status: answer.status,
      });
    }
    const value = await (options.parse ?? ((response: Response) => response.json()))(answer);
    return [
      selectFrom(options, value),
      parseStamp(answer.headers.get("reality-stamp")) ?? options.stamp?.(value as never),
    ];
  };

  const refetch: Refetch = async (changed, signal) => {
    const own = subscription!;
    last = signal;
    show({
      state: snapshot.state === "loading" ? "loading" : "updating",
      ...(!keepPrevious && { data: undefined }),
    });
    try {
      const [data, stamp] = await load({ changed, signal });
      if (signal.aborted) throw signal.reason;
      const isBehind = stamp !== undefined && own.isBehind(stamp);
      if (stamp && shown && isOlder(stamp, shown, { isBehind, failures: own.failures })) {
        own.checkEpoch(stamp);
        throw new Error("Cannot show data: it is older than before");
      }
      // The keys of earlier data are followed until there is another stamp.
      own.setKeys(keys ?? (stamp ? Object.keys(stamp.versions) : own.held.keys()), stamp);
      shown = stamp;
      const error = keys || stamp ? undefined : new Error(
        "Cannot follow data: expected Reality-Stamp in the answer: server.stamp()",
      );
      if (error) deps.onError(error);
      show({ data, error, state: isBehind ? "updating" : "live" });
      return stamp;
    } catch (error) {
      // A fetcher may ignore its signal, and end long after it was given up.
      if (signal === last && !own.isStopped) {
        show({ error, state: snapshot.state === "loading" ? "loading" : "retrying" });
      }
      throw error;
    }
  };

  return {
    subscribe(listener) {
      const own = (next: LiveSnapshot<T>) => listener(next);
      if (!subscription) {
        subscription = deps.add(refetch);
        subscription.setKeys(keys ?? Object.keys(shown?.versions ?? {}), shown);
        // The last subscriber may have left in the middle of a fetch, or after one that failed.
        if (!shown || snapshot.state !== "live") subscription.force();
      }
      listeners.add(own);
      listener(snapshot);
      return () => {
        listeners.delete(own);
        if (listeners.size > 0) return;
        subscription?.stop();
        subscription = undefined;
      };
    },
    getSnapshot: () => snapshot,
    refresh() {
      subscription?.force();
    },
  };
}

function selectFrom<T>({ select }: LiveOptions<T>, value: unknown): T {
  return select ? select(value as never) : value as T;
}

/** Whether a fetcher returned a response. It may be one of another realm or library. */
function isResponse(value: unknown): value is Response {
  const { ok, headers } = Object(value);
  return typeof ok === "boolean" && typeof headers?.get === "function";
}

/**
 * Whether showing the data would go back, or would not get on.
 *
 * @param told Whether the data is older than what the server told, and how many fetches in a row were refused.
 */
function isOlder(
  stamp: DataStamp,
  shown: DataStamp,
  told: { readonly isBehind: boolean; readonly failures: number },
): boolean {
  const steps = Object.entries(stamp.versions).map(([key, version]) =>
    version - (shown.versions[key] ?? version)
  );
  const goesBack = steps.some((step) => step < 0);
  if (told.isBehind) return stamp.epoch !== shown.epoch || goesBack || !steps.some((step) => step > 0);
  // The server may have gone back itself, if a node was deleted or a backup was restored.
  const isDeleted = Object.values(stamp.versions).every((version, i) => steps[i]! >= 0 || version === 0);
  return stamp.epoch === shown.epoch && goesBack && !isDeleted && told.failures < MAX_REFUSED;
}
