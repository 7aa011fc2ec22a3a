/**
 * The server's options, their defaults, and the one place where they are checked.
 *
 * @module
 */
import { parseNetwork, type TrustedProxies } from "./limits/client_address.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { RealityError } from "./errors.ts";
import type { RealityEvent } from "./telemetry/events.ts";
import { kindOf, MAX_HASH_BYTES, MAX_KEY_BYTES } from "./store/node.ts";
import { redactURL } from "./redact.ts";
import type { RedisPublisher, RedisSubscriber } from "./redis/client.ts";
import type { RealityStorage } from "./store/contract.ts";

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
   * least 16 characters; 32 random ones are best. Of two secrets, the first signs and both are accepted, so that a secret can
   * be replaced without an outage. Without a secret a server proves its identity by answering at its address in `meshPeers`:
   * that trusts the network between the servers.
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
   *   onError: (error) => console.error(error.code, error.message),
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
   * Bearer tokens for the write routes. Each has at least 16 characters. Several tokens may be valid at once, so that a token can
   * be replaced without an outage.
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
   * Says which of these keys a request may read. Called for each sync, when an event stream begins, and again before a waiting
   * client is answered. A key that may not be read looks like a key without a node. A `RefusalError` that it throws, for
   * example `UNAUTHORIZED` for an invalid token, becomes the answer. What the host knows of the client is in {@linkcode HookInfo}.
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
   * Says whether a request may change these keys through the write routes. Called when no token of `writeTokens` matches.
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
   * databases. At least 1.
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
   * @default the runtime's own
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
   * How often to talk to a few peers although nothing happens, in milliseconds. 0 for never: then exchanges ride
   * on changes and on clients' requests, and no timer runs. At least 100.
   *
   * @default {0}
   */
  interval?: number | undefined;
  /**
   * How many peers are told of a change directly; of more, each of these tells its share. Lower sends less at
   * once; higher reaches all in fewer steps. 1 to 1,000.
   *
   * @default {8}
   */
  fanout?: number | undefined;
  /**
   * How long one request to a peer may take, in milliseconds; a client that knows more than this server waits no
   * longer for the peers either. Lower finds dead peers sooner; higher bears slow links. 10 to 60,000.
   *
   * @default {2000}
   */
  timeout?: number | undefined;
  /**
   * Whether peers may tell where other servers are, which are then asked as well. Needs `meshSecret`: a URL from
   * anybody else is never called.
   *
   * @default {false}
   */
  discovery?: boolean | undefined;
  /**
   * What sends a request to a peer in place of the runtime's `fetch`: a service binding, a client certificate.
   *
   * @default the runtime's own
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
   * What the host knows: Express' or Fastify's request, Hono's context, the request of `node:http`, or `{ env, ctx }`
   * with what else a fetch handler was given ({@linkcode FetchContext}). From `handleSync` and `handleSSECompat` it is
   * their option `context`. Which of these it is, nobody checks: name the type of the host in front.
   */
  readonly context: Context;
}

/**
 * Says which keys a request may read. The request's body has been read. A `RefusalError` that it throws is answered with its
 * status, and ends a stream. A `RealityError` with `ERR_REALITY_HOOK`, as where another service does not answer, is a 503 and
 * is reported once until the hook answers again. Anything else is a 500 and is reported.
 *
 * It is asked at each sync, when a stream begins, and before who waits or streams is told of a change. A right that is
 * granted or taken away meanwhile is therefore noticed at the next change of one of the keys, at the next sync, or when
 * `recheck` is called.
 */
export type Authorize<Context = unknown> = {
  authorize(
    request: Request,
    keys: readonly string[],
    info: HookInfo<Context>,
  ): ReadingRights | Promise<ReadingRights>;
}["authorize"];

/**
 * All of the keys or none, or those that are allowed; and, if need be, the moment when this identity ends, in
 * milliseconds since 1970: a wait or a stream is then over.
 */
export type ReadingRights = AllowedKeys | { readonly keys: AllowedKeys; readonly expiresAt?: number };

/** All of the keys that were asked for, none, or these. */
export type AllowedKeys = boolean | readonly string[] | ReadonlySet<string>;

/** Says whether a request may change these keys. */
export type AuthorizeWrite<Context = unknown> = {
  authorizeWrite(
    request: Request,
    keys: readonly string[],
    info: HookInfo<Context>,
  ): boolean | Promise<boolean>;
}["authorizeWrite"];

