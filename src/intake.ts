/**
 * The one way in for a change, whoever brings it.
 *
 * @module
 */
import type { Writer } from "./batch.ts";
import type { Clock } from "./clock.ts";
import { hashFault, keyFault } from "./node.ts";
import type { Limits } from "./options.ts";
import { randomName } from "./storage.ts";
import type { NodeUpdate, RealityNodeMeta } from "./types.ts";

/** Checks changes and hands them to the storage. */
export class Intake {
  readonly #writer: Writer;
  readonly #clock: Clock;
  readonly #limits: Limits;

  /**
   * @param writer Commits changes, and wakes who waits for them.
   * @param clock Dates them.
   * @param limits What a key and a hash may be.
   */
  constructor(writer: Writer, clock: Clock, limits: Limits) {
    this.#writer = writer;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Publishes nodes' new states. Nothing is written when one of them is wrong. */
  async update(updates: readonly NodeUpdate[]): Promise<RealityNodeMeta[]> {
    for (const { key, hash } of updates) {
      this.checkKey(key);
      const fault = hashFault(hash, this.#limits.maxHashBytes);
      if (fault !== undefined) throw mistake("hash", hash, fault);
    }
    const updatedAt = this.#clock.now();
    return await Promise.all(updates.map(({ key, hash }) => this.#writer.write({ key, hash, updatedAt })));
  }

  /** Says that nodes changed, with hashes never used before: who compares hashes must not sleep on. */
  async invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]> {
    const longest = this.#limits.maxHashBytes;
    return await this.update(
      keys.map((key) => ({ key, hash: `invalidated-${randomName(16)}`.slice(-longest) })),
    );
  }

  /** Takes a node away. */
  async delete(key: string): Promise<RealityNodeMeta[]> {
    this.checkKey(key);
    return [await this.#writer.write({ key, hash: "", updatedAt: this.#clock.now(), deleted: true })];
  }

  /**
   * Checks a key that the application gave.
   *
   * @throws {TypeError} When it is no string.
   * @throws {RangeError} When it is too long, empty, or has characters that are not allowed.
   */
  checkKey(key: unknown): void {
    const fault = keyFault(key, this.#limits.maxKeyBytes);
    if (fault !== undefined) throw mistake("key", key, fault);
  }
}

function mistake(what: string, value: unknown, fault: string): Error {
  const message = `Cannot take this ${what}: ${fault}`;
  return typeof value === "string" ? new RangeError(message) : new TypeError(message);
}
