/**
 * Which versions that clients claim, and this server does not know, are worth asking the peers about. A client can
 * claim any version: without a limit, each such request would cost an exchange with several peers.
 *
 * A client whose claim is not checked is told what this server has, as after a round without a result: it fetches once
 * too often, and misses nothing.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { RealityNodeMeta } from "../types.ts";

/** A version of a key that a client holds, above the version here. */
export type Claim = Readonly<Pick<RealityNodeMeta, "key" | "version">>;

/** How long peers are not asked again about a claim that none of them confirmed, in milliseconds. */
const PAUSE = 10_000;

/** The maximum number of claims that are remembered, in all and of one request. */
const MAX_CLAIMS = 1_000;
const MAX_RECORDED = 100;

/** How many requests without a result are allowed at once, … */
const BURST = 20;
/** … and per second in the long run. This limits clients that claim something else each time. */
const PER_SECOND = 2;

/** The claims that no peer confirmed. */
export class ClaimedVersions {
  readonly #clock: Clock;
  /** Claim → until when it is not asked about, by `clock.elapsed()`. The oldest stands first. */
  readonly #unconfirmed = new Map<string, number>();
  #budget: number = BURST;
  #refilledAt = 0;

  /** @param clock The clock of pauses and budget. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the peers should be asked about one of these claims. */
  areWorthChecking(claims: readonly Claim[]): boolean {
    const now = this.#clock.elapsed();
    return this.#refillBudget(now) >= 1 &&
      claims.some((claim) => (this.#unconfirmed.get(nameOf(claim)) ?? 0) <= now);
  }

  /** Records that the peers were asked about these claims for one request, and confirmed none. */
  recordUnconfirmed(claims: readonly Claim[]): void {
    if (claims.length === 0) return;
    const now = this.#clock.elapsed();
    this.#budget = Math.max(0, this.#refillBudget(now) - 1);
    for (const claim of claims.slice(0, MAX_RECORDED)) {
      const name = nameOf(claim);
      this.#unconfirmed.delete(name);
      this.#unconfirmed.set(name, now + PAUSE);
    }
    for (const [name, until] of this.#unconfirmed) {
      if (until > now && this.#unconfirmed.size <= MAX_CLAIMS) return;
      this.#unconfirmed.delete(name);
    }
  }

  /** Refills the budget by the time passed, and returns it. */
  #refillBudget(now: number): number {
    this.#budget = Math.min(BURST, this.#budget + (now - this.#refilledAt) / 1_000 * PER_SECOND);
    this.#refilledAt = now;
    return this.#budget;
  }
}

function nameOf({ key, version }: Claim): string {
  return `${version}:${key}`;
}