/**
 * Redis clients of the application's: of ioredis 5 and later, or of node-redis 4 and later. Ones that are not
 * connected yet are used as soon as they are. They stay connected when the server is closed. `connectRedis` of
 * `@rootlodge/reality-server/ioredis` makes both from an address.
 *
 * With a client of ioredis, leave the channel to the server: its subscription ends when the server is closed.
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

/** How often one client may ask. */
export interface RateLimitOptions {
  /** Requests in a window; a client that was quiet may send as many at once. 1 to 1,000,000. */
  limit: number;
  /** The window's length, in milliseconds. 1,000 to 86,400,000. */
  window: number;
  /**
   * Tells clients apart: those that give the same text are counted together; `null` is not limited. Left out, it is
   * the address, and of IPv6 the network of 64 bits that a client commonly has for itself. What it throws is a 500 and
   * is reported.
   *
   * @default the client's address
   */
  key?: RateLimitKey | undefined;
}

/**
 * Says who asks, in a text of its own for each client; `null` for one that is not limited, such as a peer.
 *
 * `address` is the client's, with `trustProxy` taken into account; `null` where the runtime does not tell.
 */
export type RateLimitKey<Context = unknown> = {
  key(
    request: Request,
    client: HookInfo<Context> & { readonly address: string | null },
  ): string | null | Promise<string | null>;
}["key"];

/** What one request and one server may take at most. */
export interface Limits {
  /** Bytes in a request's body, counted while it is read. @default {1048576} */
  readonly maxBodyBytes: number;
  /** Keys in one request. @default {10000} */
  readonly maxKeys: number;
  /** Bytes of UTF-8 in a key; 512 at the most. @default {512} */
  readonly maxKeyBytes: number;
  /** Bytes of UTF-8 in a hash; 256 at the most. @default {256} */
  readonly maxHashBytes: number;
  /** Milliseconds that a sync waits; a longer `wait` is shortened. 0 answers all at once. @default {25000} */
  readonly maxWait: number;
  /** Waiting syncs and open streams at once; further syncs are answered at once, with a pause. @default {50000} */
  readonly maxWaiters: number;
  /**
   * The same of one client, as `rateLimit` tells clients apart: by address, behind the proxies of `trustProxy`. Of
   * `maxWaitingBytes` it has as large a part as this is of `maxWaiters`. Left out: half of `maxWaiters`, or 1,000 where
   * that is more.
   *
   * @default {25000}
   */
  readonly maxWaitersPerClient: number;
  /** The same of one connection of `node:http` or HTTP/2, which can bring many requests at once. @default {250} */
  readonly maxWaitersPerConnection: number;
  /**
   * Bytes of memory that waiting syncs and open streams hold at once, by estimate: for each 1,024, and for each of its
   * keys its length and 128. Further syncs are answered at once, with a pause.
   *
   * @default {134217728}
   */
  readonly maxWaitingBytes: number;
  /** Open streams at once; further ones tell the present state and end. @default {50000} */
  readonly maxStreams: number;
  /** Requests being read or answered at once, without those that wait; further ones get 503. @default {10000} */
  readonly maxRequests: number;
  /** Bytes of bodies held while they are read, all requests together; further ones get 503. @default {67108864} */
  readonly maxReadingBytes: number;
  /** Milliseconds that a request's body may take to arrive. @default {10000} */
  readonly bodyTimeout: number;
  /**
   * Bytes of responses that clients have not taken yet, all together; of more, those that have been pending for longest
   * are cut off, connection and all. Event streams are none of them. Counted where the server is behind `node:http`,
   * `node:http2`, Express or Fastify.
   *
   * @default {67108864}
   */
  readonly maxSendingBytes: number;
  /**
   * Milliseconds after which a response is cut off that its client has not taken. Lower frees memory and connections
   * sooner; higher bears slower lines. Event streams have `stallTimeout` instead. Holds where `maxSendingBytes` does.
   *
   * @default {60000}
   */
  readonly responseTimeout: number;
  /** Milliseconds after which a stream is ended whose reader takes nothing of it. @default {60000} */
  readonly stallTimeout: number;
}

