/**
 * The path through Redis: publishes news, receives that of others, and survives the loss of either.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { RelayError } from "../errors.ts";
import {
  isNodeRedis,
  isReady,
  type RedisClient,
  type RedisPublisher,
  type RedisSubscriber,
} from "./client.ts";

/** The longest message that is published or taken in unless told otherwise, in characters. */
export const MAX_MESSAGE_LENGTH = 1_048_576;

/** How long Redis may take for one command before it counts as down, in milliseconds. */
const COMMAND_TIMEOUT = 2_000;

/** How long the clients may take until they are connected for the first time, in milliseconds. */
const CONNECT_TIMEOUT = 5_000;

/** The pauses before a refused command is tried again, in milliseconds: they double, and vary by half. */
const SHORTEST_RETRY = 1_000;
const LONGEST_RETRY = 30_000;

/**
 * Messages that wait to be taken in, and how many times the longest one they may be in all. A client hands over
 * all that came with one read of its socket at once, which is some hundreds.
 */
const MAX_BACKLOG = 1_000;
const MAX_BACKLOG_LENGTHS = 4;

/** Messages of our own that are expected back. */
const MAX_ECHOES = 16;

/** How often everything may have to look again at most: a flood must not make it more often, in milliseconds. */
const LOOK_PAUSE = 1_000;

/** Bad messages belong to one episode until none has come for so long, in milliseconds. */
const EPISODE_PAUSE = 60_000;

/** Between which clients a relay stands. */
export interface RelayOptions {
  readonly publisher: RedisPublisher;
  readonly subscriber: RedisSubscriber;
  readonly channel: string;
  /** The longest message, in characters. @default {1048576} */
  readonly maxLength?: number;
}

/** What a relay asks of the other rooms. None of these may throw, except by a promise. */
export interface RelayDeps {
  readonly clock: Clock;
  /**
   * What to publish now: the text of one message, or `null` when nothing is owed. Called once for all changes of
   * one moment. `missed` says that earlier messages may have been lost.
   */
  compose(missed: boolean): Promise<string | null>;
  /** Takes in what came; `false` when it cannot be read or is not proven. */
  receive(text: string): Promise<boolean>;
  /** Messages may have been missed: whatever waits has to look again. */
  onConnected(): void;
  /** Hears once when Redis goes bad and once when it is well again. */
  onHealth?(isDown: boolean): void;
  /** Hears once when Redis goes bad and once when it is well again; and the same of bad messages. */
  report(error: RelayError): void;
}

/** One of the two connections. */
type Side = "publisher" | "subscriber";

/** How many relays of this process share a channel of a client of ioredis, which knows one subscription only. */
const sharers = new WeakMap<RedisSubscriber, Map<string, number>>();

/**
 * Publishes and receives on one channel. Nothing is kept for a Redis that is away: when it is back, the next
 * message says what is owed then, and whatever waits looks again.
 *
 * Nothing here is waited for by a request, and nothing is lost with it that peers and storage would not make up.
 */
export class Relay {
  readonly #publisher: RedisPublisher;
  readonly #subscriber: RedisSubscriber;
  readonly #channel: string;
  readonly #maxLength: number;
  readonly #deps: RelayDeps;
  readonly #listeners: [client: RedisClient, event: string, listener: (...args: unknown[]) => void][] = [];
  readonly #timers = new Set<() => void>();
  #started = false;
  #closing: Promise<void> | undefined;

  /** The sides that are down, and the failure that was reported. */
  readonly #down = new Set<Side>();
  #fault: unknown;
  /** What a client said last of each side while it still was connected. */
  readonly #said: Partial<Record<Side, unknown>> = {};
  #retry: (() => void) | undefined;
  #retryPause = SHORTEST_RETRY;

  /** There is something to publish; something published may have been lost. */
  #news = false;
  #missed = false;
  /** Who publishes now; another one, or nobody, once the connection was lost. */
  #turn: object | undefined;
  #publishing: Promise<void> | undefined;

  /** The latest attempt to subscribe, and whether it has succeeded. */
  #attempt: object | undefined;
  #hasAsked = false;
  #subscribed = false;
  /** Messages of our own on their way back. */
  readonly #echoes = new Set<string>();
  #echoTimer: (() => void) | undefined;
  #heard = 0;
  #deaf = false;

  readonly #backlog: string[] = [];
  #backlogLength = 0;
  #overflowed = false;
  #draining: Promise<void> | undefined;
  #refused = 0;
  #refusedAt: number | undefined;
  #lookTimer: (() => void) | undefined;
  #lookOwed = false;

