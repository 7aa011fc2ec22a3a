/**
 * Which of the versions that clients hold, and this server does not know, are worth asking the peers about. Anybody can
 * claim any version: without a bound, each such request would cost an exchange with several peers.
 *
 * A client whose claim is not looked into is told what there is here, as after a fruitless round: it fetches once too
 * often, and misses nothing.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { RealityNodeMeta } from "../types.ts";

/** A client holds this version of this key, which is more than is known here. */
export type Claim = Readonly<Pick<RealityNodeMeta, "key" | "version">>;

/** How long peers are not asked again about a claim of which they knew nothing, in milliseconds. */
const PAUSE = 10_000;

/** So many claims are remembered, and so many of one request. */
const MAX_CLAIMS = 1_000;
const MAX_RECORDED = 100;

/** So many requests at once may be fruitless, … */
const BURST = 20;
/** … and so many a second in the long run: who claims something else each time is bounded by that. */
const PER_SECOND = 2;

/** The claims that came to nothing. */
export class ClaimedVersions {
  readonly #clock: Clock;
  /** Claim → until when it is not asked about, by `clock.elapsed()`. The oldest stands first. */
  readonly #unconfirmed = new Map<string, number>();
  #budget: number = BURST;
  #refilledAt = 0;

  /** @param clock Where time comes from. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Says whether the peers should be asked about one of these. */
  areWorthChecking(claims: readonly Claim[]): boolean {
    const now = this.#clock.elapsed();
    return this.#refillBudget(now) >= 1 &&
      claims.some((claim) => (this.#unconfirmed.get(nameOf(claim)) ?? 0) <= now);
  }

  /** Notes that the peers were asked about these for one request, and knew nothing. */
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

  /** What is left of the budget. */
  #refillBudget(now: number): number {
    this.#budget = Math.min(BURST, this.#budget + (now - this.#refilledAt) / 1_000 * PER_SECOND);
    this.#refilledAt = now;
    return this.#budget;
  }
}

function nameOf({ key, version }: Claim): string {
  return `${version}:${key}`;
}
