/**
 * The methods that are used of a Redis client: clients of ioredis and of node-redis both have them.
 *
 * @module
 */

/** What both kinds of clients have: their connection state and its events. */
export interface RedisClient {
  /** ioredis: `"ready"` while commands can be sent, `"wait"` until the first one is. */
  readonly status?: string;
  /** node-redis: whether commands can be sent. */
  readonly isReady?: boolean;
  /** Adds a listener of an event, such as `ready`, `error` or `end`. */
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  /** Removes a listener. */
  off(event: string, listener: (...args: unknown[]) => void): unknown;
}

/** A client that publishes: one of ioredis 5 and later, or of node-redis 4 and later. */
export interface RedisPublisher extends RedisClient {
  /** Sends a message to all subscribers of the channel. */
  publish(channel: string, message: string): PromiseLike<unknown>;
}

/** An ioredis client that subscribes: it emits messages as the event `message`. */
export interface IORedisSubscriber extends RedisClient {
  /** Subscribes to a channel. */
  subscribe(channel: string): PromiseLike<unknown>;
  /** Ends the client's one subscription to the channel. */
  unsubscribe(channel: string): PromiseLike<unknown>;
}

/** A node-redis client that subscribes: it calls each listener with the messages of its channel. */
export interface NodeRedisSubscriber extends RedisClient {
  /** Subscribes to a channel. */
  subscribe(channel: string, listener: RedisListener): PromiseLike<unknown>;
  /** Ends the subscription of one listener. */
  unsubscribe(channel: string, listener: RedisListener): PromiseLike<unknown>;
  /** Subscribes to a pattern. Not called: ioredis spells it differently, so it distinguishes the two. */
  readonly pSubscribe: unknown;
}

/** A client that subscribes: one of ioredis 5 and later, or of node-redis 4 and later. */
export type RedisSubscriber = IORedisSubscriber | NodeRedisSubscriber;

/** Receives the messages of a channel. */
export type RedisListener = (message: string, channel: string) => void;

/** Whether commands are sent at once. A client that connects at its first command counts as ready. */
export function isReady(client: RedisClient): boolean {
  if (typeof client.isReady === "boolean") return client.isReady;
  return client.status === undefined || client.status === "ready" || client.status === "wait";
}

/** Whether a subscriber is a node-redis client. */
export function isNodeRedis(subscriber: RedisSubscriber): subscriber is NodeRedisSubscriber {
  return typeof (subscriber as Partial<NodeRedisSubscriber>).pSubscribe === "function";
}
