/**
 * The public class `RealityServer`.
 *
 * @module
 */
import { checkOptions } from "./check_options.ts";
import { createServer, type ServerParts } from "./create_server.ts";
import type { RequestHandler } from "./http/exchange.ts";
import { type FetchHandler, toFetchHandler, toResponse } from "./http/fetch.ts";
import { createRequestHandler, type HandlerOptions } from "./http/handler.ts";
import { eventsReply } from "./http/reply.ts";
import type { RealityServerOptions } from "./options.ts";
import type { EventSourceRequest } from "./sse/request.ts";
import type { Stamp } from "./stamp/stamp.ts";
import type { StampOptions } from "./stamp/stamps.ts";
import type {
  NodeUpdate,
  RealityNodeMeta,
  ServerStats,
  SSEOptions,
  SyncRequest,
  SyncResponse,
} from "./types.ts";

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
  readonly #parts: ServerParts;

  /**
   * Makes a server; nothing is asked of the storage before the first request or change.
   *
   * @param options `storage`, and whatever else differs from the defaults.
   * @throws {TypeError} For an option that is missing, unknown or of the wrong kind; names it.
   * @throws {RangeError} For a number out of range; names it.
   */
  constructor(options: RealityServerOptions) {
    this.#parts = createServer(checkOptions(options));
  }

  /** The server's name: the option, or the random one it was given. */
  get serverId(): string {
    return this.#parts.status.serverId;
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
    const update = { key, hash: typeof hash === "string" ? hash : await hash };
    const change = this.#parts.nodes.update([update]);
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
    return await this.#parts.nodes.update(updates);
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
    await this.#parts.nodes.invalidate([key]);
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
    return await this.#parts.nodes.invalidate(keys);
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
    await this.#parts.nodes.delete(key);
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
    this.#parts.waiters.recheck(keys);
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
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return this.#parts.nodes.get(key);
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
    return this.#parts.syncs.answerCall(request, options);
  }

  /**
   * Reads the versions of the keys that an answer of the application depends on. Call it **before** the data is read, and
   * send it with the answer: the client then follows the keys from exactly these versions, and nothing is missed between
   * the answer and the first sync. It costs what a sync costs. See `docs/stamps.md`.
   *
   * @param keys The keys. Name all that the answer depends on.
   * @param options `request`, so that the stamp names only what this client may read; `variant`, `cacheControl`, `vary`.
   * @returns The stamp: headers, a 304 for a client that has the answer already, and JSON.
   * @throws {TypeError} For an option that is unknown or wrong.
   * @throws {RefusalError} For an invalid key, for too many keys, and when `authorize` refuses the request.
   * @throws {StorageError} When the storage fails or takes too long.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("messages:general", "1");
   *
   * async function getMessages(request: Request): Promise<Response> {
   *   const stamp = await server.stamp(["messages:general"]);
   *   return stamp.isFresh(request) ? stamp.notModified() : stamp.json(["hello"]);
   * }
   * const { headers } = await getMessages(new Request("http://localhost/messages"));
   * const again = { headers: { "if-none-match": headers.get("etag")! } };
   * console.assert((await getMessages(new Request("http://localhost/messages", again))).status === 304);
   * await server.close();
   * ```
   */
  stamp(keys: readonly string[], options: StampOptions = {}): Promise<Stamp> {
    return this.#parts.stamps.create(keys, options);
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
    return Promise.resolve(this.#parts.status.peerIds);
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
  getStats(): Promise<ServerStats> {
    return this.#parts.status.getStats();
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
    return toResponse(eventsReply(await this.#parts.streams.openCall(request, options)));
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
    return createRequestHandler(this.#parts.handlerDeps, options);
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
    return this.#parts.shutdown.close();
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
}
