/**
 * Signs the updates that are published through Redis, and verifies those of other servers.
 *
 * @module
 */
import type { RedisUpdates } from "./redis_updates.ts";
import type { SecretProof } from "./secret_proof.ts";

/** Updates through one channel, signed if the servers share a secret. */
export class SignedUpdates {
  readonly #updates: RedisUpdates;
  readonly #channel: string;
  readonly #secret: SecretProof | undefined;

  /**
   * @param updates Composes and handles messages.
   * @param channel The channel, which is part of each signature.
   * @param secret Signs and verifies; undefined without a shared secret.
   */
  constructor(updates: RedisUpdates, channel: string, secret: SecretProof | undefined) {
    this.#updates = updates;
    this.#channel = channel;
    this.#secret = secret;
  }

  /**
   * Composes the next message.
   *
   * @param isMissed Whether earlier messages may have been lost.
   * @throws {StorageError} When the storage fails.
   */
  async compose(isMissed: boolean): Promise<string> {
    const text = await this.#updates.compose(this.#secret !== undefined, isMissed);
    return this.#secret === undefined ? text : await this.#secret.signBroadcast(this.#channel, text);
  }

  /** Handles a received message. Returns whether it could be read and, with a secret, verified. */
  async receive(text: string): Promise<boolean> {
    const secret = this.#secret;
    const message = secret === undefined ? text : await secret.verifyBroadcast(this.#channel, text);
    return message !== null && await this.#updates.receive(message, secret !== undefined);
  }

  /** Handles messages that may have been missed. */
  recoverMissed(): void {
    this.#updates.recoverMissed();
  }
}
