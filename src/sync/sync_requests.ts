/**
 * Handles sync requests: those of the sync route, and calls of `handleSync`.
 *
 * @module
 */
import type { ReadAccess, ReadSource } from "../access.ts";
import type { ServerConfig } from "../check_options.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { ClientRequest } from "../limits/client_limit.ts";
import type { RequestLimit } from "../limits/concurrency.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { type ParsedSync, parseSync } from "../parse.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { SyncRequest, SyncResponse } from "../types.ts";
import { locateClient } from "./locate.ts";
import { answerSync, type SyncClient, type SyncDeps } from "./sync.ts";

/** What sync requests need. */
export interface SyncRequestsOptions {
  readonly config: Pick<ServerConfig, "limits" | "trustProxy">;
  readonly lifecycle: Lifecycle;
  readonly observer: Observer;
  readonly access: ReadAccess;
  readonly concurrency: RequestLimit;
  /** Answers other servers, which use the same path; left out without a mesh. */
  readonly mesh: { answer(gossip: unknown): Promise<unknown> } | undefined;
  /** Returns what answers one request. */
  readonly getDeps: () => SyncDeps;
}

/** The client of a request that is counted. What it may read is asked once its keys are known. */
interface CountedClient extends SyncClient {
  readonly source: ReadSource;
  readonly record: RequestRecord;
  askRights: SyncClient["askRights"];
  createAsk?: SyncClient["createAsk"];
  /** Whether all strings of the request contain only visible ASCII; left out: unknown. */
  readonly hasPlainStrings?: boolean | undefined;
}

/** Answers sync requests. */
export class SyncRequests {
  readonly #options: SyncRequestsOptions;

  /** @param options What sync requests need. */
  constructor(options: SyncRequestsOptions) {
    this.#options = options;
  }

  /**
   * Answers a request of the sync route.
   *
   * @param body The parsed JSON.
   * @param request The request, for hooks and limits.
   * @param record Records what happens to the request.
   * @throws {RefusalError} When the body is not a sync request, or exceeds a limit.
   * @throws {StorageError} When the storage fails.
   * @throws {ClosedError} After `close()`.
   */
  answer(body: unknown, request: ClientRequest, record: RequestRecord): MaybePromise<SyncResponse> {
    const { concurrency, config } = this.#options;
    return this.#answer(body, {
      source: request,
      waitingSlot: concurrency,
      locate: () => locateClient(request, config.trustProxy, record),
      askRights: undefined,
      record,
      hasPlainStrings: request.hasPlainStrings,
    });
  }

  /**
   * Answers a request for public keys. No hook decides about it.
   *
   * @param request The parsed query.
   * @param source The request, for limits.
   * @param record Records what happens to the request.
   * @throws What {@linkcode SyncRequests.answer} throws.
   */
  answerPublic(
    request: ParsedSync,
    source: ClientRequest,
    record: RequestRecord,
  ): MaybePromise<SyncResponse> {
    const { lifecycle, concurrency, config } = this.#options;
    lifecycle.assertOpen();
    return this.#answerParsed(request, {
      source,
      waitingSlot: concurrency,
      locate: () => locateClient(source, config.trustProxy, record),
      askRights: undefined,
      record,
    });
  }

  /**
   * Answers a call of `handleSync`. Not an async function: its frame would stay in memory while the request waits.
   *
   * @throws What {@linkcode SyncRequests.answer} throws; rejects with it.
   */
  answerCall(
    request: SyncRequest,
    options: { signal?: AbortSignal; request?: Request; context?: unknown },
  ): Promise<SyncResponse> {
    try {
      const { signal, request: original, context } = options;
      const source: ReadSource = {
        getSignal: () => signal,
        toRequest: original && (() => original),
        getContext: () => context,
      };
      const record = this.#options.observer.createRecord();
      return Promise.resolve(this.#answer(request, { source, askRights: undefined, record }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #answer(body: unknown, client: CountedClient): MaybePromise<SyncResponse> {
    const { lifecycle, mesh, config, access } = this.#options;
    lifecycle.assertOpen();
    if (mesh !== undefined && isExchange(body)) {
      client.record.route = "exchange";
      // A server receives another response than a client.
      return mesh.answer(body.gossip).then((gossip) => ({ gossip }) as unknown as SyncResponse);
    }
    const request = parseSync(body, config.limits, client.hasPlainStrings);
    client.askRights = access.createAsk(request.known.keys, client.source);
    if (request.detail) client.createAsk = (keys) => access.createAsk(keys, client.source);
    return this.#answerParsed(request, client);
  }

  #answerParsed(request: ParsedSync, client: CountedClient): MaybePromise<SyncResponse> {
    const { observer, getDeps } = this.#options;
    const { record } = client;
    record.keys = request.known.keys;
    observer.beginSync(record);
    return observer.observeSync(record, () => answerSync(request, getDeps(), client));
  }
}

function isExchange(body: unknown): body is { gossip: unknown } {
  return typeof body === "object" && body !== null && Object.hasOwn(body, "gossip");
}
