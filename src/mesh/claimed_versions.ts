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
const MAX_NOTED = 100;

/** So many requests at once may be fruitless, … */
const BURST = 20;
/** … and so many a second in the long run: who claims something else each time is bounded by that. */
const PER_SECOND = 2;

/** The claims that came to nothing. */
export class ClaimedVersions {
  readonly #clock: Clock;
  /** Claim → until when it is not asked about, by `clock.elapsed()`. The oldest stands first. */
  readonly #fruitless = new Map<string, number>();
  #budget: number = BURST;
  #countedAt = 0;

  /** @param clock Where time comes from. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Says whether the peers should be asked about one of these. */
  areWorthAsking(claims: readonly Claim[]): boolean {
    const now = this.#clock.elapsed();
    return this.#count(now) >= 1 && claims.some((claim) => (this.#fruitless.get(nameOf(claim)) ?? 0) <= now);
  }

  /** Notes that the peers were asked about these for one request, and knew nothing. */
  noteFruitless(claims: readonly Claim[]): void {
    if (claims.length === 0) return;
    const now = this.#clock.elapsed();
    this.#budget = Math.max(0, this.#count(now) - 1);
    for (const claim of claims.slice(0, MAX_NOTED)) {
      const name = nameOf(claim);
      this.#fruitless.delete(name);
      this.#fruitless.set(name, now + PAUSE);
    }
    for (const [name, until] of this.#fruitless) {
      if (until > now && this.#fruitless.size <= MAX_CLAIMS) return;
      this.#fruitless.delete(name);
    }
  }

  /** What is left of the budget. */
  #count(now: number): number {
    this.#budget = Math.min(BURST, this.#budget + (now - this.#countedAt) / 1_000 * PER_SECOND);
    this.#countedAt = now;
    return this.#budget;
  }
}

function nameOf({ key, version }: Claim): string {
  return `${version}:${key}`;
}
