/**
 * Which full copies were sent to other storages, so that none is sent again and again.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** How long the same copy is not sent again, in milliseconds: the first pause, and the longest. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;

/** The maximum number of storages that are remembered. */
const MAX_STORAGES = 1_000;

/** A copy that was sent completely. */
interface Copy {
  readonly reason: string;
  readonly times: number;
  /** When it may be sent again, by `clock.elapsed()`. */
  readonly pauseEnd: number;
}

/** Full copies, by the replica id of the receiver. */
export class FullCopies {
  readonly #clock: Clock;
  readonly #begun = new Map<string, string>();
  readonly #completed = new Map<string, Copy>();

  /** @param clock The clock of the pauses. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Whether a full copy may be sent to a storage now.
   *
   * @param replicaId The storage.
   * @param reason The collected dots that the storage does not cover.
   */
  maySend(replicaId: string, reason: string): boolean {
    const last = this.#completed.get(replicaId);
    return last?.reason !== reason || last.pauseEnd <= this.#clock.elapsed();
  }

  /** Records that the first page of a copy is sent to a storage, for this reason. */
  recordFirstPage(replicaId: string, reason: string): void {
    this.#begun.delete(replicaId);
    this.#begun.set(replicaId, reason);
    for (const oldest of this.#begun.keys()) {
      if (this.#begun.size <= MAX_STORAGES) break;
      this.#begun.delete(oldest);
      this.#completed.delete(oldest);
    }
  }

  /** Records that the last page is sent. */
  recordLastPage(replicaId: string): void {
    const reason = this.#begun.get(replicaId);
    if (reason === undefined) return;
    const last = this.#completed.get(replicaId);
    const times = last?.reason === reason ? last.times + 1 : 1;
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(times - 1, 20));
    this.#completed.set(replicaId, { reason, times, pauseEnd: this.#clock.elapsed() + pause });
  }
}
