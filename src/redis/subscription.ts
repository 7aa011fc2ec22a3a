/**
 * The subscription to one channel: subscribing, receiving messages in order, and noticing a silent connection.
 *
 * @module
 */
import { isNodeRedis, isReady, type RedisSubscriber } from "./client.ts";
import { COMMAND_TIMEOUT_MS, type ConnectionHealth } from "./connection_health.ts";
import type { RefusedMessages } from "./refused_messages.ts";
import type { Throttle, Timers } from "./timers.ts";

/**
 * The maximum number of messages that wait to be handled, and their total length in multiples of the longest message.
 * A client emits all messages of one socket read at once, which is some hundreds.
 */
const MAX_BACKLOG = 1_000;
const MAX_BACKLOG_LENGTHS = 4;

/** The maximum number of own messages that are expected back. */
const MAX_ECHOES = 16;

/** How many relays of this process share a channel of an ioredis client, which knows one subscription per channel. */
const sharers = new WeakMap<RedisSubscriber, Map<string, number>>();

/** What a subscription needs. */
export interface SubscriptionOptions {
  readonly subscriber: RedisSubscriber;
  readonly channel: string;
  /** The maximum length of a message, in characters. */
  readonly maxLength: number;
  readonly health: ConnectionHealth;
  readonly timers: Timers;
  readonly refused: RefusedMessages;
  /** Called when messages may have been missed. */
  readonly missed: Throttle;
  /** Handles a message; `false` when it cannot be read or is not proven. */
  readonly receive: (text: string) => Promise<boolean>;
}

/** One relay's subscription. */
export class Subscription {
  readonly #options: SubscriptionOptions;
  /** The latest attempt to subscribe. */
  #attempt: object | undefined;
  #wasRequested = false;
  #isSubscribed = false;
  /** Whether an own message has not come back: the connection or the subscription is lost without a sign. */
  #isSilent = false;
  #receivedCount = 0;
  /** Own messages that are expected back. */
  readonly #echoes = new Set<string>();
  #cancelEchoCheck: (() => void) | undefined;
  readonly #backlog: string[] = [];
  #backlogLength = 0;
  #hasOverflowed = false;
  #draining: Promise<void> | undefined;

  /** @param options The client, the channel and the handler. */
  constructor(options: SubscriptionOptions) {
    this.#options = options;
  }

  /** Whether the latest attempt to subscribe has succeeded. */
  get isSubscribed(): boolean {
    return this.#isSubscribed;
  }

  /** Settles when the messages received so far are handled. */
  get drained(): Promise<void> | undefined {
    return this.#draining;
  }

  /** Registers this relay for the channel, and listens for messages where the client emits them as events. */
  listen(addListener: (event: string, listener: (...args: unknown[]) => void) => void): void {
    const { subscriber, channel } = this.#options;
    if (isNodeRedis(subscriber)) return;
    changeSharers(subscriber, channel, 1);
    addListener("message", (from, text) => {
      if (from === channel) this.#receive(text);
    });
  }

