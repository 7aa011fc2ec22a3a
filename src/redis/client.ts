/**
 * The few methods that are called of a Redis client, so that those of ioredis and of node-redis both fit.
 *
 * @module
 */

/** What both kinds of clients have: how they stand, and what they tell of it. */
export interface RedisClient {
  /** ioredis: `"ready"` while commands can be sent, `"wait"` until the first one is. */
  readonly status?: string;
  /** node-redis: whether commands can be sent. */
  readonly isReady?: boolean;
  /** Begins to tell a listener of an event: `ready`, `error`, `end` and the like. */
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  /** Ends that. */
  off(event: string, listener: (...args: unknown[]) => void): unknown;
}

/** A client that publishes: one of ioredis 5 and later, or of node-redis 4 and later. */
export interface RedisPublisher extends RedisClient {
  /** Sends a message to all who subscribe to the channel. */
  publish(channel: string, message: string): PromiseLike<unknown>;
}

/** A client of ioredis that subscribes: it tells of messages by the event `message`. */
export interface IORedisSubscriber extends RedisClient {
  /** Subscribes to a channel. */
  subscribe(channel: string): PromiseLike<unknown>;
  /** Ends that, whoever began it. */
  unsubscribe(channel: string): PromiseLike<unknown>;
}

/** A client of node-redis that subscribes: it tells each listener of the messages of its channel. */
export interface NodeRedisSubscriber extends RedisClient {
  /** Subscribes to a channel. */
  subscribe(channel: string, listener: RedisListener): PromiseLike<unknown>;
  /** Ends that for one listener. */
  unsubscribe(channel: string, listener: RedisListener): PromiseLike<unknown>;
  /** Subscribes to a pattern. Not called: ioredis writes it otherwise, so it tells the two apart. */
  readonly pSubscribe: unknown;
}

/** A client that subscribes: one of ioredis 5 and later, or of node-redis 4 and later. */
export type RedisSubscriber = IORedisSubscriber | NodeRedisSubscriber;

/** Hears of a message on a channel. */
export type RedisListener = (message: string, channel: string) => void;

/** Whether commands go out at once. A client that connects at its first command counts as well. */
export function isReady(client: RedisClient): boolean {
  if (typeof client.isReady === "boolean") return client.isReady;
  return client.status === undefined || client.status === "ready" || client.status === "wait";
}

/** Whether a subscriber is one of node-redis. */
export function isNodeRedis(subscriber: RedisSubscriber): subscriber is NodeRedisSubscriber {
  return typeof (subscriber as Partial<NodeRedisSubscriber>).pSubscribe === "function";
}