/** The checked options, with every default filled in. */
export interface ServerConfig {
  readonly storage: RealityStorage;
  /** The name given; a made-up one has to wait, since a Worker may not draw chance while it starts. */
  readonly serverId: string | undefined;
  readonly onError: (error: RealityError) => void;
  readonly onEvent: ((event: RealityEvent) => void) | undefined;
  readonly eventKeys: boolean;
  readonly writeTokens: readonly string[];
  readonly authorize: Authorize | undefined;
  readonly authorizeWrite: AuthorizeWrite | undefined;
  readonly limits: Limits;
  readonly rateLimit: RateLimitConfig | undefined;
  readonly trustProxy: TrustedProxies;
  readonly storageTimeout: number;
  readonly closeTimeout: number;
  readonly hookTimeout: number;
  readonly requestScopedIO: boolean;
  readonly clock: Clock;
  readonly mesh: CheckedMesh;
  readonly redis: RedisConfig | undefined;
}

/** The checked rate limit. */
export interface RateLimitConfig {
  readonly limit: number;
  readonly window: number;
  /** Undefined: by the client's address. */
  readonly key: RateLimitKey | undefined;
}

/** The checked options of the mesh. */
export interface CheckedMesh {
  readonly interval: number;
  readonly fanout: number;
  readonly timeout: number;
  readonly discovery: boolean;
  /** Undefined: the runtime's. */
  readonly fetch: ((request: Request) => Promise<Response>) | undefined;
  /** The whole URLs at which peers are asked. */
  readonly peers: readonly string[];
  readonly secrets: readonly string[];
}

/** The checked clients and channel of Redis. */
export interface RedisConfig {
  readonly publisher: RedisPublisher;
  readonly subscriber: RedisSubscriber;
  readonly channel: string;
}

/** The limits of a server that was given none. */
export const DEFAULT_LIMITS: Limits = Object.freeze({
  maxBodyBytes: 1_048_576,
  maxKeys: 10_000,
  maxKeyBytes: MAX_KEY_BYTES,
  maxHashBytes: MAX_HASH_BYTES,
  maxWait: 25_000,
  maxWaiters: 50_000,
  maxWaitersPerClient: 25_000,
  maxWaitersPerConnection: 250,
  maxWaitingBytes: 134_217_728,
  maxStreams: 50_000,
  maxRequests: 10_000,
  maxReadingBytes: 67_108_864,
  bodyTimeout: 10_000,
  maxSendingBytes: 67_108_864,
  responseTimeout: 60_000,
  stallTimeout: 60_000,
});

/** What each limit may be: lowest, highest. */
const LIMIT_RANGES: Readonly<Record<keyof Limits, readonly [number, number]>> = {
  maxBodyBytes: [1, 2 ** 30],
  maxKeys: [1, 1_000_000],
  maxKeyBytes: [1, MAX_KEY_BYTES],
  maxHashBytes: [1, MAX_HASH_BYTES],
  maxWait: [0, 3_600_000],
  maxWaiters: [0, 10_000_000],
  maxWaitersPerClient: [1, 10_000_000],
  maxWaitersPerConnection: [1, 10_000_000],
  maxWaitingBytes: [0, 2 ** 40],
  maxStreams: [0, 10_000_000],
  maxRequests: [1, 10_000_000],
  maxReadingBytes: [1, 2 ** 40],
  bodyTimeout: [10, 3_600_000],
  maxSendingBytes: [1, 2 ** 40],
  responseTimeout: [10, 3_600_000],
  stallTimeout: [10, 86_400_000],
};

const STORAGE_METHODS: readonly (keyof RealityStorage)[] = [
  "getNode",
  "setNode",
  "incrementVersion",
  "listChangedSince",
  "getNodes",
  "getMaxVersion",
  "deleteNode",
  "isHealthy",
];

/** The channel that servers meet on unless told otherwise. */
export const DEFAULT_CHANNEL = "reality:updates";

/** The longest name of a channel, in characters. */
const MAX_CHANNEL_LENGTH = 512;

/** How long a storage call may take unless told otherwise, in milliseconds. */
export const DEFAULT_STORAGE_TIMEOUT = 10_000;

/** How long a hook may take unless told otherwise, in milliseconds. */
const DEFAULT_HOOK_TIMEOUT = 10_000;

/** How long `close()` may take unless told otherwise, in milliseconds. */
const DEFAULT_CLOSE_TIMEOUT = 5_000;

