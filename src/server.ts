/**
 * The public class `RealityServer`.
 *
 * @module
 */
import { type AskRights, askRights, type Rights, WriteAccess } from "./access.ts";
import { Observer } from "./telemetry/observer.ts";
import { ClientLimit, clientOf, isProxied, type Locatable } from "./limits/client_limit.ts";
import type { RequestLimit } from "./limits/concurrency.ts";
import { SharedBodyBudget } from "./limits/body_budget.ts";
import { type StorageCallOptions, withTimeout } from "./store/timeout.ts";
import type { DeadlineList } from "./limits/deadlines.ts";
import { ClosedError, PeerError, RealityError, RefusalError } from "./errors.ts";
import { type AbortSignalLike, onAbort } from "./abort_signal.ts";
import { Hooks } from "./hooks.ts";
import type { RequestHandler } from "./http/exchange.ts";
import { type FetchHandler, toFetchHandler, toResponse } from "./http/fetch.ts";
import { createRequestHandler, type HandlerOptions } from "./http/handler.ts";
import type { HandlerDeps } from "./http/route.ts";
import { eventsReply } from "./http/routes.ts";
import type { MetricsView } from "./telemetry/prometheus.ts";
import { checkInteger, checkNames } from "./check.ts";
import { checkOptions, type ServerConfig } from "./check_options.ts";
import type { RealityServerOptions } from "./options.ts";
import { checkKeys, parseSync } from "./parse.ts";
import { Readiness, type ReadyState } from "./readiness.ts";
import { createRequest } from "./http/target.ts";
import { isWebRequest } from "./http/request_shape.ts";
import { type EventSourceRequest, toStreamRequest } from "./sse/request.ts";
import { closingStream, createStream } from "./sse/stream.ts";
import { CallbackProof } from "./mesh/callback_proof.ts";
import { Mesh } from "./mesh/mesh.ts";
import { SecretProof } from "./mesh/secret_proof.ts";
import { type PeerLink, Transport } from "./mesh/transport.ts";
import { Relay } from "./redis/relay.ts";
import { RequestScopes } from "./scope/request_scope.ts";
import { PendingResponses } from "./limits/pending_responses.ts";
import { type Scope, type ScopeSource, SharedScope } from "./scope/scope.ts";
import { isMeshStorage, randomName } from "./store/contract.ts";
import { answerSync, peerIds, type SyncDeps } from "./sync/sync.ts";
import type {
  NodeUpdate,
  RealityNodeMeta,
  ServerStats,
  SSEOptions,
  SyncRequest,
  SyncResponse,
} from "./types.ts";
import { VERSION } from "./version.ts";
import type { RequestRecord } from "./telemetry/request_record.ts";
import { Waiters, type WaiterSource } from "./sync/waiters.ts";

/** The largest answer of a peer that is read, in bytes: several times what a peer sends at once. */
const MAX_ANSWER_BYTES = 4_194_304;

/** How long an event stream is silent, and lives, unless told otherwise, in milliseconds. */
const DEFAULT_HEARTBEAT_INTERVAL = 30_000;
const DEFAULT_LIFETIME = 600_000;

/** Where a sync comes from. */
interface SyncSource {
  /** Tells when the client goes away, where that can be told. */
  getSignal(): AbortSignalLike | undefined;
  /** The request that hooks are asked about; left out for a caller that is trusted. */
  toRequest?: (() => Request) | undefined;
  /** What the host knows beside it, for hooks. */
  getContext?: (() => unknown) | undefined;
}

/**
 * One Reality server: it keeps versions of nodes in a storage and tells clients which of theirs are old.
 *
 * It holds no state that another server on the same storage would need: start as many as you like, behind any
 * load balancer.
 *
 * @example
 * ```ts
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * await server.updateNode("chat:room:general", "abc123");
 *
 * const { changed } = await server.handleSync({ known: { "chat:room:general": 0 } });
 * console.assert(changed["chat:room:general"]?.hash === "abc123");
 * await server.close();
 * ```
 */
