/**
 * The two Redis connections that a server's `redis` option takes, over npm:ioredis.
 *
 * @module
 */
import { Redis } from "ioredis";
import type { IORedisSubscriber, RedisPublisher } from "../src/redis/client.ts";

export type { IORedisSubscriber, RedisClient, RedisPublisher } from "../src/redis/client.ts";

/** How long Redis is waited for. */
export interface ConnectRedisOptions {
  /**
   * How long the first connection is waited for, in milliseconds. After that the server starts without Redis, and
   * uses it as soon as it is there. Lower starts sooner while Redis is away; 0 does not wait. At most 600000.
   *
   * @default {2000}
   */
  connectTimeout?: number;
}

/** Two connections to one Redis, which come back by themselves when they are lost. A server's `redis` option. */
export interface RedisConnection {
  /** The client that publishes. */
  readonly publisher: RedisPublisher;
  /** The client that subscribes. */
  readonly subscriber: IORedisSubscriber;
  /** Ends both. Close the server first: it leaves them as they are. */
  close(): Promise<void>;
}

/** What is longest waited for, in milliseconds. */
const MAX_CONNECT_TIMEOUT = 600_000;

/** How long Redis may take to end a connection before it is cut, in milliseconds. */
const DISCONNECT_TIMEOUT = 500;

/**
 * Connects to Redis twice, once to publish and once to subscribe, and gives what a server's `redis` option takes.
 *
 * A Redis that is away is no error, since everything works without it: the server's `onError` hears of it. For
 * sentinels, clusters and other settings make two clients of your own; a server takes them as they are.
 *
 * @param url The address: `redis://user:password@host:6379`, or `rediss://` for TLS.
 * @param options How long to wait.
 * @returns The connections, once they are there or `connectTimeout` is over.
 * @throws {TypeError} When the address is none or an option is unknown or wrong; names it.
 * @throws {RangeError} When `connectTimeout` is out of range.
 *
 * @example
 * ```ts
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { connectRedis } from "@rootlodge/reality-server/ioredis";
 *
 * const redis = await connectRedis("redis://localhost:6379");
 * const server = new RealityServer({ storage: new MemoryStorage(), redis });
 *
 * await server.close();
 * await redis.close();
 * ```
 */
export async function connectRedis(url: string, options: ConnectRedisOptions = {}): Promise<RedisConnection> {
  // The address may hold a password, so it is in no message.
  if (typeof url !== "string" || !/^rediss?:\/\//.test(url) || !URL.canParse(url)) {
    throw new TypeError("Cannot connect to Redis: expected an address such as redis://localhost:6379");
  }
  const connectTimeout = readTimeout(options);
  const settings = {
    connectionName: "reality-server",
    lazyConnect: true,
    disconnectTimeout: DISCONNECT_TIMEOUT,
  };
  const open = () => new Redis(url, settings);
  const clients = new Clients(open(), open());
  await clients.connect(connectTimeout);
  return clients;
}

/** A class, so that `close` is not among the fields that are checked as options, or spread into others. */
class Clients implements RedisConnection {
  readonly publisher: Redis;
  readonly subscriber: Redis;
  #closing: Promise<unknown> | undefined;

  constructor(publisher: Redis, subscriber: Redis) {
    this.publisher = publisher;
    this.subscriber = subscriber;
  }

  async connect(timeout: number): Promise<void> {
    const ready = [this.publisher, this.subscriber].map((client) => {
      // Without a listener ioredis prints what happens before a server listens, and after it has closed.
      client.on("error", () => {});
      const connected = new Promise<void>((resolve) => client.once("ready", resolve));
      // A connection that is refused is tried again by itself.
      client.connect().catch(() => {});
      return connected;
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, timeout));
    await Promise.race([Promise.all(ready), late]);
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    await (this.#closing ??= Promise.all([this.publisher, this.subscriber].map(end)));
  }
}

function readTimeout(options: ConnectRedisOptions): number {
  const { connectTimeout = 2_000, ...rest } = options;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    throw new TypeError(`Unknown option "${unknown}" of connectRedis: known is connectTimeout`);
  }
  if (!Number.isSafeInteger(connectTimeout)) {
    throw new TypeError('Option "connectTimeout" is wrong: expected an integer');
  }
  if (connectTimeout < 0 || connectTimeout > MAX_CONNECT_TIMEOUT) {
    throw new RangeError(
      `Option "connectTimeout" is out of range: expected 0 to ${MAX_CONNECT_TIMEOUT}, got ${connectTimeout}`,
    );
  }
  return connectTimeout;
}

async function end(client: Redis): Promise<void> {
  // Between two attempts to connect nothing is open, and ioredis would never say that it has ended.
  const isOpen = ["connecting", "connect", "ready"].includes(client.status);
  const ended = new Promise<void>((resolve) => client.once("end", resolve));
  client.disconnect();
  if (isOpen) await ended;
}