  /**
   * @param options The two clients and the channel.
   * @param deps What is published, who takes in what comes, and who hears of failures.
   */
  constructor(options: RelayOptions, deps: RelayDeps) {
    this.#publisher = options.publisher;
    this.#subscriber = options.subscriber;
    this.#channel = options.channel;
    this.#maxLength = options.maxLength ?? MAX_MESSAGE_LENGTH;
    this.#deps = deps;
  }

  /** Whether messages go out and come in at this moment, as far as is known. */
  get healthy(): boolean {
    return this.#subscribed && this.#down.size === 0 && this.#closing === undefined &&
      isReady(this.#publisher);
  }

  /** How many messages were turned down: unreadable, unproven or too long. */
  get refused(): number {
    return this.#refused;
  }

  /** Subscribes, now or as soon as the client is connected. Further calls do nothing. */
  start(): void {
    if (this.#started || this.#closing) return;
    this.#started = true;
    this.#listen("publisher", this.#publisher, () => this.#publish());
    this.#listen("subscriber", this.#subscriber, () => {
      this.#deaf = false;
      this.#subscribe();
    });
    if (!isNodeRedis(this.#subscriber)) {
      isShared(this.#subscriber, this.#channel, 1);
      this.#on(this.#subscriber, "message", (channel, text) => {
        if (channel === this.#channel) this.#hear(text);
      });
    }
    this.#after(CONNECT_TIMEOUT, () => {
      const words = (name: Side) => `the ${name} has not connected in ${CONNECT_TIMEOUT} ms`;
      if (!this.#subscribed) this.#fail("subscriber", words("subscriber"));
      if (!isReady(this.#publisher)) this.#fail("publisher", words("publisher"));
    });
    this.#subscribe();
  }

  /** Says that there is news. It goes out together with whatever else there is at that moment. */
  publish(): void {
    this.start();
    this.#news = true;
    this.#publish();
  }

  /**
   * Lets out what is owed, and ends the subscription and all that listens. The clients stay connected. A client of ioredis knows one
   * subscription per channel, so that the last relay also ends one that the application began by itself.
   *
   * @param ms How long Redis is waited for at most, in milliseconds.
   */
  close(ms: number = COMMAND_TIMEOUT): Promise<void> {
    return this.#closing ??= this.#end(ms);
  }

  async #end(ms: number): Promise<void> {
    this.#cancelTimers();
    this.#backlog.length = 0;
    this.#echoes.clear();
    // Errors of the last command must not end the process of an application that listens to none.
    const isError = (event: string) => event === "error";
    for (const [client, event, listener] of this.#listeners) if (!isError(event)) client.off(event, listener);
    // News of this very moment still goes out, unless Redis is slow.
    const tasks = [this.#turn && this.#publishing, this.#unsubscribe()];
    await settlesWithin(this.#deps.clock, Math.min(ms, COMMAND_TIMEOUT), Promise.all(tasks));
    this.#turn = undefined;
    this.#cancelTimers();
    await this.#draining;
    for (const [client, event, listener] of this.#listeners) if (isError(event)) client.off(event, listener);
  }

  #cancelTimers(): void {
    for (const cancel of this.#timers) cancel();
  }

  #on(client: RedisClient, event: string, listener: (...args: unknown[]) => void): void {
    this.#listeners.push([client, event, listener]);
    client.on(event, listener);
  }

  #listen(side: Side, client: RedisClient, onReady: () => void): void {
    this.#on(client, "ready", () => {
      delete this.#said[side];
      this.#forgetRetry();
      if (side === "publisher") this.#recover("publisher");
      onReady();
    });
    this.#on(client, "error", (error) => {
      // ioredis says why before it says that the connection is gone.
      if (isReady(client)) this.#said[side] = error;
      else this.#lose(side, error);
    });
    for (const event of ["close", "end", "reconnecting"]) {
      this.#on(client, event, () => {
        if (!isReady(client)) this.#lose(side, this.#said[side] ?? `the ${side} has lost its connection`);
      });
    }
  }

  #lose(side: Side, cause: unknown): void {
    if (side === "publisher") {
      // What was sent last may be lost with the connection: what is owed when it is back is said anew.
      this.#turn = undefined;
      this.#news = this.#missed = true;
    } else {
      this.#subscribed = false;
      this.#attempt = undefined;
    }
    this.#fail(side, cause);
  }

  #fail(side: Side, cause: unknown): void {
    if (this.#closing || this.#down.has(side)) return;
    this.#down.add(side);
    if (this.#down.size > 1) return;
    this.#fault = cause;
    this.#deps.report(new RelayError(cause));
    this.#deps.onHealth?.(true);
  }

  #recover(side: Side): void {
    if (this.#closing || !this.#down.delete(side) || this.#down.size > 0) return;
    this.#retryPause = SHORTEST_RETRY;
    this.#deps.report(new RelayError(this.#fault, true));
    this.#deps.onHealth?.(false);
  }

  /** Asks Redis for something; `false` when it says no, or when the answer has come to matter no more. */
  async #ask(side: Side, isCurrent: () => boolean, command: () => PromiseLike<unknown>): Promise<boolean> {
    let cancel = () => {};
    const lost = new Promise<false>((resolve) => {
      cancel = this.#after(COMMAND_TIMEOUT, () => {
        if (isCurrent()) this.#fail(side, `no answer to the ${side} in ${COMMAND_TIMEOUT} ms`);
        // A connection that swallows an answer does not say so, and takes the next command.
        cancel = this.#after(COMMAND_TIMEOUT, () => resolve(false));
      });
    });
    try {
      const isAnswered = await Promise.race([(async () => await command())().then(() => true), lost]);
      if (!isAnswered && isCurrent()) this.#retryLater();
      return isAnswered && isCurrent();
    } catch (error) {
      if (isCurrent()) {
        this.#fail(side, error);
        this.#retryLater();
      }
      return false;
    } finally {
      cancel();
    }
  }

  #retryLater(): void {
    if (this.#retry || this.#closing) return;
    const pause = this.#retryPause * (1 + this.#deps.clock.random()) / 2;
    this.#retryPause = Math.min(this.#retryPause * 2, LONGEST_RETRY);
    this.#retry = this.#after(pause, () => {
      this.#retry = undefined;
      if (!this.#subscribed) this.#subscribe();
      this.#publish();
    });
  }

  #forgetRetry(): void {
    this.#retry?.();
    this.#retry = undefined;
  }

  #publish(): void {
    const mayBegin = this.#turn === undefined && this.#retry === undefined && this.#closing === undefined;
    if (!mayBegin || !this.#news || !isReady(this.#publisher)) return;
    this.#publishing = this.#publishAll(this.#turn = {});
  }

  /** Publishes as long as there is news. One message at a time: what comes meanwhile shares the next one. */
  async #publishAll(turn: object): Promise<void> {
    const isCurrent = () => this.#turn === turn;
    // Changes of the same moment go out together.
    await Promise.resolve();
    while (isCurrent() && this.#news) {
      const missed = this.#missed;
      this.#news = this.#missed = false;
      const sent = await this.#publishOnce(missed, isCurrent);
      if (!isCurrent()) return;
      if (sent) continue;
      this.#news = this.#missed = true;
      break;
    }
    if (isCurrent()) this.#turn = undefined;
  }

  async #publishOnce(missed: boolean, isCurrent: () => boolean): Promise<boolean> {
    let text: string | null;
    try {
      text = await this.#deps.compose(missed);
    } catch {
      // Whoever failed has reported it.
      if (isCurrent()) this.#retryLater();
      return false;
    }
    if (text === null) return true;
    if (!isCurrent()) return false;
    const message = text;
    if (message.length > this.#maxLength) {
      this.#refuse(
        `a message to publish has ${message.length} characters, at most ${this.#maxLength} are taken`,
      );
      return true;
    }
    const heard = this.#heard;
    this.#expect(message);
    const sent = await this.#ask(
      "publisher",
      isCurrent,
      () => this.#publisher.publish(this.#channel, message),
    );
    if (!sent) return false;
    this.#recover("publisher");
    this.#listenForEcho(heard);
    return true;
  }

  #expect(text: string): void {
    this.#echoes.add(text);
    for (const oldest of this.#echoes) {
      if (this.#echoes.size <= MAX_ECHOES) break;
      this.#echoes.delete(oldest);
    }
  }

  /** A subscriber that does not even hear us has lost its connection without a sign of it, or its subscription. */
  #listenForEcho(heard: number): void {
    if (this.#echoTimer || !this.#subscribed) return;
    const attempt = this.#attempt;
    this.#echoTimer = this.#after(COMMAND_TIMEOUT, () => {
      this.#echoTimer = undefined;
      if (this.#heard !== heard || this.#attempt !== attempt || this.#deaf) return;
      this.#deaf = true;
      this.#fail("subscriber", `the subscriber has not heard in ${COMMAND_TIMEOUT} ms what was published`);
      this.#subscribe();
      this.#missed = this.#news = true;
      this.#publish();
    });
  }

  #subscribe(): void {
    const [subscriber, channel] = [this.#subscriber, this.#channel];
    if (this.#closing || !isReady(subscriber)) return;
    this.#hasAsked = true;
    const attempt = this.#attempt = {};
    const isCurrent = () => this.#attempt === attempt && this.#closing === undefined;
    const command = isNodeRedis(subscriber)
      ? () => subscriber.subscribe(channel, this.#hear)
      : () => subscriber.subscribe(channel);
    void this.#ask("subscriber", isCurrent, command).then((subscribed) => {
      if (!subscribed) return;
      this.#subscribed = true;
      if (!this.#deaf) this.#recover("subscriber");
      this.#lookAgain();
    });
  }

  async #unsubscribe(): Promise<void> {
    const [subscriber, channel] = [this.#subscriber, this.#channel];
    if (!this.#started || isShared(subscriber, channel, -1) || !this.#hasAsked) return;
    const command = isNodeRedis(subscriber)
      ? () => subscriber.unsubscribe(channel, this.#hear)
      : () => subscriber.unsubscribe(channel);
    const done = (async () => await command())().catch(() => {});
    // A client that is away does it when it comes back.
    if (isReady(subscriber)) await done;
  }

  /** Called by the client for each message; it is also what node-redis knows our subscription by. */
  readonly #hear = (text: unknown): void => {
    if (this.#closing) return;
    this.#heard++;
    if (this.#deaf) {
      this.#deaf = false;
      this.#recover("subscriber");
      this.#lookAgain();
    }
    if (typeof text !== "string") return this.#refuse("a message is no text");
    if (text.length > this.#maxLength) {
      return this.#refuse(`a message has ${text.length} characters, at most ${this.#maxLength} are taken`);
    }
    if (this.#echoes.delete(text)) return;
    const room = this.#maxLength * MAX_BACKLOG_LENGTHS - this.#backlogLength;
    if (this.#backlog.length >= MAX_BACKLOG || text.length > room) {
      this.#overflowed = true;
      return;
    }
    this.#backlog.push(text);
    this.#backlogLength += text.length;
    this.#draining ??= this.#drain();
  };

  async #drain(): Promise<void> {
    for (let text = this.#backlog.shift(); text !== undefined; text = this.#backlog.shift()) {
      this.#backlogLength -= text.length;
      try {
        if (!await this.#deps.receive(text)) this.#refuse("a message cannot be read, or is not proven");
      } catch {
        // It was right and could not be kept: whoever waits for it has to look by itself.
        this.#overflowed = true;
      }
    }
    this.#draining = undefined;
    if (!this.#overflowed) return;
    this.#overflowed = false;
    this.#lookAgain();
  }

  #refuse(why: string): void {
    if (this.#closing) return;
    this.#refused++;
    const isFirst = this.#refusedAt === undefined;
    this.#refusedAt = this.#deps.clock.elapsed();
    if (!isFirst) return;
    this.#deps.report(new RelayError(why));
    const end = (): void => {
      const rest = (this.#refusedAt ?? 0) + EPISODE_PAUSE - this.#deps.clock.elapsed();
      if (rest > 0) {
        this.#after(rest, end);
        return;
      }
      this.#refusedAt = undefined;
      this.#deps.report(new RelayError(why, true));
    };
    this.#after(EPISODE_PAUSE, end);
  }

  #lookAgain(): void {
    if (this.#closing) return;
    if (this.#lookTimer) {
      this.#lookOwed = true;
      return;
    }
    this.#lookTimer = this.#after(LOOK_PAUSE, () => {
      this.#lookTimer = undefined;
      if (!this.#lookOwed) return;
      this.#lookOwed = false;
      this.#lookAgain();
    });
    this.#deps.onConnected();
  }

  /** Sets a timer that ends with the relay. */
  #after(ms: number, callback: () => void): () => void {
    const stop = this.#deps.clock.after(ms, () => {
      this.#timers.delete(cancel);
      callback();
    });
    const cancel = (): void => {
      this.#timers.delete(cancel);
      stop();
    };
    this.#timers.add(cancel);
    return cancel;
  }
}

/** Notes one relay more or less on a channel of a client, and says whether there are others. */
function isShared(subscriber: RedisSubscriber, channel: string, change: 1 | -1): boolean {
  // Each listener of node-redis has a subscription of its own.
  if (isNodeRedis(subscriber)) return false;
  const counts = sharers.get(subscriber) ?? new Map<string, number>();
  const count = (counts.get(channel) ?? 0) + change;
  counts.set(channel, count);
  if (count === 0) counts.delete(channel);
  sharers.set(subscriber, counts);
  return count > 0;
}
