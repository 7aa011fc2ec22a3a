/**
 * A Redis without a socket, and clients of it that behave as those of ioredis and node-redis do.
 *
 * @module
 */
import { EventEmitter } from "node:events";
import type {
  IORedisSubscriber,
  NodeRedisSubscriber,
  RedisListener,
  RedisPublisher,
} from "../../../src/redis/client.ts";

/** What a client receives, for all of its listeners. */
interface Hearing {
  hear(channel: string, message: string): void;
}

/** Channels, and who has subscribed to them. */
export class FakeRedis {
  readonly #channels = new Map<string, Set<Hearing>>();
  /** While it is slow, commands are kept here and not answered. */
  #held: (() => void)[] | undefined;
  /** The error with which it refuses every command; undefined if it does not. */
  refusal: Error | undefined;
  /** Whether it accepts messages and delivers none. */
  mute = false;

  /** How many clients have subscribed to a channel. */
  subscribers(channel: string): number {
    return this.#channels.get(channel)?.size ?? 0;
  }

  /** Answers nothing from now on. */
  hold(): void {
    this.#held = [];
  }

  /** Answers all commands that were sent meanwhile, in order. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const answer of held) answer();
  }

  /** Never answers the commands that were sent meanwhile, and answers later ones. */
  loseHeld(): void {
    this.#held = undefined;
  }

  /** Does what a command says and answers it. */
  async run<T>(command: () => T): Promise<T> {
    if (this.#held) await new Promise<void>((resolve) => this.#held?.push(resolve));
    await Promise.resolve();
    if (this.refusal) throw this.refusal;
    return command();
  }

  subscribe(channel: string, client: Hearing): void {
    this.#channels.set(channel, (this.#channels.get(channel) ?? new Set()).add(client));
  }

  unsubscribe(channel: string, client: Hearing): void {
    this.#channels.get(channel)?.delete(client);
  }

  forget(client: Hearing): void {
    for (const clients of this.#channels.values()) clients.delete(client);
  }

  publish(channel: string, message: string): number {
    const clients = [...this.#channels.get(channel) ?? []];
    if (!this.mute) { for (const client of clients) client.hear(channel, message); }
    return clients.length;
  }
}

/** The common part of both clients: they connect, lose the connection, and publish. */
abstract class FakeClient extends EventEmitter implements RedisPublisher, Hearing {
  protected readonly redis: FakeRedis;
  protected connected: boolean;
  /** The published messages, and the number of commands without a connection. */
  readonly published: string[] = [];
  offline = 0;

  constructor(redis: FakeRedis, connected: boolean = true) {
    super();
    this.redis = redis;
    this.connected = connected;
  }

  connect(): void {
    this.connected = true;
    this.emit("ready");
  }

  /** Loses the connection with all its subscriptions. */
  lose(error?: Error): void {
    this.connected = false;
    this.redis.forget(this);
    if (error) this.emit("error", error);
    this.emit("reconnecting");
  }

  publish(channel: string, message: string): Promise<number> {
    if (!this.connected) this.offline++;
    this.published.push(message);
    return this.redis.run(() => this.redis.publish(channel, message));
  }

  abstract hear(channel: string, message: string): void;

  /** How many listeners there are of all events together. */
  get listenersInAll(): number {
    return this.eventNames().reduce((sum, name) => sum + this.listenerCount(name), 0);
  }
}

/** As of ioredis: one subscription per channel, and an event for each message. */
export class FakeIORedis extends FakeClient implements IORedisSubscriber {
  #isLazy = false;

  /** One that connects at its first command. */
  static lazy(redis: FakeRedis): FakeIORedis {
    const client = new FakeIORedis(redis, false);
    client.#isLazy = true;
    return client;
  }

  get status(): string {
    return this.connected ? "ready" : this.#isLazy ? "wait" : "reconnecting";
  }

  subscribe(channel: string): Promise<number> {
    if (this.#isLazy && !this.connected) this.connect();
    return this.redis.run(() => {
      this.redis.subscribe(channel, this);
      return 1;
    });
  }

  unsubscribe(channel: string): Promise<number> {
    return this.redis.run(() => {
      this.redis.unsubscribe(channel, this);
      return 0;
    });
  }

  hear(channel: string, message: string): void {
    this.emit("message", channel, message);
  }
}

/** As of node-redis: listeners for each channel, which it subscribes to again by itself. */
export class FakeNodeRedis extends FakeClient implements NodeRedisSubscriber {
  readonly channels: Map<string, Set<RedisListener>> = new Map();

  get isReady(): boolean {
    return this.connected;
  }

  pSubscribe(): void {}

  override connect(): void {
    for (const channel of this.channels.keys()) this.redis.subscribe(channel, this);
    super.connect();
  }

  subscribe(channel: string, listener: RedisListener): Promise<void> {
    return this.redis.run(() => {
      this.redis.subscribe(channel, this);
      this.channels.set(channel, (this.channels.get(channel) ?? new Set()).add(listener));
    });
  }

  unsubscribe(channel: string, listener: RedisListener): Promise<void> {
    return this.redis.run(() => {
      const listeners = this.channels.get(channel);
      listeners?.delete(listener);
      if (listeners?.size) return;
      this.channels.delete(channel);
      this.redis.unsubscribe(channel, this);
    });
  }

  hear(channel: string, message: string): void {
    for (const listener of this.channels.get(channel) ?? []) listener(message, channel);
  }
}