/**
 * Checks the options of a server and fills in the defaults.
 *
 * @throws {TypeError} For an option that is unknown, missing or of the wrong kind; names it.
 * @throws {RangeError} For a number out of range; names it.
 */
export function checkOptions(options: RealityServerOptions): ServerConfig {
  const given = checkNames("RealityServer", options, [
    "storage",
    "serverId",
    "meshPeers",
    "meshSecret",
    "mesh",
    "redis",
    "onError",
    "onEvent",
    "eventKeys",
    "writeTokens",
    "authorize",
    "authorizeWrite",
    "limits",
    "rateLimit",
    "trustProxy",
    "closeTimeout",
    "storageTimeout",
    "hookTimeout",
    "requestScopedIO",
    "clock",
  ]);
  return Object.freeze({
    storage: checkStorage(given.storage),
    serverId: checkServerId(given.serverId),
    onError: checkFunction<(error: RealityError) => void>("onError", given.onError) ?? (() => {}),
    onEvent: checkFunction<(event: RealityEvent) => void>("onEvent", given.onEvent),
    eventKeys: checkBoolean("eventKeys", given.eventKeys ?? false),
    writeTokens: checkTokens(given.writeTokens),
    authorize: checkFunction<Authorize>("authorize", given.authorize),
    authorizeWrite: checkFunction<AuthorizeWrite>("authorizeWrite", given.authorizeWrite),
    limits: checkLimits(given.limits),
    rateLimit: checkRateLimit(given.rateLimit),
    trustProxy: checkTrustProxy(given.trustProxy),
    storageTimeout: given.storageTimeout === undefined
      ? DEFAULT_STORAGE_TIMEOUT
      : checkInteger("storageTimeout", given.storageTimeout, [1, 3_600_000]),
    closeTimeout: given.closeTimeout === undefined
      ? DEFAULT_CLOSE_TIMEOUT
      : checkInteger("closeTimeout", given.closeTimeout, [0, 3_600_000]),
    hookTimeout: given.hookTimeout === undefined
      ? DEFAULT_HOOK_TIMEOUT
      : checkInteger("hookTimeout", given.hookTimeout, [1, 3_600_000]),
    requestScopedIO: checkRequestScopedIO(given),
    clock: checkClock(given.clock),
    mesh: checkMesh(given),
    redis: checkRedis(given.redis),
  });
}

/**
 * Checks that a value is an object with none but the named options.
 *
 * @throws {TypeError} When it is something else or has another property; names it.
 */
export function checkNames(
  owner: string,
  options: unknown,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot read the options of ${owner}: expected an object, got ${kindOf(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new TypeError(`Unknown option "${name}" of ${owner}: known are ${names.join(", ")}`);
    }
  }
  return options as Record<string, unknown>;
}

/**
 * Checks an integer option against its range.
 *
 * @throws {TypeError} When it is no integer.
 * @throws {RangeError} When it is out of range.
 */
export function checkInteger(
  name: string,
  value: unknown,
  [lowest, highest]: readonly [number, number],
): number {
  if (!Number.isSafeInteger(value)) throw wrong(name, "an integer", value);
  const number = value as number;
  if (number < lowest || number > highest) {
    throw new RangeError(`Option "${name}" is out of range: expected ${lowest} to ${highest}, got ${number}`);
  }
  return number;
}

function wrong(name: string, expected: string, value: unknown): TypeError {
  return new TypeError(`Option "${name}" is wrong: expected ${expected}, got ${kindOf(value)}`);
}

function checkStorage(storage: unknown): RealityStorage {
  if (storage === undefined) {
    throw new TypeError(
      'Option "storage" is missing: write `storage: new MemoryStorage()`, or another storage',
    );
  }
  if (typeof storage !== "object" || storage === null) throw wrong("storage", "a storage", storage);
  for (const method of STORAGE_METHODS) {
    if (typeof (storage as Record<string, unknown>)[method] !== "function") {
      throw new TypeError(`Option "storage" is wrong: it has no method "${method}"`);
    }
  }
  return storage as RealityStorage;
}

function checkServerId(serverId: unknown): string | undefined {
  if (serverId === undefined) return undefined;
  if (typeof serverId !== "string") throw wrong("serverId", "a string", serverId);
  if (!/^[\x21-\x7e]{1,128}$/.test(serverId)) {
    throw new RangeError('Option "serverId" is out of range: expected 1 to 128 visible characters of ASCII');
  }
  return serverId;
}

