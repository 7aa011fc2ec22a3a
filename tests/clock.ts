/**
 * A clock that stands still until a test moves it.
 *
 * @module
 */
import type { Clock } from "../src/clock.ts";

/** A clock whose time, timers and random numbers the test controls. */
export class FakeClock implements Clock {
  readonly #timers = new Set<{ at: number; callback: () => void }>();
  #now: number;
  /** How far the date was set forward, or back. */
  #shift = 0;
  /** What `random()` returns. */
  randomValue = 0;

  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    // As `Date.now()`, in whole milliseconds.
    return Math.floor(this.#now + this.#shift);
  }

  elapsed(): number {
    return this.#now;
  }

  /** Sets the date forward, or back; no time passes. */
  jump(ms: number): void {
    this.#shift += ms;
  }

  random(): number {
    return this.randomValue;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves on, calling back whatever falls due in order, and letting promises settle after each. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    while (true) {
      await settle();
      const [due] = [...this.#timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at);
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = until;
    await settle();
  }
}

/**
 * How many calls of Web Crypto are under way. They run on threads of their own, which a busy machine may delay for any
 * number of turns of the event loop.
 */
let cryptoCalls = 0;

for (const name of ["digest", "importKey", "sign", "verify"] as const) {
  const methods = SubtleCrypto.prototype as unknown as Record<
    string,
    (...args: unknown[]) => Promise<unknown>
  >;
  const method = methods[name]!;
  methods[name] = async function (...args) {
    cryptoCalls++;
    try {
      return await method.apply(this, args);
    } finally {
      cryptoCalls--;
    }
  };
}

/** Whether a call of Web Crypto is under way. */
export function isCryptoBusy(): boolean {
  return cryptoCalls > 0;
}

/** Lets every promise that can settle do so, without waiting for any time to pass. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i = cryptoCalls > 0 ? 0 : i + 1) {
    await new Promise<void>((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port2.onmessage = () => {
        port1.close();
        port2.close();
        resolve();
      };
      port1.postMessage(null);
    });
  }
}
