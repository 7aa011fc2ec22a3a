/**
 * Publishing on one channel: one message at a time, each with all that happened since the last.
 *
 * @module
 */
import { isReady, type RedisPublisher } from "./client.ts";
import type { ConnectionHealth } from "./connection_health.ts";
import type { RefusedMessages } from "./refused_messages.ts";
import type { Subscription } from "./subscription.ts";

/** What a publication needs. */
export interface PublicationOptions {
  readonly publisher: RedisPublisher;
  readonly channel: string;
  /** The maximum length of a message, in characters. */
  readonly maxLength: number;
  readonly health: ConnectionHealth;
  readonly subscription: Subscription;
  readonly refused: RefusedMessages;
  /** Composes the next message; `null` for none. */
  readonly compose: (isMissed: boolean) => Promise<string | null>;
}

/** One relay's publisher. */
export class Publication {
  readonly #options: PublicationOptions;
  /** There is something to publish. */
  #isPending = false;
  /** Something that was published may have been lost. */
  #isMissed = false;
  /** The loop that publishes now; another one, or none, once the connection was lost. */
  #turn: object | undefined;
  #publishing: Promise<void> | undefined;

  /** @param options The client, the channel and the source of messages. */
  constructor(options: PublicationOptions) {
    this.#options = options;
  }

  /** Settles when the current loop has published everything. */
  get published(): Promise<void> | undefined {
    return this.#turn && this.#publishing;
  }

  /** Publishes what happened since the last message. */
  publish(): void {
    this.#isPending = true;
    this.resume();
  }

  /** Publishes what is pending, if the client is connected. */
  resume(): void {
    const { publisher, health } = this.#options;
    const mayBegin = this.#turn === undefined && !health.isRetryPending && !health.isClosing;
    if (!mayBegin || !this.#isPending || !isReady(publisher)) return;
    this.#publishing = this.#publishAll(this.#turn = {});
  }

  /** Publishes again all that may have been lost. */
  republish(): void {
    this.#isMissed = this.#isPending = true;
    this.resume();
  }

  /** Records that the connection is lost. What was sent last may be lost with it, and is published again. */
  reset(): void {
    this.#turn = undefined;
    this.#isPending = this.#isMissed = true;
  }

  /** Ends the loop. */
  stop(): void {
    this.#turn = undefined;
  }

  async #publishAll(turn: object): Promise<void> {
    const isCurrent = () => this.#turn === turn;
    // Changes of the same moment share a message.
    await Promise.resolve();
    while (isCurrent() && this.#isPending) {
      const isMissed = this.#isMissed;
      this.#isPending = this.#isMissed = false;
      const isSent = await this.#publishOnce(isMissed, isCurrent);
      if (!isCurrent()) return;
      if (isSent) continue;
      this.#isPending = this.#isMissed = true;
      break;
    }
    if (isCurrent()) this.#turn = undefined;
  }

  async #publishOnce(isMissed: boolean, isCurrent: () => boolean): Promise<boolean> {
    const { publisher, channel, maxLength, health, subscription, compose } = this.#options;
    let text: string | null;
    try {
      text = await compose(isMissed);
    } catch {
      // Reported already.
      if (isCurrent()) health.retryLater();
      return false;
    }
    if (text === null) return true;
    if (!isCurrent()) return false;
    const message = text;
    if (message.length > maxLength) {
      this.#refuse(`a message to publish has ${message.length} characters, at most ${maxLength} are taken`);
      return true;
    }
    const count = subscription.expectEcho(message);
    const isSent = await health.send("publisher", isCurrent, () => publisher.publish(channel, message));
    if (!isSent) return false;
    health.recover("publisher");
    subscription.checkEcho(count, () => this.republish());
    return true;
  }

  #refuse(reason: string): void {
    if (!this.#options.health.isClosing) this.#options.refused.add(reason);
  }
}
