/**
 * One route, and what routes need of the server.
 *
 * @module
 */
import type { RouteAccess } from "../access.ts";
import type { Clock } from "../clock.ts";
import type { Admission } from "../limits/admission.ts";
import type { ClientRequest } from "../limits/client_limit.ts";
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
  /** Decides which requests may write, or read the metrics. */
  readonly access: RouteAccess;
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

/** The event streams of a server (`../sse/event_streams.ts`). */
export interface RouteStreams {
  /** Opens a stream. The client's signal ends it where a runtime does not cancel the stream. */
  open(
    keys: readonly string[],
    lastEventId: string | null,
    request: ClientRequest,
    record: RequestRecord,
  ): MaybePromise<PulledBody>;
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