export class RealityServer {
  readonly #config: ServerConfig;
  readonly #observer: Observer;
  readonly #scopes: ScopeSource;
  readonly #bodies: SharedBodyBudget;
  readonly #hooks: Hooks;
  readonly #responses: PendingResponses;
  readonly #stalls: DeadlineList;
  readonly #waiters: Waiters;
  readonly #batch: StorageCallOptions;
  /** Returns the objects that answer a sync. */
  readonly #getSyncDeps: () => SyncDeps;
  readonly #mesh: Mesh | undefined;
  readonly #relay: Relay | undefined;
  readonly #deps: HandlerDeps;
  readonly #startedAt: number;
  #serverId: string | undefined;
  #closing: Promise<void> | undefined;
  #isClientFullReported = false;
  /** How often {@linkcode RealityServer.recheck} was called. */
  #rechecks = 0;

  /**
   * Makes a server; nothing is asked of the storage before the first request or change.
   *
   * @param options `storage`, and whatever else differs from the defaults.
   * @throws {TypeError} For an option that is missing, unknown or of the wrong kind; names it.
   * @throws {RangeError} For a number out of range; names it.
   */
  constructor(options: RealityServerOptions) {
    const config = checkOptions(options);
    const { storage, clock, limits } = config;
    this.#config = config;
    this.#serverId = config.serverId;
    this.#startedAt = clock.elapsed();
    const observer = this.#observer = new Observer({ ...config, peers: config.mesh.peers });
    this.#batch = {
      clock,
      timeout: config.storageTimeout,
      onOutcome: (operation, error, ms) => observer.recordStorage(operation, error, ms),
      metrics: observer.metrics,
    };
    this.#hooks = new Hooks({
      clock,
      timeout: config.hookTimeout,
      report: (error) => observer.report(error),
      isOfOneRequest: config.requestScopedIO,
    });
    this.#waiters = new Waiters(clock, limits, storage);
    this.#waiters.onClientFull = () => this.#reportClientFull();
    const { hookTimeout } = config;
    const scopeOptions = { storage, clock, limits, hookTimeout, batch: this.#batch, waiters: this.#waiters };
    this.#scopes = config.requestScopedIO
      ? new RequestScopes(scopeOptions)
      : new SharedScope(scopeOptions, (keys, version) => this.#mesh?.announce(keys, version));
    this.#bodies = new SharedBodyBudget(limits, clock, this.#scopes.createDeadlines(limits.bodyTimeout));
    const slow = this.#scopes.createDeadlines(limits.responseTimeout);
    this.#responses = new PendingResponses(limits, slow, observer.metrics);
    this.#stalls = this.#scopes.createDeadlines(limits.stallTimeout);
    const secret = config.mesh.secrets.length > 0
      ? new SecretProof({ secrets: config.mesh.secrets, clock })
      : undefined;
    this.#mesh = this.#createMesh(secret);
    this.#relay = this.#createRelay(secret);
    this.#getSyncDeps = this.#createSyncDeps();
    this.#deps = this.#createHandlerDeps();
    // A Redis that is away from the start is told now, and not at the first request.
    this.#relay?.start();
  }

  /** The server's name: the option, or the random one it was given. */
  get serverId(): string {
    return this.#serverId ??= `server-${randomName(10)}`;
  }

  /**
   * Says that a node is now in the state that a hash stands for. Every client that follows it is told.
   *
   * Settles when the storage has it; call it after the application's own data is committed, so that a client
   * which asks at once finds the new state.
   *
   * @param key The node's key: 1 to 512 bytes of UTF-8 without control characters.
   * @param hash The fingerprint of the new state, or a promise of it: up to 256 bytes of UTF-8.
   * @throws {TypeError} When the key or the hash is no string.
   * @throws {RangeError} When one of them is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; the change may or may not be there.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("chat:room:general", "abc123");
   * console.assert((await server.getNode("chat:room:general"))?.hash === "abc123");
   * await server.close();
   * ```
   */
  async updateNode(key: string, hash: string | Promise<string>): Promise<void> {
    const state = typeof hash === "string" ? hash : await hash;
    const change = this.#change(() => [key], ({ changes }) => changes.update([{ key, hash: state }]));
    if (change instanceof Promise) await change;
  }

  /**
   * Does for many nodes what {@linkcode RealityServer.updateNode} does for one. They go to the storage together,
   * up to 1,000 in one atomic step.
   *
   * @returns The new metas, in the order given.
   * @throws {TypeError} When a key or hash is no string; then nothing is written.
   * @throws {RangeError} When one of them is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; the change may or may not be there.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * const metas = await server.updateMany([{ key: "user:1", hash: "a" }, { key: "user:2", hash: "b" }]);
   * console.assert(metas.map(({ hash }) => hash).join() === "a,b");
   * await server.close();
   * ```
   */
  async updateMany(updates: readonly NodeUpdate[]): Promise<RealityNodeMeta[]> {
    return await this.#change(() => updates.map(({ key }) => key), ({ changes }) => changes.update(updates));
  }

  /**
   * Says that a node changed, when there is no hash to give: one never used before is written.
   *
   * @throws {TypeError} When the key is no string.
   * @throws {RangeError} When it is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; the change may or may not be there.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.invalidate("report:daily");
   * console.assert(await server.getNode("report:daily") !== null);
   * await server.close();
   * ```
   */
  async invalidate(key: string): Promise<void> {
    await this.#change(() => [key], ({ changes }) => changes.invalidate([key]));
  }

  /**
   * Does for many nodes what {@linkcode RealityServer.invalidate} does for one.
   *
   * @returns The new metas, in the order given.
   * @throws {TypeError} When a key is no string; then nothing is written.
   * @throws {RangeError} When one of them is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; the change may or may not be there.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * const metas = await server.invalidateMany(["report:daily", "report:weekly"]);
   * console.assert(metas[1]?.key === "report:weekly");
   * await server.close();
   * ```
   */
  async invalidateMany(keys: readonly string[]): Promise<RealityNodeMeta[]> {
    return await this.#change(() => keys, ({ changes }) => changes.invalidate(keys));
  }

  /**
   * Takes a node away. Clients that hold a version of it are told that it is gone.
   *
   * @throws {TypeError} When the key is no string.
   * @throws {RangeError} When it is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; the change may or may not be there.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("user:1", "a");
   * await server.deleteNode("user:1");
   * console.assert(await server.getNode("user:1") === null);
   * await server.close();
   * ```
   */
  async deleteNode(key: string): Promise<void> {
    await this.#change(() => [key], ({ changes }) => changes.delete(key));
  }

  /**
   * Has `authorize` asked again for every client that waits for or streams one of these keys, and tells it at once what
   * it may now read, or no longer read. Call it after a right was granted or taken away; without it that is noticed at
   * the next change of such a key. It reaches the clients of this process only: where there are several, call it in
   * each, or `invalidateMany`, which reaches all but tells every client that the keys have changed.
   *
   * @param keys The keys whose readers have changed.
   * @throws {TypeError} When that is no array of strings.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const members = new Set<string>();
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   authorize: (request) => members.has(request.headers.get("x-user") ?? ""),
   * });
   * await server.updateNode("club:news", "1");
   *
   * const request = new Request("http://localhost/", { headers: { "x-user": "ana" } });
   * const waiting = server.handleSync({ known: { "club:news": 0 }, wait: 20_000 }, { request });
   * members.add("ana");
   * server.recheck(["club:news"]);
   * console.assert((await waiting).changed["club:news"]?.hash === "1");
   * await server.close();
   * ```
   */
  recheck(keys: readonly string[]): void {
    if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string")) {
      throw new TypeError("Cannot recheck: expected an array of keys");
    }
    this.#rechecks++;
    this.#waiters.wake(keys);
  }

  /**
   * The node's current meta; `null` when there is none.
   *
   * @throws {TypeError} When the key is no string.
   * @throws {RangeError} When it is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("user:1", "a");
   * console.assert((await server.getNode("user:1"))?.hash === "a");
   * console.assert(await server.getNode("user:2") === null);
   * await server.close();
   * ```
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    this.#assertOpen();
    const { changes, reader } = this.#scopes.open();
    changes.checkKey(key);
    const { nodes } = await reader.read([key]);
    return nodes.get(key) ?? null;
  }

  /**
   * Answers one sync request: at once, or, with `wait`, as soon as there is something to tell.
   *
   * @param request What the client holds. Checked here, so a parsed body can be handed in as it is.
   * @param options `signal`: aborts when the client goes away; then the wait ends and this rejects with its reason.
   *   `request`: the request that `authorize` is asked about; without it the caller is trusted with every key.
   *   `context`: what `authorize` gets as `context`.
   * @throws {RefusalError} When the request is not a good one; names the field or the limit.
   * @throws {StorageError} When the storage fails or takes too long.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("user:1", "a");
   * const { changed } = await server.handleSync({ known: { "user:1": 0 } });
   * console.assert(changed["user:1"]?.hash === "a");
   * await server.close();
   * ```
   */
  handleSync(
    request: SyncRequest,
    options: { signal?: AbortSignal; request?: Request; context?: unknown } = {},
  ): Promise<SyncResponse> {
    // Not an async function: each one that waits is a frame more in memory, for every client that waits.
    try {
      const { signal, request: original, context } = options;
      const record = this.#observer.createRecord();
      return Promise.resolve(this.#sync(request, record, {
        getSignal: () => signal,
        toRequest: original && (() => original),
        getContext: () => context,
      }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The ids of the other servers that have ever answered this one, and are not gone.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * console.assert((await server.getMeshPeers()).length === 0);
   * await server.close();
   * ```
   */
  getMeshPeers(): Promise<string[]> {
    return Promise.resolve(peerIds(this.#mesh?.states));
  }

  /**
   * A moment's view of this server. Rejects for nothing: a storage that does not answer is part of the view.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("user:1", "a");
   * const stats = await server.getStats();
   * console.assert(stats.healthy && stats.changes === 1);
   * await server.close();
   * ```
   */
  async getStats(): Promise<ServerStats> {
    const { storage } = this.#config;
    const [healthy, reading] = await Promise.all([
      withTimeout("isHealthy", () => storage.isHealthy(), this.#batch).catch(() => false),
      Promise.resolve(this.#scopes.open().reader.read([])).catch(() => undefined),
    ]);
    const { metrics } = this.#observer;
    return {
      serverId: this.serverId,
      version: VERSION,
      uptime: this.#config.clock.elapsed() - this.#startedAt,
      healthy: healthy && reading !== undefined,
      closing: this.#closing !== undefined,
      maxVersion: reading?.maxVersion ?? 0,
      epoch: reading?.epoch ?? "",
      requests: metrics.requests.total,
      refusals: Object.fromEntries(metrics.refusals.entries),
      syncs: metrics.syncs.value,
      changedKeys: metrics.changedKeys.value,
      waits: metrics.waitsBegun.value,
      wakes: this.#waiters.wakes,
      changes: metrics.changes.value,
      waiters: this.#waiters.size,
      streams: this.#scopes.streams,
      streamsBegun: metrics.streamsBegun.value,
      pendingResponses: this.#responses.size,
      storageReads: this.#scopes.reads,
      storageWrites: this.#scopes.writes,
      storageFailures: metrics.storageFailures.total,
      mesh: this.#mesh?.getStats() ?? null,
      redis: this.#relay === undefined
        ? null
        : { healthy: this.#relay.healthy, refused: this.#relay.refused },
    };
  }

  /**
   * Opens a stream of server-sent events for clients that still use `EventSource`: an `update` event with a
   * node's meta for each key that is there, then one for each change.
   *
   * @param request A `Request`, or the request of Express, Fastify or `node:http`, or Hono's context; its
   *   `Last-Event-ID` resumes.
   * @param options The keys to follow, and how often a silent stream is kept awake.
   * @returns A response whose body streams until either side ends it.
   * @throws {TypeError} For an option that is unknown or wrong, and for what is no request; names it.
   * @throws {RangeError} For a number out of range.
   * @throws {RefusalError} For a key that is none, or too many.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * const request = new Request("http://localhost/events");
   * const response = await server.handleSSECompat(request, { keys: ["user:1"] });
   * console.assert(response.headers.get("content-type")?.startsWith("text/event-stream"));
   * await response.body?.cancel();
   * await server.close();
   * ```
   */
  async handleSSECompat(request: EventSourceRequest, options: SSEOptions): Promise<Response> {
    const view = toStreamRequest(request);
    const stream = this.#events(options, view.lastEventId, {
      toRequest: () => isWebRequest(view.request) ? view.request : createRequest(view.request),
      locate: view.locatable && (() => this.#locate(view.locatable!)),
      getContext: () => options.context ?? (isWebRequest(request) ? undefined : request),
      onHangUp: (listener) => view.onDisconnect(listener),
    });
    return toResponse(eventsReply(await stream));
  }

  /**
   * A handler for all routes of this server; the same as `createFetchHandler(server, options)`.
   *
   * @param options Where it is mounted, and for which origins.
   * @throws {TypeError} For an option that is unknown or wrong; names it.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * const handler = server.getFetchHandler();
   * const response = await handler(new Request("http://localhost/reality/health"));
   * console.assert(response.status === 200);
   * await response.body?.cancel();
   * await server.close();
   * ```
   */
  getFetchHandler(options?: HandlerOptions): FetchHandler {
    return toFetchHandler(this.getRequestHandler(options));
  }

  /**
   * Creates the handler that adapters use. It answers requests that need not be a `Request`, and never rejects.
   *
   * @param options Where it is mounted, and for which origins.
   * @throws {TypeError} For an option that is unknown or wrong; names it.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * const handler = server.getRequestHandler();
   * const request = new Request("http://localhost/reality/health");
   * const reply = await handler({
   *   method: request.method,
   *   url: request.url,
   *   header: (name) => request.headers.get(name),
   *   readJSON: () => request.json(),
   *   remoteAddress: () => null,
   *   getSignal: () => request.signal,
   *   toRequest: () => request,
   *   getContext: () => undefined,
   * });
   * console.assert(reply.status === 200);
   * await server.close();
   * ```
   */
  getRequestHandler(options?: HandlerOptions): RequestHandler {
    return createRequestHandler(this.#deps, options);
  }

  /**
   * Stops the server: turns down what comes from now on, answers everybody who waits, ends streams, and settles when
   * every change asked for has reached the storage and the peers have what they are owed, or after `closeTimeout`;
   * what is then not done is told to `onError`. The storage stays open, since it is the caller's. May be called twice.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.close();
   * await server.updateNode("user:1", "a").catch(({ code }) => console.assert(code === "ERR_REALITY_CLOSED"));
   * ```
   */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /**
   * The same as {@linkcode RealityServer.close}, for `await using`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * await using server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("user:1", "a");
   * ```
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    // What ends by it asks whether the server is closing: from here on, it is.
    await null;
    this.#observer.recordClosing("closing");
    await this.#stop();
    this.#observer.recordClosing("closed");
  }

  async #stop(): Promise<void> {
    const { clock, closeTimeout } = this.#config;
    const deadline = clock.elapsed() + closeTimeout;
    const left = () => Math.max(0, deadline - clock.elapsed());
    const drained = this.#scopes.drain(left, {
      // A hook that does not answer may hold a request for longer than this server has.
      hurry: () => this.#hooks.close(),
      tell: () => Promise.all([this.#relay?.close(left()), this.#mesh?.close(left())]),
    });
    this.#bodies.close();
    this.#stalls.close();
    if (await drained) return;
    const message =
      `The server is closed while something is still under way after closeTimeout (${closeTimeout} ms)`;
    this.#observer.report(new RealityError("ERR_REALITY_CLOSED", message));
  }

  #sync(
    body: unknown,
    record: RequestRecord,
    source: SyncSource,
    more: { readonly waitingSlot?: RequestLimit; readonly locate?: () => WaiterSource } = {},
  ): SyncResponse | Promise<SyncResponse> {
    this.#assertOpen();
    if (this.#mesh !== undefined && isExchange(body)) {
      record.route = "exchange";
      return this.#exchange(this.#mesh, body.gossip);
    }
    const request = parseSync(body, this.#config.limits);
    const { keys } = request.known;
    record.keys = keys;
    this.#observer.beginSync(record);
    const askRights = this.#askRights(keys, source);
    return this.#observer.observeSync(
      record,
      () => answerSync(request, this.#getSyncDeps(), { source, askRights, record, ...more }),
    );
  }

  /** Answers another server, which asks on the same path as clients do and expects another answer. */
  async #exchange(mesh: Mesh, gossip: unknown): Promise<SyncResponse> {
    return { gossip: await mesh.answer(gossip) } as unknown as SyncResponse;
  }

  #createMesh(secret: SecretProof | undefined): Mesh | undefined {
    const { mesh, redis, storage, clock } = this.#config;
    const { peers, fetch, timeout } = mesh;
    if (peers.length === 0 && secret === undefined && redis === undefined) return undefined;
    let link: PeerLink | undefined;
    const createLink = (): PeerLink => {
      const client = { clock, fetch, timeout, maxBytes: MAX_ANSWER_BYTES };
      const proof = secret ?? new CallbackProof({ ...client, id: this.serverId, peers: () => peers });
      return { proof, transport: new Transport({ ...client, proof }) };
    };
    return new Mesh(mesh, {
      storage,
      clock,
      serverId: () => this.serverId,
      getLink: () => link ??= createLink(),
      callStorage: (operation, call) => withTimeout(operation, call, this.#batch),
      getChanges: () => this.#scopes.open().changes,
      wake: (keys) => this.#waiters.wake(keys),
      pollNow: () => this.#scopes.open().poller.pollNow?.(),
      relay: redis && {
        publish: () => this.#relay?.publish(),
        isTrusted: () => secret !== undefined && this.#relay?.healthy === true,
      },
      report: (error) =>
        error instanceof PeerError ? this.#observer.reportPeer(error) : this.#observer.report(error),
    });
  }

  #createRelay(secret: SecretProof | undefined): Relay | undefined {
    const [{ redis, clock }, mesh] = [this.#config, this.#mesh];
    if (redis === undefined || mesh === undefined) return undefined;
    const { channel } = redis;
    return new Relay(redis, {
      clock,
      async compose(isMissed): Promise<string> {
        const text = await mesh.redisUpdates.compose(secret !== undefined, isMissed);
        return secret === undefined ? text : await secret.signBroadcast(channel, text);
      },
      async receive(text: string): Promise<boolean> {
        const message = secret === undefined ? text : await secret.verifyBroadcast(channel, text);
        return message !== null && await mesh.redisUpdates.receive(message, secret !== undefined);
      },
      onMissed: () => mesh.redisUpdates.recoverMissed(),
      onHealth: (isDown) => this.#observer.recordRedis(isDown),
      report: (error) => this.#observer.report(error),
    });
  }

  /**
   * Opens a stream, also when closed: `EventSource` never comes back from a 503, but does from a stream's end.
   *
   * @throws {RefusalError} What `authorize` refuses the request with, before there is a stream; rejects with it.
   */
  #events(
    options: SSEOptions,
    lastEventId: string | null,
    { locate, onHangUp, ...source }: {
      readonly toRequest: () => Request;
      readonly getContext: () => unknown;
      readonly locate: (() => WaiterSource) | undefined;
      readonly onHangUp: (listener: () => void) => () => void;
    },
  ): ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>> {
    const { clock, limits, storage } = this.#config;
    const given = checkNames("handleSSECompat", options, [
      "keys",
      "heartbeatInterval",
      "lifetime",
      "context",
    ]);
    if (!Array.isArray(given.keys)) throw new TypeError('Option "keys" is wrong: expected an array of keys');
    const keys = [...new Set(checkKeys(given.keys, limits))];
    const ask = this.#askRights(keys, source);
    const { heartbeatInterval = DEFAULT_HEARTBEAT_INTERVAL, lifetime = DEFAULT_LIFETIME } = given;
    const scope = this.#scopes.open();
    let end: ReturnType<Observer["beginStream"]> | undefined;
    let leave = () => {};
    let first: Promise<Rights> | undefined;
    const rechecks = this.#rechecks;
    const open = () =>
      createStream({
        keys,
        lastEventId,
        heartbeatInterval: checkInteger("heartbeatInterval", heartbeatInterval, [10, 3_600_000]),
        lifetime: checkInteger("lifetime", lifetime, [10, 86_400_000]),
      }, {
        reader: scope.reader,
        waiters: { add: (keys) => scope.waiters.add(keys, locate?.()) },
        poller: scope.poller,
        clock,
        askRights: ask && (() => {
          // A recheck that came before the stream had a place has woken nobody.
          const rights = first !== undefined && rechecks === this.#rechecks ? first : ask();
          first = undefined;
          return rights.catch((cause) => {
            // Of what a hook throws nobody else hears: the stream just ends.
            if (!(cause instanceof RealityError)) {
              this.#observer.report(
                new RealityError("ERR_REALITY_INTERNAL", "The hook authorize failed", { cause }),
              );
            }
            throw cause;
          });
        }),
        // Streams that come back to a server with peers begin anew: mesh/README.md says why.
        ordered: storage.features?.ordered === true && storage.readNodes !== undefined &&
          this.#mesh === undefined,
        readReplicated: isMeshStorage(storage) ? (keys) => scope.writer.readReplicated(keys) : undefined,
        stalls: this.#stalls,
        // It counts itself: of more than there may be, each newer one has to go.
        hasSlot: () => this.#scopes.streams <= limits.maxStreams,
        onStart: () => {
          leave = scope.beginStream();
          end = this.#observer.beginStream(keys);
          this.#mesh?.contactStalePeers();
        },
        // A server whose clients all stream has no other occasion to ask peers that fell silent.
        onHeartbeat: () => this.#mesh?.contactStalePeers(),
        onEnd: (reason) => {
          leave();
          const isClosing = this.#closing !== undefined;
          end?.(isClosing && (reason === "full" || reason === "stalled") ? "closed" : reason);
        },
      }, onHangUp);
    if (ask === undefined) return open();
    first = ask();
    return first.then(open, (error) => {
      if (error instanceof RefusalError) throw error;
      return open();
    });
  }

  /** Says how to ask whether the server is ready: where requests may share that, all that ask at once ask together. */
  #createReadiness(isClosing: () => boolean): () => Promise<ReadyState> {
    const { storage, requestScopedIO } = this.#config;
    const create = () =>
      new Readiness({
        storage,
        batch: this.#batch,
        open: this.#mesh && (() => this.#mesh!.bootstrap()),
        isClosing,
      });
    if (requestScopedIO) return () => create().ask();
    const readiness = create();
    return () => readiness.ask();
  }

  #createSyncDeps(): () => SyncDeps {
    const { clock, limits, requestScopedIO } = this.#config;
    const mesh = this.#mesh;
    const { metrics } = this.#observer;
    const create = () => {
      const { reader, waiters, poller } = this.#scopes.open();
      return { reader, waiters, poller, clock, maxWait: limits.maxWait, mesh, metrics };
    };
    if (requestScopedIO) return create;
    const deps = create();
    return () => deps;
  }

  #createHandlerDeps(): HandlerDeps {
    const { limits, clock, writeTokens, authorizeWrite, rateLimit, trustProxy } = this.#config;
    const isClosing = () => this.#closing !== undefined;
    const askReady = this.#createReadiness(isClosing);
    return {
      limits,
      get isClosing() {
        return isClosing();
      },
      concurrency: this.#scopes.concurrency,
      bodies: this.#bodies,
      responses: this.#responses,
      clientLimit: rateLimit && new ClientLimit(rateLimit, trustProxy, {
        clock,
        hooks: this.#hooks,
        report: (error) => this.#observer.report(error),
      }),
      hooks: this.#hooks,
      closingStream: (pause) => closingStream(clock, pause),
      sync: (body, client, record) =>
        this.#sync(body, record, client, {
          waitingSlot: this.#scopes.concurrency,
          locate: () => this.#locate(client, record),
        }),
      events: (options, lastEventId, client, record) =>
        this.#events(options, lastEventId, {
          toRequest: () => client.toRequest(),
          locate: () => this.#locate(client, record),
          getContext: () => client.getContext(),
          onHangUp: (listener) => onAbort(client.getSignal(), listener),
        }),
      update: (updates) => this.updateMany(updates),
      invalidate: (keys) => this.invalidateMany(keys),
      delete: (key) => this.deleteNode(key),
      epoch: async () => (await this.#scopes.open().reader.read([])).epoch,
      access: new WriteAccess(writeTokens, authorizeWrite, this.#hooks),
      ready: askReady,
      view: () => this.#view(),
      note: (record, method, status) => this.#observer.recordRequest(record, method, status),
      elapsed: () => clock.elapsed(),
      report: (error) =>
        this.#observer.report(
          error instanceof RealityError
            ? error
            : new RealityError("ERR_REALITY_INTERNAL", "A request failed unexpectedly", { cause: error }),
        ),
      random: () => clock.random(),
    };
  }

  /** Says where a request comes from that is to wait. */
  #locate(request: Locatable, record?: RequestRecord): WaiterSource {
    const { trustProxy } = this.#config;
    const client = record?.client;
    const connection = request.connection?.();
    return {
      client: client === undefined ? clientOf(request, trustProxy) : client,
      connection: connection === undefined || isProxied(request, trustProxy) ? undefined : connection,
    };
  }

  #reportClientFull(): void {
    if (this.#isClientFullReported) return;
    this.#isClientFullReported = true;
    this.#observer.report(
      new RealityError(
        "ERR_REALITY_OVERLOADED",
        "A client has its share of the places to wait (maxWaitersPerClient, maxWaitingBytes); if it is a proxy that " +
          "many clients come by, name it in trustProxy",
      ),
    );
  }

  /** How to ask what a client may read of these keys; undefined when it may read them all. */
  #askRights(
    keys: readonly string[],
    source: Partial<SyncSource>,
  ): AskRights | undefined {
    const { authorize } = this.#config;
    if (authorize === undefined || source.toRequest === undefined) return undefined;
    const call = () => authorize(source.toRequest!(), keys, { context: source.getContext?.() });
    return () => askRights(() => this.#hooks.call("authorize", call, () => source.getSignal?.()));
  }

  #change(
    getKeys: () => readonly string[],
    change: (scope: Scope) => RealityNodeMeta[] | Promise<RealityNodeMeta[]>,
  ): RealityNodeMeta[] | Promise<RealityNodeMeta[]> {
    this.#assertOpen();
    const scopes = this.#scopes;
    return this.#observer.observeChange(getKeys, () => scopes.change(() => change(scopes.open())));
  }

  /** What `/metrics` shows. */
  #view(): MetricsView {
    const { isStorageDown, metrics } = this.#observer;
    return {
      version: VERSION,
      uptime: this.#config.clock.elapsed() - this.#startedAt,
      metrics,
      busy: this.#scopes.concurrency.busy,
      readingBytes: this.#bodies.held,
      waitingBytes: this.#waiters.bytes,
      responses: this.#responses,
      waiters: this.#waiters.size,
      wakes: this.#waiters.wakes,
      streams: this.#scopes.streams,
      isStorageDown,
      isClosing: this.#closing !== undefined,
      mesh: this.#mesh?.getStats() ?? null,
      redis: this.#relay ?? null,
    };
  }

  #assertOpen(): void {
    if (this.#closing) throw new ClosedError();
  }
}

function isExchange(body: unknown): body is { gossip: unknown } {
  return typeof body === "object" && body !== null && Object.hasOwn(body, "gossip");
}
