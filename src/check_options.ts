/**
 * Checks the options of a server and fills in the defaults, once.
 *
 * @module
 */
import { checkInteger, checkNames, wrongOption } from "./check.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { RealityError } from "./errors.ts";
import { parseNetwork, type TrustedProxies } from "./limits/client_address.ts";
import { checkLimits, type Limits } from "./server_limits.ts";
import type {
  Authorize,
  AuthorizeWrite,
  GroupFunction,
  GroupsOptions,
  RateLimitKey,
  RealityServerOptions,
} from "./options.ts";
import { redactURL } from "./redact.ts";
import type { RedisPublisher, RedisSubscriber } from "./redis/client.ts";
import type { RealityStorage } from "./store/contract.ts";
import { MAX_GROUPS } from "./store/groups.ts";
import type { RealityEvent } from "./telemetry/events.ts";

/** The checked options, with every default filled in. */
export interface ServerConfig {
  readonly storage: RealityStorage;
  /** The option; undefined for a random id, which is created later. */
  readonly serverId: string | undefined;
  readonly onError: (error: RealityError) => void;
  readonly onEvent: ((event: RealityEvent) => void) | undefined;
  readonly eventKeys: boolean;
  readonly writeTokens: readonly string[];
  readonly authorize: Authorize | undefined;
  readonly authorizeWrite: AuthorizeWrite | undefined;
  readonly isPublic: ((key: string) => boolean) | undefined;
  readonly groups: GroupsOptions | undefined;
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
  /** Undefined: clients are identified by their address. */
  readonly key: RateLimitKey | undefined;
}

/** The checked options of the mesh. */
export interface CheckedMesh {
  readonly interval: number;
  readonly fanout: number;
  readonly timeout: number;
  readonly discovery: boolean;
  /** Undefined: `fetch` of the runtime. */
  readonly fetch: ((request: Request) => Promise<Response>) | undefined;
  /** The full URLs of the peers. */
  readonly peers: readonly string[];
  readonly secrets: readonly string[];
}

/** The checked clients and channel of Redis. */
export interface RedisConfig {
  readonly publisher: RedisPublisher;
  readonly subscriber: RedisSubscriber;
  readonly channel: string;
}

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

/** The default channel. */
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
  if (typeof Object(options).getNode === "function") {
    throw new TypeError("Cannot read the options of RealityServer: write `new RealityServer({ storage })`");
  }
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
    "public",
    "groups",
    "limits",
    "rateLimit",
    "trustProxy",
    "closeTimeout",
    "storageTimeout",
    "hookTimeout",
    "requestScopedIO",
    "clock",
  ]);
  const storage = checkStorage(given.storage);
  const limits = checkLimits(given.limits);
  return Object.freeze({
    storage,
    serverId: checkServerId(given.serverId),
    onError: checkFunction<(error: RealityError) => void>("onError", given.onError) ?? (() => {}),
    onEvent: checkFunction<(event: RealityEvent) => void>("onEvent", given.onEvent),
    eventKeys: checkBoolean("eventKeys", given.eventKeys ?? false),
    writeTokens: checkTokens(given.writeTokens),
    authorize: checkFunction<Authorize>("authorize", given.authorize),
    authorizeWrite: checkFunction<AuthorizeWrite>("authorizeWrite", given.authorizeWrite),
    isPublic: checkFunction<(key: string) => boolean>("public", given.public),
    groups: checkGroups(given.groups, storage),
    limits,
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

function checkStorage(storage: unknown): RealityStorage {
  if (storage === undefined) {
    throw new TypeError(
      'Option "storage" is missing: write `storage: new MemoryStorage()`, or another storage',
    );
  }
  if (typeof storage !== "object" || storage === null || storage instanceof Promise) {
    throw wrongOption("storage", "a storage", storage);
  }
  for (const method of STORAGE_METHODS) {
    if (typeof (storage as Record<string, unknown>)[method] !== "function") {
      throw new TypeError(`Option "storage" is wrong: it has no method "${method}"`);
    }
  }
  return storage as RealityStorage;
}

function checkGroups(value: unknown, { features }: RealityStorage): GroupsOptions | undefined {
  if (value === undefined) return undefined;
  const groups = typeof value === "function" ? { of: value as GroupFunction } : checkGroupsObject(value);
  if ((features?.maxChanges ?? Infinity) <= MAX_GROUPS) {
    throw new TypeError(
      `Option "groups" is wrong: a key and its ${MAX_GROUPS} groups are one commit, and the storage takes ${features?.maxChanges} changes at once`,
    );
  }
  return groups;
}

function checkGroupsObject(value: unknown): GroupsOptions {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrongOption("groups", "a function or an object", value);
  }
  const { of, isGroup, detail = false } = checkNames("groups", value, ["of", "isGroup", "detail"]);
  if (typeof of !== "function") throw wrongOption("groups.of", "a function", of);
  return {
    of: of as GroupFunction,
    isGroup: checkFunction<(key: string) => boolean>("groups.isGroup", isGroup),
    detail: checkBoolean("groups.detail", detail),
  };
}

function checkServerId(serverId: unknown): string | undefined {
  if (serverId === undefined) return undefined;
  if (typeof serverId !== "string") throw wrongOption("serverId", "a string", serverId);
  if (!/^[\x21-\x7e]{1,128}$/.test(serverId)) {
    throw new RangeError('Option "serverId" is out of range: expected 1 to 128 visible characters of ASCII');
  }
  return serverId;
}

function checkFunction<T>(name: string, value: unknown): T | undefined {
  if (value !== undefined && typeof value !== "function") throw wrongOption(name, "a function", value);
  return value as T | undefined;
}

function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongOption(name, "true or false", value);
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
  if (!Array.isArray(tokens)) throw wrongOption("writeTokens", "an array of strings", tokens);
  for (const token of tokens) {
    if (typeof token !== "string") throw wrongOption("writeTokens", "an array of strings", token);
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
  if (!Array.isArray(peers)) throw wrongOption("meshPeers", "an array of URLs", peers);
  const urls = peers.map((peer, i) => {
    const name = `meshPeers[${i}]`;
    if (typeof peer !== "string") throw wrongOption(name, "a URL", peer);
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
    if (typeof one !== "string") throw wrongOption("meshSecret", "a string, or an array of one or two", one);
    if (one.length < 16) {
      throw new RangeError('Option "meshSecret" is out of range: expected 16 characters or more');
    }
  }
  return Object.freeze([...secrets] as string[]);
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
    throw wrongOption(
      "trustProxy",
      'a number of proxies, or an array of addresses, networks and "unix"',
      trustProxy,
    );
  }
  return Object.freeze(trustProxy.map((text, i) => {
    const name = `trustProxy[${i}]`;
    if (typeof text !== "string") throw wrongOption(name, "an address or a network", text);
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
  if (!fits) throw wrongOption("clock", "an object with now, elapsed, after and random", clock);
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
  if (typeof channel !== "string") throw wrongOption("redis.channel", "a string", channel);
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
    throw wrongOption(name, "a client of ioredis or node-redis", client);
  }
  for (const method of methods) {
    if (typeof (client as Record<string, unknown>)[method] !== "function") {
      throw new TypeError(`Option "${name}" is wrong: it has no method "${method}"`);
    }
  }
}
