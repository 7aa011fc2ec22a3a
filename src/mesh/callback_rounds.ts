/**
 * Callbacks for many hellos at once: one round of calls asks about all of them.
 *
 * Every client can send a hello. A budget limits the calls that strangers cause. Once it is used up, the hello of a peer
 * must still be answered. So the waiting hellos share a round: one call to each URL, however many hellos there are.
 *
 * @module
 */
import type { Clock } from "../clock.ts";

/** The maximum number of hellos in one round, chosen at random; the others wait for the next. */
export const MAX_NONCES = 100;

/** The maximum number of waiting hellos; of more, a random one is refused. */
const MAX_WAITING = 1_000;

/** The sender of a hello: the URL at which a server confirmed it, and the token that it got. */
export interface HelloSender {
  readonly url: string;
  readonly token: string;
}

/** Receives the sender of a hello. */
type OnFound = (nonce: string, found: HelloSender) => void;

/** What rounds of callbacks need. */
export interface RoundOptions {
  readonly clock: Clock;
  /** How long a hello waits for its round, in milliseconds. */
  readonly timeout: number;
  /** Returns after how many milliseconds the budget suffices for a round: 0 for now. */
  readonly pause: () => number;
  /** Spends a round of the budget, and asks all URLs about these nonces. Never rejects, and settles by a deadline. */
  readonly callAll: (
    nonces: readonly string[],
    onFound: OnFound,
    signal: AbortSignal | undefined,
  ) => Promise<void>;
}

/** The hellos that wait for a round. */
export class CallbackRounds {
  readonly #options: RoundOptions;
  /** Nonce → receives its sender; `null` when none was found. */
  readonly #waiting = new Map<string, (found: HelloSender | null) => void>();
  #cancelRound: (() => void) | undefined;

  /** @param options The clock, the budget and the calls. */
  constructor(options: RoundOptions) {
    this.#options = options;
  }

  /** Whether a hello waits. Then new ones wait as well: otherwise the budget might never suffice for a round. */
  get hasWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Waits for the next round, and looks for the sender in it.
   *
   * @returns The sender of the hello; `null` when none was found, or there was no round in time.
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

  /** Draws some of the waiting nonces, in random order. */
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
