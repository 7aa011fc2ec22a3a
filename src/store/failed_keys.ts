/**
 * Remembers the keys whose last change failed, so that the next one is written in any case.
 *
 * @module
 */

/** The most keys that are remembered. */
const MAX_KEYS = 10_000;

/**
 * The keys whose last change failed. Their data may have changed without a change of the node, so the stored hash does
 * not tell which data clients have. Holds plain values only, so that requests can share it.
 */
export class FailedKeys {
  readonly #keys = new Set<string>();
  #isFull = false;

  /** Whether the last change of a key failed, or may have failed: too many keys were added to remember all. */
  has(key: string): boolean {
    return this.#isFull || this.#keys.has(key);
  }

  /** Adds a key. */
  add(key: string): void {
    if (this.#keys.size < MAX_KEYS) this.#keys.add(key);
    else if (!this.#keys.has(key)) this.#isFull = true;
  }

  /** Removes a key that was written. */
  delete(key: string): void {
    if (this.#keys.size > 0) this.#keys.delete(key);
  }
}
