/**
 * Opens event streams: those of the events route, and calls of `handleSSECompat`.
 *
 * @module
 */
import type { AskRights, ReadAccess, Rights } from "../access.ts";
import { onAbort } from "../abort_signal.ts";
import { checkInteger, checkNames } from "../check.ts";
import type { ServerConfig } from "../check_options.ts";
import { RealityError, RefusalError } from "../errors.ts";
import { isWebRequest } from "../http/request_shape.ts";
import { createRequest, queryOf } from "../http/target.ts";
import type { IncomingRequest, PulledBody } from "../http/exchange.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { DeadlineList } from "../limits/deadlines.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { checkKeys } from "../parse_keys.ts";
import type { Scope, ScopeSource } from "../scope/scope.ts";
import { isMeshStorage } from "../store/contract.ts";
import type { Groups } from "../store/groups.ts";
import { locateClient } from "../sync/locate.ts";
import type { Waiters, WaiterSource } from "../sync/waiters.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { StreamReason } from "../telemetry/metrics.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { SSEOptions } from "../types.ts";
import { type EventSourceRequest, toStreamRequest } from "./request.ts";
import { EventStream, type StreamDeps } from "./stream.ts";

/** The default time without an event after which a heartbeat is sent, in milliseconds. */
const DEFAULT_HEARTBEAT_INTERVAL = 30_000;

/** The default lifetime of a stream, in milliseconds. */
const DEFAULT_LIFETIME = 600_000;

/** What event streams need. */
export interface EventStreamsOptions {
  readonly config: Pick<ServerConfig, "clock" | "limits" | "storage" | "trustProxy">;
  readonly lifecycle: Lifecycle;
  readonly observer: Observer;
  readonly access: ReadAccess;
  readonly scopes: ScopeSource;
  readonly waiters: Waiters;
  /** Streams whose client has to read something within a time limit. */
  readonly stalls: DeadlineList;
  /** Says which keys no group has; undefined without the option. */
  readonly groups: Groups | undefined;
  /** Left out without peers and Redis. */
  readonly mesh: { contactStalePeers(): void } | undefined;
}

/** The client of a stream. */
interface StreamClient {
  readonly toRequest: () => Request;
  readonly getContext: () => unknown;
  /** Locates the client; undefined if its request has no address. */
  readonly locate: (() => WaiterSource) | undefined;
  /** Calls back when the client disconnects; returns a function that stops listening. */
  readonly onDisconnect: (listener: () => void) => () => void;
}

/** The event streams of one server. */
export class EventStreams {
  readonly #options: EventStreamsOptions;
  #last: { readonly scope: Scope; readonly deps: StreamDeps } | undefined;

  /** @param options What event streams need. */
  constructor(options: EventStreamsOptions) {
    this.#options = options;
  }

