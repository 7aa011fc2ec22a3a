/**
 * One route, and what routes need of the server.
 *
 * @module
 */
import type { WriteRequest } from "../access.ts";
import type { Hooks } from "../hooks.ts";
import type { BodyBudget } from "../limits/body_budget.ts";
import type { ClientLimit, Locatable } from "../limits/client_limit.ts";
import type { ConcurrencyLimit } from "../limits/concurrency.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { Limits } from "../server_limits.ts";
import type { ReadyState } from "../readiness.ts";
import type { RouteName } from "../telemetry/metrics.ts";
import type { MetricsView } from "../telemetry/prometheus.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { NodeUpdate, RealityNodeMeta, SSEOptions, SyncResponse } from "../types.ts";
import type { IncomingRequest, Reply, ResponseBudget } from "./exchange.ts";

/** What the server needs of a request. */
export type RequestSource =
  & Pick<IncomingRequest, "getSignal" | "toRequest" | "getContext">
  & Locatable;

/** What the routes need of the server. */
export interface HandlerDeps {
  readonly limits: Limits;
  /** Whether `close()` was called. Then new requests are refused. */
  readonly isClosing: boolean;
  /** Answers a sync request, or refuses it if its shape is wrong. */
  sync(body: unknown, client: RequestSource, record: RequestRecord): MaybePromise<SyncResponse>;
  /** Opens an event stream. The client's signal ends it where a runtime does not cancel the stream. */
  events(
    options: SSEOptions,
    lastEventId: string | null,
    client: RequestSource,
    record: RequestRecord,
  ): MaybePromise<ReadableStream<Uint8Array>>;
  update(updates: readonly NodeUpdate[]): Promise<RealityNodeMeta[]>;
  invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]>;
  delete(key: string): Promise<void>;
  epoch(): Promise<string>;
  readonly access: {
    hasToken(request: WriteRequest): Promise<boolean>;
    ask(request: WriteRequest, keys: readonly string[]): Promise<void>;
  };
  readonly concurrency: Pick<ConcurrencyLimit, "enter" | "leave">;
  readonly hooks: Pick<Hooks, "call">;
  /** Limits how often each client may send requests; undefined for no limit. */
  readonly clientLimit: Pick<ClientLimit, "take" | "fields"> | undefined;
  readonly bodies: BodyBudget;
  readonly responses: ResponseBudget;
  /** The text of a stream that only tells the client to reconnect after a random delay, at least `pause` milliseconds. */
  closingStream(pause: number): string;
  /** Whether this server is ready for requests. */
  ready(): Promise<ReadyState>;
  /** The metrics of the server. */
  view(): MetricsView;
  /** Records each request under the base path that was answered. */
  note(record: RequestRecord, method: string, status: number): void;
  /** Reports an unexpected error. */
  report(error: unknown): void;
  /** Milliseconds since an arbitrary moment. */
  elapsed(): number;
  random(): number;
}

/** Answers the requests of one path. */
export interface Route {
  /** The name under which its requests are counted. */
  readonly name: RouteName;
  /** The methods, as in the `Allow` header. */
  readonly methods: string;
  /** Whether it is answered while the server closes, and afterwards. */
  readonly whileClosing?: true;
  /** Whether it is answered regardless of concurrency and rate limits. */
  readonly always?: true;
  /** Answers a request. A rejection becomes a refusal. */
  answer(request: IncomingRequest, record: RequestRecord): MaybePromise<Reply>;
}
