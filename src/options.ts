/**
 * The options of a server, as an application gives them.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import type { RealityError } from "./errors.ts";
import type { Limits } from "./server_limits.ts";
import type { RedisPublisher, RedisSubscriber } from "./redis/client.ts";
import type { RealityStorage } from "./store/contract.ts";
import type { RealityEvent } from "./telemetry/events.ts";

/** The options of a server. Only `storage` is required. */
export interface RealityServerOptions {
  /**
   * The storage that keeps the nodes. Servers that share a database share its nodes.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage() });
   * await server.close();
   * ```
   */
  storage: RealityStorage;
  /**
   * The server's name. It must be unique among its peers: 1 to 128 visible characters of ASCII.
   *
   * @default a random name
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage(), serverId: "eu-1" });
   * console.assert(server.serverId === "eu-1");
   * await server.close();
   * ```
   */
  serverId?: string | undefined;
  /**
   * The URLs of the other servers, for example `http://server-2:3000`. Each URL must lead to one server and to no other. A
   * URL without a path is asked at `/reality/sync`. Each server should list all the others. Without `meshSecret` it must.
   *
   * @default {[]}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   meshPeers: ["http://server-2:3000"],
   * });
   * await server.close();
   * ```
   */
  meshPeers?: readonly string[] | undefined;
  /**
   * The secret that the servers share. They sign their messages with it and refuse messages without a valid signature. At
   * least 16 characters; 32 random ones are best. With two secrets, each message is signed with both, and a signature by
   * either is accepted. So a secret can be replaced without an outage. Without a secret a server proves its identity by
   * answering at its address in `meshPeers`: that trusts the network between the servers.
   *
   * @default {undefined}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   meshPeers: ["http://server-2:3000"],
   *   meshSecret: ["the-new-secret-of-the-servers", "the-old-secret-of-the-servers"],
   * });
   * await server.close();
   * ```
   */
  meshSecret?: string | readonly string[] | undefined;
  /**
   * When and how to talk to the other servers.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   meshPeers: ["http://server-2:3000"], mesh: { interval: 5_000 },
   * });
   * await server.close();
   * ```
   */
  mesh?: MeshOptions | undefined;
  /**
   * Redis clients that carry changes to the other servers sooner. Nothing depends on them: when Redis is lost, changes arrive
   * by the peers or by the database.
   *
   * @default no Redis
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * import type { RedisPublisher, RedisSubscriber } from "@rootlodge/reality-server";
   *
   * function createServer(publisher: RedisPublisher, subscriber: RedisSubscriber): RealityServer {
   *   return new RealityServer({
   *     storage: new MemoryStorage(),
   *     redis: { publisher, subscriber },
   *     meshSecret: "the-secret-of-the-servers",
   *   });
   * }
   * console.assert(typeof createServer === "function");
   * ```
   */
  redis?: RedisOptions | undefined;
  /**
   * Called for failures in the background and for a storage that fails: once when it fails, and once with `recovered` when it
   * works again. Errors that it throws are ignored.
   *
   * @default failures are not reported
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   onError: (error) => console.error(error),
   * });
   * await server.close();
   * ```
   */
  onError?: ((error: RealityError) => void) | undefined;
  /**
   * Called for requests, syncs, changes, streams and refusals, and when the state of the storage, a peer or Redis changes. Use it
   * for logs and traces. It runs while a request is answered, so it should be quick. Errors that it throws are ignored.
   *
   * @default no events
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   onEvent: (event) => event.type === "refusal" && console.log(event.code),
   * });
   * await server.close();
   * ```
   */
  onEvent?: ((event: RealityEvent) => void) | undefined;
  /**
   * Whether events name keys and the URLs of peers. Keys may contain what should not be logged.
   *
   * @default {false}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   onEvent: console.log, eventKeys: true,
   * });
   * await server.close();
   * ```
   */
  eventKeys?: boolean | undefined;
  /**
   * Bearer tokens for the write routes, each of 16 to 1,024 visible characters of ASCII. A token may change every node. Several
   * tokens may be valid at once, so that a token can be replaced without an outage.
   *
   * @default {[]}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   writeTokens: ["the-token-of-the-back-end"],
   * });
   * await server.close();
   * ```
   */
  writeTokens?: readonly string[] | undefined;
  /**
   * Returns which of these keys a request may read. Called for each sync, when an event stream begins, and again before a waiting
   * client is answered. A key that may not be read looks like a key without a node. A `RefusalError` that it throws, for
   * example `ERR_REALITY_UNAUTHORIZED` for an invalid token, becomes the answer. The third argument is {@linkcode HookInfo}.
   *
   * @default every client may read every key whose name it knows
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   authorize: (request, keys) => request.headers.has("cookie") ? keys : keys.filter((key) => key.startsWith("public:")),
   * });
   * await server.close();
   * ```
   */
  authorize?: Authorize | undefined;
  /**
   * Returns whether a request may change these keys through the write routes. Called when no token of `writeTokens` matches.
   *
   * @default the write routes are closed, or open to `writeTokens` only
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   authorizeWrite: (request) => request.headers.get("x-role") === "editor",
   * });
   * await server.close();
   * ```
   */
  authorizeWrite?: AuthorizeWrite | undefined;
  /**
   * Returns whether everybody may read a key, and every cache may keep what is said about it. Clients may ask for these keys by
   * `GET {basePath}/sync`, so that a CDN or proxy answers many clients with one request to the server. `authorize` is not asked
   * then: the answer depends on the query alone. A key for which it returns `false` is refused with 403. When it throws, or
   * returns something else, the answer is a 500. It must decide by the key alone, and quickly.
   *
   * @default no key is public, and `GET {basePath}/sync` is answered with 405
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   public: (key) => key.startsWith("score:"),
   * });
   * await server.close();
   * ```
   */
  public?: ((key: string) => boolean) | undefined;
  /**
   * The groups that a key is in. Each change of the key changes its groups as well, in the same commit, however the
   * change arrives: so a client that follows a group is told of every change in it. Called once for each change, at once,
   * and must always return the same for the same key, on all servers. An object with `of` and `isGroup` also tells clients
   * that follow a key which no group has. See `docs/groups.md`.
   *
   * @default no key is in a group
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   groups: (key) => key.startsWith("chat:") ? ["chat:*"] : [],
   * });
   * await server.updateNode("chat:42", "rev-1");
   * console.assert(await server.getNode("chat:*") !== null);
   * await server.close();
   * ```
   */
  groups?: GroupFunction | GroupsOptions | undefined;
  /**
   * What one request and one server may use at most.
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   limits: { maxKeys: 100, maxWait: 30_000 },
   * });
   * await server.close();
   * ```
   */
  limits?: Partial<Limits> | undefined;
  /**
   * How often one client may send requests. Each server counts for itself. Further requests get 429 with `Retry-After`.
   *
   * @default clients are not limited
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   rateLimit: { limit: 600, window: 60_000 },
   * });
   * await server.close();
   * ```
   */
  rateLimit?: RateLimitOptions | undefined;
  /**
   * Which proxies are trusted to name the client in `X-Forwarded-For` or `Forwarded`: the number of proxies in a row before this
   * server, or their addresses and networks. `"unix"` stands for clients that connect through a Unix socket. Prefer addresses:
   * with a number, a client that reaches the server without the proxies can name any address. A proxy should set or remove
   * both fields. When both are there and differ, neither is used.
   *
   * @default no proxy is trusted: the address that connects is the client's
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   trustProxy: ["10.0.0.0/8", "::1"],
   * });
   * await server.close();
   * ```
   */
  trustProxy?: number | readonly string[] | undefined;
  /**
   * How long `close()` may take to write changes to the storage and to send pending updates to the peers, in milliseconds. After
   * half of it, requests that wait for a hook are refused. Lower stops sooner; higher allows for slower databases and peers. 0
   * to 3,600,000.
   *
   * @default {5000}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage(), closeTimeout: 10_000 });
   * await server.close();
   * ```
   */
  closeTimeout?: number | undefined;
  /**
   * How long one call of the storage may take before it counts as failed, in milliseconds. A change that waits for other changes
   * is refused after 1.25 times as long, whether it was sent or not. Lower answers 503 sooner; higher allows for slower
   * databases. 1 to 3,600,000.
   *
   * @default {10000}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage(), storageTimeout: 3_000 });
   * await server.close();
   * ```
   */
  storageTimeout?: number | undefined;
  /**
   * How long one call of `authorize`, `authorizeWrite`, `rateLimit.key` or the handler's `metrics` may take, in milliseconds. A
   * call that takes longer counts as failed: the request gets 503 with `Retry-After`, and a stream ends. Lower frees the slots
   * of requests sooner; higher allows for slower services behind the hooks. 1 to 3,600,000.
   *
   * @default {10000}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   authorize: () => true, hookTimeout: 2_000,
   * });
   * await server.close();
   * ```
   */
  hookTimeout?: number | undefined;
  /**
   * Whether each request does its own I/O. Set it to `true` on Cloudflare Workers, and wherever a connection, a timer or a promise
   * belongs to the request that made it. Each request then reads and writes by itself, and each waiting request polls the
   * storage by itself: a sync costs one query, and each second of waiting about two, for every client. With `false`, requests
   * share reads, commits and polls: one query serves many clients, and a waiting client costs no query of its own.
   * `meshPeers`, `meshSecret` and `redis` cannot be used with `true`, since they work beside the requests.
   *
   * @default {false}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({ storage: new MemoryStorage(), requestScopedIO: true });
   * await server.close();
   * ```
   */
  requestScopedIO?: boolean | undefined;
  /**
   * Time, timers and randomness. For tests.
   *
   * @default the clock of the runtime
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const clock = {
   *   now: () => Date.now(),
   *   elapsed: () => performance.now(),
   *   random: () => 0.5,
   *   after(ms: number, callback: () => void) {
   *     const timer = setTimeout(callback, ms);
   *     return () => clearTimeout(timer);
   *   },
   * };
   * const server = new RealityServer({ storage: new MemoryStorage(), clock });
   * await server.close();
   * ```
   */
  clock?: Clock | undefined;
}