  /**
   * Opens a stream for a request of the events route.
   *
   * @throws {RefusalError} For an invalid key, and for none or too many.
   * @throws {RefusalError} When `authorize` refuses the request; rejects with it.
   */
  open(request: IncomingRequest, record: RequestRecord): MaybePromise<PulledBody> {
    const { trustProxy, limits } = this.#options.config;
    const query = queryOf(request.url);
    const keys = checkKeys(query.getAll("keys"), limits);
    if (keys.length === 0) {
      throw new RefusalError(
        "ERR_REALITY_BAD_REQUEST",
        'Cannot read "keys": expected one or more in the query',
      );
    }
    record.keys = keys;
    // Clients that cannot send the header, such as event-source-polyfill, send it in the query.
    const lastEventId = request.header("last-event-id") || query.get("lastEventId");
    return this.#open({ keys }, lastEventId, {
      toRequest: () => request.toRequest(),
      locate: () => locateClient(request, trustProxy, record),
      getContext: () => request.getContext(),
      onDisconnect: (listener) => onAbort(request.getSignal(), listener),
    });
  }

  /**
   * Opens a stream for a call of `handleSSECompat`.
   *
   * @throws {TypeError} For an option that is unknown or wrong, and for a value that is not a request.
   * @throws {RangeError} For a number that is out of range.
   * @throws {RefusalError} For an invalid key, for too many keys, and when `authorize` refuses the request.
   */
  openCall(given: EventSourceRequest, options: SSEOptions): MaybePromise<PulledBody> {
    const { lastEventId, request, locatable, onDisconnect } = toStreamRequest(given);
    const { trustProxy } = this.#options.config;
    return this.#open(options, lastEventId, {
      toRequest: () => isWebRequest(request) ? request : createRequest(request),
      locate: locatable && (() => locateClient(locatable, trustProxy)),
      getContext: () => options.context ?? (isWebRequest(given) ? undefined : given),
      onDisconnect,
    });
  }

  /** A closed server opens streams as well: an `EventSource` reconnects after a stream, but not after a 503. */
  #open(
    options: SSEOptions,
    lastEventId: string | null,
    client: StreamClient,
  ): MaybePromise<PulledBody> {
    const { config, access, scopes } = this.#options;
    const given = checkNames("handleSSECompat", options, [
      "keys",
      "heartbeatInterval",
      "lifetime",
      "context",
    ]);
    if (!Array.isArray(given.keys)) throw new TypeError('Option "keys" is wrong: expected an array of keys');
    const keys = [...new Set(checkKeys(given.keys, config.limits))];
    const ask = access.createAsk(keys, { ...client, getSignal: () => undefined });
    const { heartbeatInterval = DEFAULT_HEARTBEAT_INTERVAL, lifetime = DEFAULT_LIFETIME } = given;
    const scope = scopes.open();
    const { locate, onDisconnect } = client;
    const open = (askRights?: AskRights) =>
      new EventStream(
        {
          keys,
          lastEventId,
          heartbeatInterval: checkInteger("heartbeatInterval", heartbeatInterval, [10, 3_600_000]),
          lifetime: checkInteger("lifetime", lifetime, [10, 86_400_000]),
        },
        this.#depsOf(scope),
        { askRights, locate, onDisconnect },
      );
    if (ask === undefined) return open();
    const rights = new StreamRights(ask, this.#options);
    const openWithRights = () => open(() => rights.ask());
    return rights.askFirst().then(openWithRights, (error) => {
      if (error instanceof RefusalError) throw error;
      return openWithRights();
    });
  }

  /** What the streams of a scope need. Most servers have one scope for all streams. */
  #depsOf(scope: Scope): StreamDeps {
    if (this.#last?.scope === scope) return this.#last.deps;
    const deps = this.#createDeps(scope);
    this.#last = { scope, deps };
    return deps;
  }

  #createDeps(scope: Scope): StreamDeps {
    const { config: { clock, limits, storage }, scopes, stalls, mesh, groups } = this.#options;
    return {
      groups,
      reader: scope.reader,
      waiters: scope.waiters,
      poller: scope.poller,
      clock,
      // With peers, streams do not resume: mesh/README.md says why.
      ordered: storage.features?.ordered === true && storage.readNodes !== undefined && mesh === undefined,
      readReplicated: isMeshStorage(storage) ? (keys) => scope.writer.readReplicated(keys) : undefined,
      stalls,
      // The stream itself is counted already. Above the maximum, the newest streams end.
      hasSlot: () => scopes.streams <= limits.maxStreams,
      // If all clients use streams, there is no sync request that contacts silent peers.
      onHeartbeat: () => mesh?.contactStalePeers(),
      begin: (keys) => this.#begin(scope, keys),
    };
  }

  /** Counts a stream. Returns a function that counts its end. */
  #begin(scope: Scope, keys: readonly string[]): (reason: StreamReason) => void {
    const { lifecycle, observer, mesh } = this.#options;
    const leave = scope.beginStream();
    const end = observer.beginStream(keys);
    mesh?.contactStalePeers();
    return (reason) => {
      leave();
      const isClosed = lifecycle.isClosing && (reason === "full" || reason === "stalled");
      end(isClosed ? "closed" : reason);
    };
  }
}

/** Asks for the rights of one stream: once before it opens, so that it can be refused, and before each read. */
class StreamRights {
  readonly #ask: AskRights;
  readonly #waiters: Waiters;
  readonly #observer: Observer;
  readonly #rechecks: number;
  #first: Promise<Rights> | undefined;

  constructor(ask: AskRights, { waiters, observer }: Pick<EventStreamsOptions, "waiters" | "observer">) {
    this.#ask = ask;
    this.#waiters = waiters;
    this.#observer = observer;
    this.#rechecks = waiters.rechecks;
  }

  askFirst(): Promise<Rights> {
    return this.#first = this.#ask();
  }

  ask(): Promise<Rights> {
    const first = this.#first;
    this.#first = undefined;
    // `recheck` did not wake this stream if it was called before the stream had a waiter.
    const rights = first !== undefined && this.#waiters.rechecks === this.#rechecks ? first : this.#ask();
    return rights.catch((cause) => {
      // A stream ends without a status, so the error is reported here.
      if (!(cause instanceof RealityError)) {
        this.#observer.report(
          new RealityError("ERR_REALITY_INTERNAL", "The hook authorize failed", { cause }),
        );
      }
      throw cause;
    });
  }
}
