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
  readonly #max: number;
  /** The keys whose last change failed. Once there were too many of them: those that were written since. */
  readonly #keys = new Set<string>();
  #isInverted = false;
  /** Key → how many of its changes were sent and have no answer. */
  readonly #unanswered = new Map<string, number>();
  /** How many more changes have no answer. */
  #unnamed = 0;

  /** @param max The most keys of each kind that are remembered. */
  constructor(max: number = MAX_KEYS) {
    this.#max = max;
  }

  /** Whether the stored hash of a key is in doubt. So it is for other keys as well while there are too many to remember. */
  has(key: string): boolean {
    return this.#keys.has(key) !== this.#isInverted || this.#isUnanswered(key);
  }

  /** Adds a key. */
  add(key: string): void {
    this.#note(key, true);
  }

  /** Removes a key that was written. */
  delete(key: string): void {
    this.#note(key, false);
  }

  #note(key: string, isInDoubt: boolean): void {
    if (isInDoubt === this.#isInverted) this.#keys.delete(key);
    else if (this.#keys.add(key).size > this.#max) {
      this.#isInverted = true;
      this.#keys.clear();
    }
  }

  #isUnanswered(key: string): boolean {
    return this.#unnamed > 0 || this.#unanswered.has(key);
  }

  /**
   * A change was sent.
   *
   * @returns Whether an earlier change of the key may have no answer. Then the order in which the two are stored is not known.
   */
  begin(key: string): boolean {
    const isOvertaking = this.#isUnanswered(key);
    if (this.#unanswered.size < this.#max) this.#unanswered.set(key, (this.#unanswered.get(key) ?? 0) + 1);
    else this.#unnamed++;
    return isOvertaking;
  }

  /** A change that was sent has its answer. */
  end(key: string): void {
    const left = (this.#unanswered.get(key) ?? 0) - 1;
    if (left > 0) this.#unanswered.set(key, left);
    else if (!this.#unanswered.delete(key)) this.#unnamed--;
  }
}