/** When and how a server talks to its peers. */
export interface MeshOptions {
  /**
   * How often to exchange with a few peers when nothing happens, in milliseconds. With 0, no timer runs: changes and the
   * requests of clients start exchanges. Lower finds lost updates and dead peers sooner; higher sends less. 0, or at least
   * 100.
   *
   * @default {0}
   */
  interval?: number | undefined;
  /**
   * How many peers get a change directly. With more peers, each of these forwards it to a share of the others. Lower sends
   * fewer requests at once; higher reaches all peers in fewer steps. 1 to 1,000.
   *
   * @default {8}
   */
  fanout?: number | undefined;
  /**
   * How long one request to a peer may take, in milliseconds. If a client has a newer version than this server, the server
   * asks its peers, and the client waits for that long at most. Lower finds dead peers sooner; higher allows slow networks.
   * 10 to 60,000.
   *
   * @default {2000}
   */
  timeout?: number | undefined;
  /**
   * Whether peers may send the URLs of other servers, which then become peers as well. Requires `meshSecret`. With `false`,
   * only the URLs in `meshPeers` are called.
   *
   * @default {false}
   */
  discovery?: boolean | undefined;
  /**
   * Sends requests to peers, for example through a service binding or with a client certificate.
   *
   * @default the `fetch` of the runtime
   */
  fetch?: ((request: Request) => Promise<Response>) | undefined;
}