  /** Subscribes, if the client is connected. */
  subscribe(): void {
    const { subscriber, channel, health, missed } = this.#options;
    if (health.isClosing || !isReady(subscriber)) return;
    this.#wasRequested = true;
    const attempt = this.#attempt = {};
    const isCurrent = () => this.#attempt === attempt && !health.isClosing;
    const command = isNodeRedis(subscriber)
      ? () => subscriber.subscribe(channel, this.#receive)
      : () => subscriber.subscribe(channel);
    void health.send("subscriber", isCurrent, command).then((isDone) => {
      if (!isDone) return;
      this.#isSubscribed = true;
      if (!this.#isSilent) health.recover("subscriber");
      if (!health.isClosing) missed.call();
    });
  }

  /** Subscribes on a new connection. */
  resubscribe(): void {
    this.#isSilent = false;
    this.subscribe();
  }

  /** Records that the connection is lost. */
  reset(): void {
    this.#isSubscribed = false;
    this.#attempt = undefined;
  }

  /** Ends the subscription, unless another relay of this process uses it. */
  async unsubscribe(): Promise<void> {
    const { subscriber, channel } = this.#options;
    if (changeSharers(subscriber, channel, -1) || !this.#wasRequested) return;
    const command = isNodeRedis(subscriber)
      ? () => subscriber.unsubscribe(channel, this.#receive)
      : () => subscriber.unsubscribe(channel);
    const done = (async () => await command())().catch(() => {});
    // A client without a connection unsubscribes when it is connected again.
    if (isReady(subscriber)) await done;
  }

  /** Drops what has not been handled. */
  clear(): void {
    this.#backlog.length = 0;
    this.#echoes.clear();
  }

  /** Expects an own message back. Returns how many messages were received before it. */
  expectEcho(text: string): number {
    const count = this.#receivedCount;
    this.#echoes.add(text);
    for (const oldest of this.#echoes) {
      if (this.#echoes.size <= MAX_ECHOES) break;
      this.#echoes.delete(oldest);
    }
    return count;
  }

  /**
   * Checks after a while that something was received since a message was published. If not, subscribes again.
   *
   * @param count What {@linkcode expectEcho} returned.
   * @param onSilent Called when nothing was received.
   */
  checkEcho(count: number, onSilent: () => void): void {
    const { timers, health } = this.#options;
    if (this.#cancelEchoCheck || !this.#isSubscribed) return;
    const attempt = this.#attempt;
    this.#cancelEchoCheck = timers.after(COMMAND_TIMEOUT_MS, () => {
      this.#cancelEchoCheck = undefined;
      if (this.#receivedCount !== count || this.#attempt !== attempt || this.#isSilent) return;
      this.#isSilent = true;
      health.fail(
        "subscriber",
        `the subscriber has not heard in ${COMMAND_TIMEOUT_MS} ms what was published`,
      );
      this.subscribe();
      onSilent();
    });
  }

  /** Called by the client for each message. node-redis identifies the subscription by this function. */
  readonly #receive = (text: unknown): void => {
    const { health, missed, maxLength } = this.#options;
    if (health.isClosing) return;
    this.#receivedCount++;
    if (this.#isSilent) {
      this.#isSilent = false;
      health.recover("subscriber");
      missed.call();
    }
    if (typeof text !== "string") return this.#refuse("a message is no text");
    if (text.length > maxLength) {
      return this.#refuse(`a message has ${text.length} characters, at most ${maxLength} are taken`);
    }
    if (this.#echoes.delete(text)) return;
    const free = maxLength * MAX_BACKLOG_LENGTHS - this.#backlogLength;
    if (this.#backlog.length >= MAX_BACKLOG || text.length > free) {
      this.#hasOverflowed = true;
      return;
    }
    this.#backlog.push(text);
    this.#backlogLength += text.length;
    this.#draining ??= this.#drain();
  };

  async #drain(): Promise<void> {
    const { receive, health, missed } = this.#options;
    for (let text = this.#backlog.shift(); text !== undefined; text = this.#backlog.shift()) {
      this.#backlogLength -= text.length;
      try {
        if (!await receive(text)) this.#refuse("a message cannot be read, or is not proven");
      } catch {
        // A valid message could not be stored: treat it as missed.
        this.#hasOverflowed = true;
      }
    }
    this.#draining = undefined;
    if (!this.#hasOverflowed) return;
    this.#hasOverflowed = false;
    if (!health.isClosing) missed.call();
  }

  #refuse(reason: string): void {
    if (!this.#options.health.isClosing) this.#options.refused.add(reason);
  }
}

/** Adds or removes a relay on a channel of a client. Returns whether there are others. */
function changeSharers(subscriber: RedisSubscriber, channel: string, change: 1 | -1): boolean {
  // Each listener of node-redis has a subscription of its own.
  if (isNodeRedis(subscriber)) return false;
  const counts = sharers.get(subscriber) ?? new Map<string, number>();
  const count = (counts.get(channel) ?? 0) + change;
  counts.set(channel, count);
  if (count === 0) counts.delete(channel);
  sharers.set(subscriber, counts);
  return count > 0;
}
