/**
 * The waiter of a request that may not wait for another request.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { markOf } from "../store/history.ts";
import type { WaitEnd, Waiter } from "../sync/waiters.ts";

/** The interval of checks of the flag, in milliseconds. */
const FLAG_INTERVAL = 50;

/** Waits with timers of its own request. It is woken by the poller of the request, and checks a flag for other wakes. */
export class PollingWaiter implements Waiter {
  readonly #keys: readonly string[];
  readonly #flag: Waiter;
  readonly #clock: Clock;
  readonly #onCheck: () => void;
  readonly #onRelease: () => void;
  /** Whether the poller has found a change. Reset when the request registers its next reading. */
  isWoken = false;
  #finish: ((end: WaitEnd) => void) | undefined;

  /**
   * @param keys The keys that the request waits for.
   * @param flag Is set by changes in this process and by `close()`.
   * @param clock The clock of the server.
   * @param onCheck Called before each check of the flag. It shows that the request is still running.
   * @param onRelease Called when the wait ends.
   */
  constructor(
    keys: readonly string[],
    flag: Waiter,
    clock: Clock,
    onCheck: () => void,
    onRelease: () => void,
  ) {
    this.#keys = keys;
    this.#flag = flag;
    this.#clock = clock;
    this.#onCheck = onCheck;
    this.#onRelease = onRelease;
  }

  next(ms: number): Promise<WaitEnd> {
    const end = this.poll();
    if (end !== undefined) return Promise.resolve(end);
    const endsAt = this.#clock.elapsed() + ms;
    return new Promise((resolve) => {
      let stopTimer: () => void;
      this.#finish = (end) => {
        stopTimer();
        this.#finish = undefined;
        resolve(end);
      };
      const checkAfter = (left: number) => {
        this.#onCheck();
        stopTimer = this.#clock.after(Math.min(left, FLAG_INTERVAL), () => {
          const left = endsAt - this.#clock.elapsed();
          const end = this.poll() ?? (left > 0 ? undefined : "timeout");
          if (end === undefined) checkAfter(left);
          else this.#finish?.(end);
        });
      };
      checkAfter(ms);
    });
  }

  poll(): WaitEnd | undefined {
    const end = this.#flag.poll();
    if (end === "closed" || !this.isWoken) return end;
    this.isWoken = false;
    return "wake";
  }

  /** Wakes the request if it waits for one of these keys; `null` stands for every key. */
  wake(keys: readonly string[] | null): void {
    if (keys !== null && !keys.some((key) => this.#keys.includes(key))) return;
    if (this.#finish === undefined) this.isWoken = true;
    else this.#finish("wake");
  }

  /** Wakes the request if it waits for a key with one of these marks. */
  wakeMarked(marks: ReadonlySet<string>): void {
    this.wake(this.#keys.filter((key) => marks.has(markOf(key))));
  }

  release(): void {
    this.#flag.release();
    this.#onRelease();
    this.#finish?.("closed");
  }
}
