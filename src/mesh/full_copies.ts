/**
 * Which full copies other storages were given, so that none is given again and again.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** How long the same copy is not given again, in milliseconds: the first pause, and what it grows to. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;

/** So many storages are remembered. */
const MAX_STORAGES = 1_000;

/** A copy that a storage was given to the end. */
interface Copy {
  readonly reason: string;
  readonly times: number;
  /** Not again before that, by `clock.elapsed()`. */
  readonly pauseEnd: number;
}

/** Full copies by the origin of the storage that was given them. */
export class FullCopies {
  readonly #clock: Clock;
  readonly #begun = new Map<string, string>();
  readonly #completed = new Map<string, Copy>();

  /** @param clock Measures the pauses. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Whether a storage may be given a full copy now.
   *
   * @param replicaId The storage.
   * @param reason What it lacks that only a full copy can tell it.
   */
  maySend(replicaId: string, reason: string): boolean {
    const last = this.#completed.get(replicaId);
    return last?.reason !== reason || last.pauseEnd <= this.#clock.elapsed();
  }

  /** Notes that a storage is given the first page of a copy, for this reason. */
  recordFirstPage(replicaId: string, reason: string): void {
    this.#begun.delete(replicaId);
    this.#begun.set(replicaId, reason);
    for (const oldest of this.#begun.keys()) {
      if (this.#begun.size <= MAX_STORAGES) break;
      this.#begun.delete(oldest);
      this.#completed.delete(oldest);
    }
  }

  /** Notes that it is given the last page. */
  recordLastPage(replicaId: string): void {
    const reason = this.#begun.get(replicaId);
    if (reason === undefined) return;
    const last = this.#completed.get(replicaId);
    const times = last?.reason === reason ? last.times + 1 : 1;
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(times - 1, 20));
    this.#completed.set(replicaId, { reason, times, pauseEnd: this.#clock.elapsed() + pause });
  }
}
