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
import type { Limits } from "../options.ts";
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

/** What the desk asks of the server. */
export interface HandlerDeps {
  readonly limits: Limits;
  /** Whether `close()` was called: then nothing new is taken on. */
  readonly isClosing: boolean;
  /** Answers a sync request of whatever shape, or refuses it. */
  sync(body: unknown, client: RequestSource, record: RequestRecord): MaybePromise<SyncResponse>;
  /** Opens an event stream; the signal tells that the client is gone where a runtime does not cancel the stream. */
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
  /** How often each client may ask; undefined for as often as it likes. */
  readonly clientLimit: Pick<ClientLimit, "take" | "fields"> | undefined;
  readonly bodies: BodyBudget;
  readonly responses: ResponseBudget;
  /** A whole event stream that only says when to come back: after so many milliseconds at least, by chance. */
  closingStream(pause: number): string;
  /** Whether this server should be sent requests. */
  ready(): Promise<ReadyState>;
  /** The server's numbers. */
  view(): MetricsView;
  /** Hears of every request under the base path that has its answer. */
  note(record: RequestRecord, method: string, status: number): void;
  /** Hears of what should not have happened. */
  report(error: unknown): void;
  /** Milliseconds since some moment. */
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
