/**
 * Calls back for hellos that are too many to call back for one by one: one round of calls asks about all of them.
 *
 * Anybody can say hello. A budget bounds the calls that strangers cause; once it is used up, a hello of a peer must not
 * share the fate of theirs. So what waits then is asked about together, in a call to each URL at each round, however
 * many hellos there are.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** So many hellos are asked about in one round, by chance where there are more; the others wait for the next. */
export const MAX_NONCES = 100;

/** So many wait at once; of more, one by chance is turned down. */
const MAX_WAITING = 1_000;

/** Who was found to have said a hello. */
export interface HelloSender {
  readonly url: string;
  readonly token: string;
}

/** Hears who said a hello. */
type OnFound = (nonce: string, found: HelloSender) => void;

/** What rounds of call-backs are made with. */
export interface RoundOptions {
  readonly clock: Clock;
  /** How long a hello waits for its round, in milliseconds. */
  readonly timeout: number;
  /** Says after how many milliseconds the budget has enough for a round: 0 for now. */
  readonly pause: () => number;
  /** Takes a round out of the budget, and asks all URLs about these nonces. Never rejects, and ends by a deadline. */
  readonly callAll: (
    nonces: readonly string[],
    onFound: OnFound,
    signal: AbortSignal | undefined,
  ) => Promise<void>;
}

/** The hellos that wait for a round. */
export class CallbackRounds {
  readonly #options: RoundOptions;
  /** Nonce → hears who said it; `null` for nobody that was found. */
  readonly #waiting = new Map<string, (found: HelloSender | null) => void>();
  #cancelRound: (() => void) | undefined;

  /** @param options What they are made with. */
  constructor(options: RoundOptions) {
    this.#options = options;
  }

  /** Whether a hello waits: whoever comes now waits as well, lest the budget never have enough for a round. */
  get hasWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Waits for the next round, and asks in it.
   *
   * @returns Who said the hello; `null` where nobody was found, or there was no round in time.
   */
  find(nonce: string, signal?: AbortSignal): Promise<HelloSender | null> {
    const { clock, timeout } = this.#options;
    if (this.#waiting.has(nonce) || signal?.aborted) return Promise.resolve(null);
    if (this.#waiting.size >= MAX_WAITING) {
      const nonces = [...this.#waiting.keys()];
      this.#settle(nonces[Math.floor(clock.random() * nonces.length)]!, null);
    }
    return new Promise((resolve) => {
      const giveUp = () => this.#settle(nonce, null);
      const cancel = clock.after(timeout, giveUp);
      signal?.addEventListener("abort", giveUp);
      this.#waiting.set(nonce, (found) => {
        cancel();
        signal?.removeEventListener("abort", giveUp);
        resolve(found);
      });
      this.#schedule(signal);
    });
  }

  #schedule(signal: AbortSignal | undefined): void {
    if (this.#cancelRound !== undefined || this.#waiting.size === 0) return;
    this.#cancelRound = this.#options.clock.after(this.#options.pause(), () => {
      this.#cancelRound = undefined;
      void this.#runRound(signal);
    });
  }

  async #runRound(signal: AbortSignal | undefined): Promise<void> {
    const nonces = this.#drawNonces();
    const asked = new Map(nonces.map((nonce) => [nonce, this.#waiting.get(nonce)!]));
    for (const nonce of nonces) this.#waiting.delete(nonce);
    const asking = this.#options.callAll(nonces, (nonce, found) => asked.get(nonce)?.(found), signal);
    this.#schedule(signal);
    await asking;
    for (const resolve of asked.values()) resolve(null);
  }

  /** Some of those that wait, in an order by chance. */
  #drawNonces(): string[] {
    const nonces = [...this.#waiting.keys()];
    const count = Math.min(nonces.length, MAX_NONCES);
    for (let i = 0; i < count; i++) {
      const j = i + Math.floor(this.#options.clock.random() * (nonces.length - i));
      [nonces[i], nonces[j]] = [nonces[j]!, nonces[i]!];
    }
    return nonces.slice(0, count);
  }

  #settle(nonce: string, found: HelloSender | null): void {
    const resolve = this.#waiting.get(nonce);
    if (!this.#waiting.delete(nonce)) return;
    if (this.#waiting.size === 0) {
      this.#cancelRound?.();
      this.#cancelRound = undefined;
    }
    resolve!(found);
  }
}