/**
 * What a hook gets beside the request.
 *
 * @example
 * ```ts
 * import { type HookInfo, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * // What a middleware of yours has put there. With the types of Express: HookInfo<express.Request>.
 * interface SignedIn {
 *   readonly user?: { readonly id: string };
 * }
 *
 * const server = new RealityServer({
 *   storage: new MemoryStorage(),
 *   authorize(_request, keys, { context }: HookInfo<SignedIn>) {
 *     return keys.filter((key) => key.startsWith(`user:${context.user?.id}:`));
 *   },
 * });
 * const request = new Request("http://localhost/");
 * const known = { "user:7:mail": 1, "user:8:mail": 0 };
 * const { changed } = await server.handleSync({ known }, { request, context: { user: { id: "7" } } });
 * console.assert(changed["user:7:mail"]?.deleted === true);
 * await server.close();
 * ```
 */
export interface HookInfo<Context = unknown> {
  /**
   * The request of Express, Fastify or `node:http`, the context of Hono, or `{ env, ctx }` with the second and third
   * argument of a fetch handler ({@linkcode FetchContext}). For `handleSync` and `handleSSECompat` it is their option
   * `context`. The type is not checked: use the type of your host.
   */
  readonly context: Context;
}

/** Decides whether a request may read the metrics of the server. */
export type MetricsHook<Context = unknown> = {
  metrics(request: Request, info: HookInfo<Context>): boolean | Promise<boolean>;
}["metrics"];

/**
 * Returns which keys a request may read. The request's body has been read. A `RefusalError` that it throws is answered with its
 * status, and ends a stream. A `RealityError` with `ERR_REALITY_HOOK`, as where another service does not answer, is a 503 and
 * is reported once until the hook answers again. Anything else is a 500 and is reported.
 *
 * It is called at each sync, at the start of a stream, and before a waiting or streaming client is told of a change. A
 * right that is granted or revoked in the meantime therefore takes effect at the next change of one of the keys, at the
 * next sync, or when `recheck` is called.
 */
export type Authorize<Context = unknown> = {
  authorize(
    request: Request,
    keys: readonly string[],
    info: HookInfo<Context>,
  ): ReadingRights | Promise<ReadingRights>;
}["authorize"];

/**
 * All of the keys, none, or those that are allowed. With `expiresAt`, the time in milliseconds since 1970 at which this
 * identity ends: a wait or a stream ends then.
 */
