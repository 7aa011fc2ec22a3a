/**
 * Remembers the keys whose last change failed or has no answer yet, so that the next one is written in any case.
 *
 * @module
 */

/** The most keys of each kind that are remembered. */
const MAX_KEYS = 10_000;

/**
 * The keys whose stored hash does not tell which data clients have. The last change of such a key failed: its data may have
 * changed without a change of the node. Or a change of it was sent and has no answer, possibly long after its time limit: it
 * may reach the storage after later ones. Holds plain values only, so that requests can share it.
 */
export class FailedKeys {
  readonly #keys = new Set<string>();
  /** Key → how many of its changes were sent and have no answer. */
  readonly #unanswered = new Map<string, number>();
  #isFull = false;

  /** Whether the stored hash of a key is in doubt. It is for every key once there were too many to remember. */
  has(key: string): boolean {
    return this.#isFull || this.#keys.has(key) || this.#unanswered.has(key);
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

  /**
   * A change was sent.
   *
   * @returns Whether an earlier change of the key has no answer. Then the order in which the two are stored is not known.
   */
  begin(key: string): boolean {
    const before = this.#unanswered.get(key) ?? 0;
    if (before > 0 || this.#unanswered.size < MAX_KEYS) this.#unanswered.set(key, before + 1);
    else this.#isFull = true;
    return before > 0;
  }

  /** A change that was sent has its answer. */
  end(key: string): void {
    const left = (this.#unanswered.get(key) ?? 0) - 1;
    if (left > 0) this.#unanswered.set(key, left);
    else this.#unanswered.delete(key);
  }
}
