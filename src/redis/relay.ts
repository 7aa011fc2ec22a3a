/**
 * The relay: publishes updates through Redis, receives those of other servers, and survives outages.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import type { RelayError } from "../errors.ts";
import { isReady, type RedisPublisher, type RedisSubscriber } from "./client.ts";
import { COMMAND_TIMEOUT_MS, ConnectionHealth, type ConnectionSide } from "./connection_health.ts";
import { ConnectionListeners } from "./connection_listeners.ts";
import { Publication } from "./publication.ts";
import { RefusedMessages } from "./refused_messages.ts";
import { Subscription } from "./subscription.ts";
import { Throttle, Timers } from "./timers.ts";

/** The default maximum length of a message, in characters. */
export const MAX_MESSAGE_LENGTH = 1_048_576;

/** How long the clients may take to connect for the first time, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;

/** The shortest time between two calls of `onMissed`, in milliseconds: a flood must not cause more. */
const MISSED_PAUSE_MS = 1_000;

/** The clients and the channel of a relay. */
export interface RelayOptions {
  readonly publisher: RedisPublisher;
  readonly subscriber: RedisSubscriber;
  readonly channel: string;
  /** The maximum length of a message, in characters. @default {1048576} */
  readonly maxLength?: number;
}

/** What a relay needs of the server. None of these throws; a promise may reject. */
export interface RelayDeps {
  readonly clock: Clock;
  /**
   * Composes the next message: the text, or `null` when there is nothing to publish. Called once for all changes of
   * one moment. `isMissed` tells that earlier messages may have been lost.
   */
  compose(isMissed: boolean): Promise<string | null>;
  /** Handles a received message; `false` when it cannot be read or is not proven. */
  receive(text: string): Promise<boolean>;
  /** Called when messages may have been missed. */
  onMissed(): void;
  /** Called at the start and at the end of an outage. */
  onHealth?(isDown: boolean): void;
  /** Receives the start and the end of an outage, and of an episode of refused messages. */
  report(error: RelayError): void;
}

/**
 * Publishes and receives on one channel. Nothing is kept for a Redis that is away: after an outage the next message
 * tells what is pending then, and `onMissed` is called.
 *
 * No request waits for a relay, and peers and storage make up for every message that is lost.
 */
export class Relay {
  readonly #options: RelayOptions;
  readonly #deps: RelayDeps;
  readonly #timers: Timers;
  readonly #listeners = new ConnectionListeners();
  readonly #health: ConnectionHealth;
  readonly #refused: RefusedMessages;
  readonly #subscription: Subscription;
  readonly #publication: Publication;
  #isStarted = false;
  #closing: Promise<void> | undefined;

  /**
   * @param options The two clients and the channel.
   * @param deps Composes and handles messages, and receives failures.
   */
  constructor(options: RelayOptions, deps: RelayDeps) {
    this.#options = options;
    this.#deps = deps;
    const { publisher, subscriber, channel, maxLength = MAX_MESSAGE_LENGTH } = options;
    const { clock } = deps;
    const report = (error: RelayError) => deps.report(error);
    const timers = this.#timers = new Timers(clock);
    const health = this.#health = new ConnectionHealth({
      clock,
      timers,
      report,
      onHealth: (isDown) => deps.onHealth?.(isDown),
      onRetry: () => this.#retry(),
    });
    const refused = this.#refused = new RefusedMessages(clock, timers, report);
    const missed = new Throttle(timers, MISSED_PAUSE_MS, () => deps.onMissed());
    const receive = (text: string) => deps.receive(text);
    const subscription = this.#subscription = new Subscription({
      subscriber,
      channel,
      maxLength,
      health,
      timers,
      refused,
      missed,
      receive,
    });
    const compose = (isMissed: boolean) => deps.compose(isMissed);
    this.#publication = new Publication({
      publisher,
      channel,
      maxLength,
      health,
      subscription,
      refused,
      compose,
    });
  }

  /** Whether messages are published and received at this moment, as far as is known. */
  get healthy(): boolean {
    return this.#subscription.isSubscribed && this.#health.isUp && !this.#health.isClosing &&
      isReady(this.#options.publisher);
  }

  /** How many messages were refused: unreadable, unproven or too long. */
  get refused(): number {
    return this.#refused.count;
  }

  /** Subscribes, now or as soon as the client is connected. Further calls do nothing. */
  start(): void {
    if (this.#isStarted || this.#health.isClosing) return;
    this.#isStarted = true;
    const { publisher, subscriber } = this.#options;
    this.#listeners.watch("publisher", publisher, {
      onReady: () => {
        this.#health.cancelRetry();
        this.#health.recover("publisher");
        this.#publication.resume();
      },
      onLost: (cause) => {
        this.#publication.reset();
        this.#health.fail("publisher", cause);
      },
    });
    this.#listeners.watch("subscriber", subscriber, {
      onReady: () => {
        this.#health.cancelRetry();
        this.#subscription.resubscribe();
      },
      onLost: (cause) => {
        this.#subscription.reset();
        this.#health.fail("subscriber", cause);
      },
    });
    this.#subscription.listen((event, listener) => this.#listeners.add(subscriber, event, listener));
    this.#timers.after(CONNECT_TIMEOUT_MS, () => {
      const message = (side: ConnectionSide) => `the ${side} has not connected in ${CONNECT_TIMEOUT_MS} ms`;
      if (!this.#subscription.isSubscribed) this.#health.fail("subscriber", message("subscriber"));
      if (!isReady(publisher)) this.#health.fail("publisher", message("publisher"));
    });
    this.#subscription.subscribe();
  }

  /** Publishes what happened since the last message, as soon as that is possible. */
  publish(): void {
    this.start();
    this.#publication.publish();
  }

  /**
   * Publishes what is pending, and ends the subscription and all listeners. The clients stay connected. An ioredis
   * client has one subscription per channel: the last relay also ends one that the application has made itself.
   *
   * @param ms How long to wait for Redis at most, in milliseconds.
   */
  close(ms: number = COMMAND_TIMEOUT_MS): Promise<void> {
    return this.#closing ??= this.#close(ms);
  }

  async #close(ms: number): Promise<void> {
    this.#health.close();
    this.#timers.cancelAll();
    this.#subscription.clear();
    this.#listeners.removeAllButErrors();
    // A message that is being published still goes out, unless Redis is slow.
    const tasks = [
      this.#publication.published,
      this.#isStarted ? this.#subscription.unsubscribe() : undefined,
    ];
    await settlesWithin(this.#deps.clock, Math.min(ms, COMMAND_TIMEOUT_MS), Promise.all(tasks));
    this.#publication.stop();
    this.#timers.cancelAll();
    await this.#subscription.drained;
    this.#listeners.removeErrors();
  }

  #retry(): void {
    if (!this.#subscription.isSubscribed) this.#subscription.subscribe();
    this.#publication.resume();
  }
}