export type ReadingRights = AllowedKeys | { readonly keys: AllowedKeys; readonly expiresAt?: number };

/** All of the keys of the request, none, or these. */
export type AllowedKeys = boolean | readonly string[] | ReadonlySet<string>;

/**
 * Returns the keys of the groups that a key is in: at most 16 keys that end in `*`. A key that ends in `*` is in no group
 * and is not passed.
 */
export type GroupFunction = (key: string) => readonly string[];

/** The option `groups` of a server that refuses keys which no group has. */
export interface GroupsOptions {
  /** Finds the groups of a key. */
  of: GroupFunction;
  /**
   * Whether there is a group with this key, with or without members. A client that follows a key with `*` for which this
   * is false, and which has no node, is told so in the answer. It must return at once. If it throws, or returns something
   * else, `onError` is called and no key is refused.
   *
   * @default no key is refused
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   groups: {
   *     of: (key) => key.startsWith("chat:") ? ["chat:*"] : [],
   *     isGroup: (key) => key === "chat:*",
   *   },
   * });
   * const { refused } = await server.handleSync({ known: { "chat:*": 0, "chats:*": 0 } });
   * console.assert(Object.keys(refused ?? {}).join() === "chats:*");
   * await server.close();
   * ```
   */
  isGroup?: ((key: string) => boolean) | undefined;
  /**
   * Whether answers to requests with `detail` name the members of a group that changed. Where that cannot be proven, they
   * say "all": always on a server with peers or Redis.
   *
   * Set it only if every server that uses the storage has the same `of` and this option, and no peers, and give the storage
   * a new epoch (`reality-server new-epoch`) after a deploy that changed `of`: servers with two functions at the same
   * time would not name the members that only the other one knows. Otherwise a client that fetches only what is named
   * misses changes. Each change of a group by itself, without a member, then writes one more node.
   *
   * @default {false}
   *
   * @example
   * ```ts
   * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
   *
   * const server = new RealityServer({
   *   storage: new MemoryStorage(),
   *   groups: { of: (key) => key.startsWith("chat:") ? ["chat:*"] : [], detail: true },
   * });
   * await server.updateNode("chat:1", "rev-1");
   * const { changed, epoch } = await server.handleSync({ known: { "chat:*": 0 }, detail: true });
   * await server.updateNode("chat:2", "rev-1");
   * const known = { "chat:*": changed["chat:*"]?.version ?? 0 };
   * const { detail } = await server.handleSync({ known, epoch, detail: true });
   * console.assert(Object.keys(detail?.["chat:*"] ?? {}).join() === "chat:2");
   * await server.close();
   * ```
   */
  detail?: boolean | undefined;
}

/** Returns whether a request may change these keys. */
export type AuthorizeWrite<Context = unknown> = {
  authorizeWrite(
    request: Request,
    keys: readonly string[],
    info: HookInfo<Context>,
  ): boolean | Promise<boolean>;
}["authorizeWrite"];

/**
 * Two Redis clients of the application, of ioredis 5 and later or node-redis 4 and later. A client that is not connected yet
 * is used as soon as it is. Both stay connected when the server is closed. `connectRedis` of
 * `@rootlodge/reality-server/ioredis` creates both from an address.
 *
 * With ioredis, use the channel for nothing else: the subscription to it ends when the server is closed.
 */
export interface RedisOptions {
  /** The client that publishes. */
  publisher: RedisPublisher;
  /** The client that subscribes. It must be another one, with a connection of its own. */
  subscriber: RedisSubscriber;
  /**
   * The channel's name, the same for all servers that belong together; 1 to 512 characters.
   *
   * @default {"reality:updates"}
   */
  channel?: string | undefined;
}

/** How many requests one client may send. */
export interface RateLimitOptions {
  /** How many requests a client may send in a window. A client that sent none for a while may send all at once. 1 to 1,000,000. */
  limit: number;
  /** The length of the window, in milliseconds. 1,000 to 86,400,000. */
  window: number;
  /**
   * Identifies a client. Requests for which it returns the same text count as one client. Requests for which it returns
   * `null` are not limited. If it throws, the request gets 500 and `onError` gets the error.
   *
   * @default the address of the client: the whole address for IPv4, the first 64 bits for IPv6
   */
  key?: RateLimitKey | undefined;
}

/**
 * Returns a text that identifies the client; `null` for a client that is not limited, such as a peer.
 *
 * `address` is the address of the client behind the proxies of `trustProxy`; `null` if the runtime does not provide it.
 */
export type RateLimitKey<Context = unknown> = {
  key(
    request: Request,
    client: HookInfo<Context> & { readonly address: string | null },
  ): string | null | Promise<string | null>;
}["key"];
