/**
 * A Redis that the servers of a simulated cluster share: it loses, repeats, delays and reorders messages,
 * and is unreachable at times.
 *
 * @module
 */
import { EventEmitter } from "node:events";
import type { NodeRedisSubscriber, RedisListener, RedisPublisher } from "../../src/redis/client.ts";
import type { SeededRandom } from "../random.ts";
import type { NetworkFaults } from "../network.ts";
import type { SimClock } from "../sim_clock.ts";

/** The channel of all servers. */
export const CHANNEL = "reality";

/** What the Redis needs. */
export interface RedisRooms {
  readonly clock: SimClock;
  readonly random: SeededRandom;
  /** What happens to messages at this moment. */
  faults(): NetworkFaults;
  /** Called before each message is delivered to a server. */
  onDelivery(host: string, text: string): void;
}

/** The two connections of one process. */
export interface RedisPair {
  readonly clients: { readonly publisher: RedisPublisher; readonly subscriber: NodeRedisSubscriber };
  /** The process has ended: it receives and sends nothing more. */
  end(): void;
}

/** The Redis of one cluster. */
export class SimRedis {
  readonly #rooms: RedisRooms;
  readonly #clients = new Set<Client>();
  #isAway = false;

  constructor(deps: RedisRooms) {
    this.#rooms = deps;
  }

  /** Whether no client is connected. */
  get isAway(): boolean {
    return this.#isAway;
  }

  /** Breaks all connections, or lets the clients connect again. */
  set isAway(isAway: boolean) {
    if (isAway === this.#isAway) return;
    this.#isAway = isAway;
    for (const client of this.#clients) isAway ? client.lose() : client.connect();
  }

  /** Connects a process. */
  join(host: string): RedisPair {
    const [publisher, subscriber] = [new Client(host, this), new Client(host, this)];
    for (const client of [publisher, subscriber]) this.#clients.add(client);
    return {
      clients: { publisher, subscriber },
      end: () => {
        for (const client of [publisher, subscriber]) this.#clients.delete(client);
      },
    };
  }

  /** Settles when Redis has answered a client; never for a process that has ended. */
  answer(client: Client, act: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#later(() => {
        if (!this.#clients.has(client)) return;
        if (!client.isReady) return reject(new Error("the connection is lost"));
        act();
        resolve();
      });
    });
  }

  /** Delivers a message to all subscribers, unless the seeded faults lose it. */
  publish(channel: string, text: string): void {
    const { random, faults, onDelivery } = this.#rooms;
    for (const client of this.#clients) {
      if (!client.listensTo(channel) || random.happens(faults().requestLoss)) continue;
      for (let copies = random.happens(faults().duplication) ? 2 : 1; copies > 0; copies--) {
        this.#later(() => {
          if (!client.isReady || !this.#clients.has(client)) return;
          onDelivery(client.host, text);
          client.hear(channel, text);
        });
      }
    }
  }

  #later(act: () => void): void {
    const { clock, random, faults } = this.#rooms;
    const { delay: [shortest, longest], straggling, straggle } = faults();
    const ms = random.between(shortest, longest) / 2 + (random.happens(straggling) ? straggle : 0);
    clock.after(ms, act);
  }
}

/** A client as those of node-redis are. */
class Client extends EventEmitter implements RedisPublisher, NodeRedisSubscriber {
  readonly host: string;
  isReady: boolean;
  readonly #redis: SimRedis;
  readonly #listeners = new Map<string, Set<RedisListener>>();

  constructor(host: string, redis: SimRedis) {
    super();
    this.host = host;
    this.#redis = redis;
    this.isReady = !redis.isAway;
  }

  pSubscribe(): void {}

  connect(): void {
    this.isReady = true;
    this.emit("ready");
  }

  lose(): void {
    this.isReady = false;
    this.emit("reconnecting");
  }

  listensTo(channel: string): boolean {
    return this.isReady && (this.#listeners.get(channel)?.size ?? 0) > 0;
  }

  hear(channel: string, text: string): void {
    for (const listener of this.#listeners.get(channel) ?? []) listener(text, channel);
  }

  publish(channel: string, text: string): Promise<void> {
    return this.#redis.answer(this, () => this.#redis.publish(channel, text));
  }

  subscribe(channel: string, listener: RedisListener): Promise<void> {
    return this.#redis.answer(this, () => {
      this.#listeners.set(channel, (this.#listeners.get(channel) ?? new Set()).add(listener));
    });
  }

  unsubscribe(channel: string, listener: RedisListener): Promise<void> {
    return this.#redis.answer(this, () => void this.#listeners.get(channel)?.delete(listener));
  }
}