function checkFunction<T>(name: string, value: unknown): T | undefined {
  if (value !== undefined && typeof value !== "function") throw wrong(name, "a function", value);
  return value as T | undefined;
}

function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrong(name, "true or false", value);
  return value;
}

/** What talks to other servers does so beside the requests, and between them. */
function checkRequestScopedIO(options: Readonly<Record<string, unknown>>): boolean {
  if (!checkBoolean("requestScopedIO", options.requestScopedIO ?? false)) return false;
  const { meshPeers, meshSecret, redis } = options;
  const hasPeers = Array.isArray(meshPeers) && meshPeers.length > 0;
  const used = Object.entries({ meshPeers: hasPeers ? meshPeers : undefined, meshSecret, redis });
  for (const [name, value] of used) {
    if (value === undefined || value === null) continue;
    throw new TypeError(
      `Option "${name}" cannot be used with requestScopedIO: it talks to other servers beside the requests`,
    );
  }
  return true;
}

function checkTokens(tokens: unknown): readonly string[] {
  if (tokens === undefined) return [];
  if (!Array.isArray(tokens)) throw wrong("writeTokens", "an array of strings", tokens);
  for (const token of tokens) {
    if (typeof token !== "string") throw wrong("writeTokens", "an array of strings", token);
    // What a client can send after "Bearer " without being cut or changed on the way.
    if (!/^[\x21-\x7e]{16,1024}$/.test(token)) {
      throw new RangeError(
        'Option "writeTokens" is out of range: expected tokens of 16 to 1024 visible characters of ASCII',
      );
    }
  }
  return Object.freeze([...tokens]);
}

function checkMesh(options: Readonly<Record<string, unknown>>): CheckedMesh {
  const peers = checkPeers(options.meshPeers);
  const secrets = checkSecrets(options.meshSecret);
  const names = ["interval", "fanout", "timeout", "discovery", "fetch"];
  const given = options.mesh === undefined ? {} : checkNames("mesh", options.mesh, names);
  const { interval = 0, fanout = 8, timeout = 2_000, discovery = false } = given;
  if (checkBoolean("mesh.discovery", discovery) && secrets.length === 0) {
    throw new TypeError('Option "mesh.discovery" is wrong: it needs a meshSecret');
  }
  return Object.freeze({
    peers,
    secrets,
    interval: interval === 0 ? 0 : checkInteger("mesh.interval", interval, [100, 86_400_000]),
    fanout: checkInteger("mesh.fanout", fanout, [1, 1_000]),
    timeout: checkInteger("mesh.timeout", timeout, [10, 60_000]),
    discovery: discovery === true,
    fetch: checkFunction<NonNullable<CheckedMesh["fetch"]>>("mesh.fetch", given.fetch),
  });
}

function checkPeers(peers: unknown): readonly string[] {
  if (peers === undefined) return [];
  if (!Array.isArray(peers)) throw wrong("meshPeers", "an array of URLs", peers);
  const urls = peers.map((peer, i) => {
    const name = `meshPeers[${i}]`;
    if (typeof peer !== "string") throw wrong(name, "a URL", peer);
    let url: URL;
    try {
      url = new URL(peer);
    } catch {
      throw new TypeError(
        `Option "${name}" is wrong: expected a URL, got ${JSON.stringify(redactURL(peer))}`,
      );
    }
    const isPlain = /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
    if (!isPlain) {
      throw new TypeError(
        `Option "${name}" is wrong: expected an http or https URL without a user's name in it`,
      );
    }
    url.hash = "";
    if (url.pathname === "/") url.pathname = "/reality/sync";
    return url.href;
  });
  return Object.freeze([...new Set(urls)]);
}

function checkSecrets(secret: unknown): readonly string[] {
  if (secret === undefined) return [];
  const secrets: readonly unknown[] = Array.isArray(secret) ? secret : [secret];
  if (secrets.length < 1 || secrets.length > 2) {
    throw new RangeError(
      `Option "meshSecret" is out of range: expected one or two secrets, got ${secrets.length}`,
    );
  }
  for (const one of secrets) {
    if (typeof one !== "string") throw wrong("meshSecret", "a string, or an array of one or two", one);
    if (one.length < 16) {
      throw new RangeError('Option "meshSecret" is out of range: expected 16 characters or more');
    }
  }
  return Object.freeze([...secrets] as string[]);
}

