/**
 * The two Redis connections of the server option `redis`, with npm:ioredis.
 *
 * @module
 */
import { Redis } from "ioredis";
import { checkNames } from "../src/check.ts";
import type { IORedisSubscriber, RedisPublisher } from "../src/redis/client.ts";

export type { IORedisSubscriber, RedisClient, RedisPublisher } from "../src/redis/client.ts";

/** Options of {@linkcode connectRedis}. */
export interface ConnectRedisOptions {
  /**
   * Time to wait for the first connection, in milliseconds: 0 to 600000. After it the server starts without Redis and
   * uses Redis once it is connected. A lower value starts sooner while Redis is unreachable; 0 does not wait.
   *
   * @default {2000}
   */
  connectTimeout?: number;
}

/** Two connections to one Redis that reconnect automatically. The value of the server option `redis`. */
export interface RedisConnection {
  /** The client that publishes. */
  readonly publisher: RedisPublisher;
  /** The client that subscribes. */
  readonly subscriber: IORedisSubscriber;
  /** Closes both connections. Close the server first: it does not close them. */
  close(): Promise<void>;
}

/** The highest `connectTimeout`, in milliseconds. */
const MAX_CONNECT_TIMEOUT = 600_000;

/** Time for Redis to close a connection before it is destroyed, in milliseconds. */
const DISCONNECT_TIMEOUT = 500;

/**
 * Connects to Redis twice, once to publish and once to subscribe. The result is the value of the server option `redis`.
 *
 * An unreachable Redis is not an error, because the server works without it: it is reported to `onError`. For sentinels,
 * clusters and other settings create two clients of your own and pass them to the server.
 *
 * @param url The address: `redis://user:password@host:6379`, or `rediss://` for TLS.
 * @param options The time to wait.
 * @returns The connections, once they are ready or after `connectTimeout`.
 * @throws {TypeError} If the address is not valid, or an option is unknown or wrong. The message names the option.
 * @throws {RangeError} If `connectTimeout` is out of range.
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
  // The address may contain a password: it is in no message.
  if (typeof url !== "string" || !/^rediss?:\/\//.test(url) || !URL.canParse(url)) {
    throw new TypeError("Cannot connect to Redis: expected an address such as redis://localhost:6379");
  }
  const connectTimeout = readTimeout(options);
  const settings = {
    connectionName: "reality-server",
    lazyConnect: true,
    disconnectTimeout: DISCONNECT_TIMEOUT,
  };
  const create = () => new Redis(url, settings);
  const clients = new Clients(create(), create());
  await clients.connect(connectTimeout);
  return clients;
}

/** A class: its method `close` is not an own property, so it is neither checked as an option nor spread. */
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
      // Without a listener ioredis prints errors before the server starts and after it is closed.
      client.on("error", () => {});
      const connected = new Promise<void>((resolve) => client.once("ready", resolve));
      // ioredis retries a refused connection.
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
  checkNames("connectRedis", options, ["connectTimeout"]);
  const { connectTimeout = 2_000 } = options;
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
  // Between two attempts to connect, ioredis has no connection and does not emit "end".
  const isOpen = ["connecting", "connect", "ready"].includes(client.status);
  const ended = new Promise<void>((resolve) => client.once("end", resolve));
  client.disconnect();
  if (isOpen) await ended;
}
