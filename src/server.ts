/**
 * The public class `RealityServer`.
 *
 * @module
 */
import { checkNames } from "./check.ts";
import { checkOptions } from "./check_options.ts";
import { createServer, type ServerParts } from "./create_server.ts";
import type { RequestHandler } from "./http/exchange.ts";
import { type FetchHandler, toFetchHandler, toResponse } from "./http/fetch.ts";
import { createAnswer, createRequestHandler, type HandlerOptions } from "./http/handler.ts";
import { checkList, checkSingle, defineMisnamedMethods } from "./likely_slips.ts";
import { eventsReply } from "./http/reply.ts";
import type { RealityServerOptions } from "./options.ts";
import type { EventSourceRequest } from "./sse/request.ts";
import { guardStamp } from "./stamp/guard.ts";
import type { Stamp } from "./stamp/stamp.ts";
import type { StampOptions } from "./stamp/stamps.ts";
import type {
  NodeUpdate,
  OutboxQuery,
  RealityNodeMeta,
  ServerStats,
  SSEOptions,
  SyncRequest,
  SyncResponse,
  UpdateOptions,
} from "./types.ts";

/**
 * A Reality server. It keeps the versions of nodes in a storage and tells clients which of their versions are old.
 *
 * It has no state that another server on the same storage would need. Start any number of servers behind a load
 * balancer.
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
   * Creates a server. It does not call the storage before the first request or change.
   *
   * @param options `storage`, and the options that differ from their defaults.
   * @throws {TypeError} If an option is missing, unknown or of the wrong type. The message names it.
   * @throws {RangeError} If a number is out of range. The message names it.
   */
  constructor(options: RealityServerOptions) {
    this.#parts = createServer(checkOptions(options));
    defineMisnamedMethods(RealityServer.prototype);
  }

  /** The option `serverId`, or a random id. */
  get serverId(): string {
    return this.#parts.status.serverId;
  }

  /**
   * Writes the hash of a node's new state. Every client that follows the node is told.
   *
   * Resolves when the storage has the change. Call it after the application's own data is committed, so that a client
   * that reads the data at once finds the new state.
   *
   * @param key The node's key: 1 to 512 bytes of UTF-8 without control characters.
   * @param hash The fingerprint of the new state, or a promise of it: up to 256 bytes of UTF-8.
   * @param options `ifChanged`: writes nothing, and tells no client, if the stored hash is the same.
   * @returns The new meta; with `ifChanged`, the stored one if nothing was written.
   * @throws {TypeError} When the key or the hash is not a string, or an option is unknown or wrong.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long. It may or may not have the change then.
   * @throws {ClosedError} After `close()`.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.updateNode("chat:room:general", "abc123");
   * console.assert((await server.getNode("chat:room:general"))?.hash === "abc123");
   *
   * const { version } = await server.updateNode("report", "abc123");
   * const same = await server.updateNode("report", "abc123", { ifChanged: true });
   * console.assert(same.version === version);
   * await server.close();
   * ```
   */
  async updateNode(
    key: string,
    hash: string | Promise<string>,
    options?: UpdateOptions,
  ): Promise<RealityNodeMeta> {
    const update: NodeUpdate = { key, hash: typeof hash === "string" ? hash : await hash };
    if (options !== undefined) Object.assign(update, checkNames("updateNode()", options, ["ifChanged"]));
    const change = this.#parts.nodes.update([update]);
    const [meta] = change instanceof Promise ? await change : change;
    return meta as RealityNodeMeta;
  }

  /**
   * Does for many nodes what {@linkcode RealityServer.updateNode} does for one. The storage gets up to 1,000 of them in
   * one atomic step.
   *
   * @returns The new metas, in the order given.
   * @throws {TypeError} When a key or hash is not a string. Then nothing is written.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long. It may or may not have the change then.
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
    checkList(updates, "{ key, hash }");
    return await this.#parts.nodes.update(updates);
  }

  /**
   * Marks a node as changed, if the application has no hash of it. A new random hash is written.
   *
   * @throws {TypeError} When the key is not a string.
   * @throws {RangeError} When it is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long. It may or may not have the change then.
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
    checkSingle("invalidateMany", arguments);
    await this.#parts.nodes.invalidate([key]);
  }

  /**
   * Does for many nodes what {@linkcode RealityServer.invalidate} does for one.
   *
   * @returns The new metas, in the order given.
   * @throws {TypeError} When a key is not a string. Then nothing is written.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long. It may or may not have the change then.
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
    checkList(keys, "keys");
    return await this.#parts.nodes.invalidate(keys);
  }

  /**
   * Writes in a transaction of the application that nodes change. Once that transaction is committed, every client that
   * asks any server is told, even if this process dies at once. If it is rolled back, no client is told.
   *
   * The storage needs the option `outbox`, and its tables must exist: the first request or change creates them.
   *
   * @param query Runs a statement on the connection of the transaction. The text has the placeholders of the storage's
   *   database: `$1` for PostgreSQL, `?` for MySQL and SQLite.
   * @param updates Keys and hashes, as for {@linkcode RealityServer.updateMany}. An empty hash stands for none. `ifChanged`
   *   is ignored: the change is always written.
   * @returns A promise if `query` returns one. With a driver that answers at once the rows are written when this returns.
   * @throws {TypeError} When the storage has no outbox, or a key or hash is not a string. Then nothing is written.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed. Then nothing is written.
   * @throws {ClosedError} After `close()`.
   * @throws {Error} What `query` throws or rejects with. Then roll the transaction back.
   *
   * @example
   * ```ts
   * import { DatabaseSync } from "node:sqlite";
   * import { RealityServer } from "@rootlodge/reality-server";
   * import { openSQLite } from "@rootlodge/reality-server/sqlite";
   *
   * const db = new DatabaseSync(":memory:");
   * db.exec("CREATE TABLE messages (room TEXT, text TEXT)");
   * const server = new RealityServer({ storage: openSQLite(db, { outbox: true }) });
   * await server.getNode("chat:general");
   *
   * db.exec("BEGIN");
   * db.prepare("INSERT INTO messages VALUES (?, ?)").run("general", "hello");
   * server.updateIn((text, params) => db.prepare(text).run(...params), [{ key: "chat:general", hash: "1" }]);
   * db.exec("COMMIT");
   *
   * console.assert((await server.getNode("chat:general"))?.hash === "1");
   * await server.close();
   * db.close();
   * ```
   */
  updateIn(query: OutboxQuery, updates: readonly NodeUpdate[]): void | Promise<void> {
    checkList(updates, "{ key, hash }");
    return this.#parts.outbox.write(query, updates);
  }

  /**
   * Does what {@linkcode RealityServer.updateIn} does, if the application has no hashes. Random ones are written.
   *
   * @param query Runs a statement on the connection of the transaction.
   * @param keys The keys of the nodes.
   * @returns A promise if `query` returns one.
   * @throws {TypeError} When the storage has no outbox, or a key is not a string. Then nothing is written.
   * @throws {RangeError} When a key is too long or has characters that are not allowed. Then nothing is written.
   * @throws {ClosedError} After `close()`.
   * @throws {Error} What `query` throws or rejects with. Then roll the transaction back.
   *
   * @example
   * ```ts
   * import { Pool } from "pg";
   * import { RealityServer } from "@rootlodge/reality-server";
   * import { openPostgres } from "@rootlodge/reality-server/postgres";
   *
   * const url = "postgres://app:secret@localhost:5432/app";
   * const server = new RealityServer({ storage: openPostgres(url, { outbox: true }) });
   * const pool = new Pool({ connectionString: url });
   *
   * async function post(room: string, text: string) {
   *   const client = await pool.connect();
   *   try {
   *     await client.query("BEGIN");
   *     await client.query("INSERT INTO messages VALUES ($1, $2)", [room, text]);
   *     await server.invalidateIn((text, params) => client.query(text, params), [`chat:${room}`]);
   *     await client.query("COMMIT");
   *   } catch (error) {
   *     await client.query("ROLLBACK");
   *     throw error;
   *   } finally {
   *     client.release();
   *   }
   * }
   * console.assert(typeof post === "function");
   * await pool.end();
   * await server.close();
   * ```
   */
  invalidateIn(query: OutboxQuery, keys: readonly string[]): void | Promise<void> {
    checkList(keys, "keys");
    return this.#parts.outbox.write(query, keys.map((key) => ({ key, hash: "" })));
  }

  /**
   * Deletes a node. Clients that have a version of it are told that it was deleted.
   *
   * @throws {TypeError} When the key is not a string.
   * @throws {RangeError} When it is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long. It may or may not have the change then.
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
    checkSingle("deleteNode for each", arguments);
    await this.#parts.nodes.delete(key);
  }

  /**
   * Calls `authorize` again for every client that waits for or streams one of these keys, and tells the client at once
   * what it may now read, or no longer read. Call it after a right was granted or revoked. Without it, the change of
   * rights takes effect at the next change of such a key. It reaches the clients of this process only. With several
   * processes, call it in each, or call `invalidateMany`, which reaches all clients and tells them that the keys changed.
   *
   * @param keys The keys whose readers have changed.
   * @throws {TypeError} When the argument is not an array of strings.
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
   * Reads the current meta of a node; `null` if there is no node.
   *
   * @throws {TypeError} When the key is not a string.
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
   * Answers a sync request: at once, or, with `wait`, as soon as a key has changed.
   *
   * @param request The versions that the client has. It is checked, so a parsed body can be passed as it is.
   * @param options `signal`: aborts when the client disconnects; then the wait ends and the call rejects with its reason.
   *   `request`: passed to `authorize`; without it the caller may read every key.
   *   `context`: passed to `authorize` as `context`.
   * @throws {RefusalError} When the request is invalid. The message names the field or the limit.
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
    return guardStamp(this.#parts.createStamp(keys, options));
  }

  /**
   * Returns the ids of the peers that have answered at least once and are not gone.
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
   * Returns statistics of this server. Never rejects: a storage that does not answer is reported in them.
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
   * Opens a stream of server-sent events for clients that use `EventSource`: first an `update` event with the meta of
   * each node that exists, then one for each change.
   *
   * @param request A `Request`, or the request of Express, Fastify or `node:http`, or Hono's context; its
   *   `Last-Event-ID` resumes.
   * @param options The keys to follow, and the interval of heartbeats.
   * @returns A response whose body streams until either side ends it.
   * @throws {TypeError} For an option that is unknown or wrong, and for a value that is not a request.
   * @throws {RangeError} For a number that is out of range.
   * @throws {RefusalError} For an invalid key, for too many keys, and when `authorize` refuses the request.
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
   * Creates a handler for all routes of this server. The same as `createFetchHandler(server, options)`.
   *
   * @param options The base path, CORS and the metrics route.
   * @throws {TypeError} If an option is unknown or wrong. The message names it.
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
    return toFetchHandler(createAnswer(this.#parts.handlerDeps, options));
  }

  /**
   * Creates the handler that adapters use. Its requests do not have to be a `Request`. It never rejects.
   *
   * @param options The base path, CORS and the metrics route.
   * @throws {TypeError} If an option is unknown or wrong. The message names it.
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
   * Closes the server. It refuses new requests, answers waiting ones and ends streams. Resolves when the storage has all
   * changes and the peers have their pending updates, or after `closeTimeout`; then `onError` is told what is unfinished.
   * The storage stays open, because it belongs to the caller. May be called twice.
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