/** Checks the option `limits` and fills in the defaults. */
export function checkLimits(limits: unknown): Limits {
  if (limits === undefined) return DEFAULT_LIMITS;
  const given = checkNames("limits", limits, Object.keys(LIMIT_RANGES));
  const checked: Record<string, number> = { ...DEFAULT_LIMITS };
  for (const [name, range] of Object.entries(LIMIT_RANGES)) {
    if (given[name] !== undefined) checked[name] = checkInteger(name, given[name], range);
  }
  if (given.maxWaitersPerClient === undefined) {
    checked.maxWaitersPerClient = Math.max(1_000, Math.ceil(checked.maxWaiters! / 2));
  }
  return Object.freeze(checked) as unknown as Limits;
}

/** Checks the option `rateLimit`. */
export function checkRateLimit(rateLimit: unknown): RateLimitConfig | undefined {
  if (rateLimit === undefined) return undefined;
  const { limit, window, key } = checkNames("rateLimit", rateLimit, ["limit", "window", "key"]);
  return Object.freeze({
    limit: checkInteger("rateLimit.limit", limit, [1, 1_000_000]),
    window: checkInteger("rateLimit.window", window, [1_000, 86_400_000]),
    key: checkFunction<RateLimitKey>("rateLimit.key", key),
  });
}

/** Checks the option `trustProxy`. */
export function checkTrustProxy(trustProxy: unknown): TrustedProxies {
  if (trustProxy === undefined) return 0;
  if (typeof trustProxy === "number") return checkInteger("trustProxy", trustProxy, [0, 100]);
  if (!Array.isArray(trustProxy)) {
    throw wrong(
      "trustProxy",
      'a number of proxies, or an array of addresses, networks and "unix"',
      trustProxy,
    );
  }
  return Object.freeze(trustProxy.map((text, i) => {
    const name = `trustProxy[${i}]`;
    if (typeof text !== "string") throw wrong(name, "an address or a network", text);
    const network = parseNetwork(text);
    if (network !== null) return network;
    const got = JSON.stringify(text.includes("@") ? redactURL(text) : text);
    throw new TypeError(
      `Option "${name}" is wrong: expected an address or a network such as "10.0.0.0/8", got ${got}; ` +
        'names are not looked up, and "unix" stands for Unix sockets',
    );
  }));
}

function checkClock(clock: unknown): Clock {
  if (clock === undefined) return systemClock;
  const fits = typeof clock === "object" && clock !== null &&
    ["now", "elapsed", "after", "random"].every((name) =>
      typeof (clock as Record<string, unknown>)[name] === "function"
    );
  if (!fits) throw wrong("clock", "an object with now, elapsed, after and random", clock);
  return clock as Clock;
}

function checkRedis(redis: unknown): RedisConfig | undefined {
  if (redis === undefined || redis === null) return undefined;
  const { publisher, subscriber, channel = DEFAULT_CHANNEL } = checkNames("redis", redis, [
    "publisher",
    "subscriber",
    "channel",
  ]);
  checkClient("redis.publisher", publisher, ["publish", "on", "off"]);
  checkClient("redis.subscriber", subscriber, ["subscribe", "unsubscribe", "on", "off"]);
  if (publisher === subscriber) {
    throw new TypeError(
      'Option "redis" is wrong: publisher and subscriber are one client; a connection that subscribes may not ' +
        "publish, so make a second one",
    );
  }
  if (typeof channel !== "string") throw wrong("redis.channel", "a string", channel);
  if (channel.length < 1 || channel.length > MAX_CHANNEL_LENGTH) {
    throw new RangeError(
      `Option "redis.channel" is out of range: expected 1 to ${MAX_CHANNEL_LENGTH} characters, got ${channel.length}`,
    );
  }
  return Object.freeze({
    publisher: publisher as RedisPublisher,
    subscriber: subscriber as RedisSubscriber,
    channel,
  });
}

function checkClient(name: string, client: unknown, methods: readonly string[]): void {
  if (typeof client !== "object" || client === null) {
    throw wrong(name, "a client of ioredis or node-redis", client);
  }
  for (const method of methods) {
    if (typeof (client as Record<string, unknown>)[method] !== "function") {
      throw new TypeError(`Option "${name}" is wrong: it has no method "${method}"`);
    }
  }
}
