/**
 * One route, and what routes need of the server.
 *
 * @module
 */
import type { ServerConfig } from "../check_options.ts";
import type { Clock } from "../clock.ts";
import type { Hooks } from "../hooks.ts";
import type { Admission } from "../limits/admission.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { ServerStatus } from "../server_status.ts";
import type { SyncRequests } from "../sync/sync_requests.ts";
import type { RouteName } from "../telemetry/metrics.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { NodeUpdate, RealityNodeMeta } from "../types.ts";
import type { IncomingRequest, PulledBody, Reply } from "./exchange.ts";

/** What the routes need of the server. */
export interface HandlerDeps {
  readonly clock: Clock;
  /** Decides which requests are accepted. */
  readonly admission: Admission;
  /** Who may write. */
  readonly config: Pick<ServerConfig, "writeTokens" | "authorizeWrite">;
  readonly hooks: Pick<Hooks, "call">;
  readonly syncs: SyncRequests;
  /** The option `public`: the keys that sync requests by GET may name. */
  readonly isPublic: ((key: string) => boolean) | undefined;
  readonly streams: RouteStreams;
  readonly nodes: RouteNodes;
  /** Reports whether the server is ready, and its metrics. */
  readonly status: ServerStatus;
  /** Counts requests and reports errors. */
  readonly observer: Observer;
}

/** The event streams of a server (`../sse/lazy_streams.ts`). */
export interface RouteStreams {
  /**
   * Opens a stream of the keys in the query of a request. The client's signal ends it where a runtime does not cancel the
   * stream.
   */
  open(request: IncomingRequest, record: RequestRecord): MaybePromise<PulledBody>;
  /** The text of a stream that only tells the client to reconnect after a random delay, at least `pause` milliseconds. */
  closingText(pause: number): string;
}

/** The nodes of a server (`../scope/nodes.ts`). */
export interface RouteNodes {
  update(updates: readonly NodeUpdate[]): MaybePromise<RealityNodeMeta[]>;
  invalidate(keys: readonly string[]): MaybePromise<RealityNodeMeta[]>;
  delete(key: string): MaybePromise<RealityNodeMeta[]>;
  readEpoch(): Promise<string>;
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
