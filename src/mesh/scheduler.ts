/**
 * The scheduler: when this server talks to which peer, and when it tries again.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { PeerError, type RealityError } from "../errors.ts";
import type { Announcer } from "./announcer.ts";
import type { AntiEntropy } from "./anti_entropy.ts";
import type { Exchanges } from "./exchange.ts";
import type { FanOut } from "./fan_out.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { statusOf } from "./http_client.ts";
import type { LocalReplica } from "./local_replica.ts";
import { type Peer, type Peers, PendingUpdates } from "./peers.ts";
import { OwnAddressError } from "./proof.ts";

/** A peer without an exchange for this long is contacted when a client asks, in milliseconds. */
const STALE_AFTER_MS = 5_000;

/** How often client requests lead to a check for stale peers, in milliseconds, and how many are then contacted. */
const STALE_CHECK_PAUSE_MS = 1_000;
const MAX_STALE_CONTACTED = 2;

/** How often a failed peer is retried by a timer; from then on only when there is traffic. */
const MAX_RETRIES = 8;

/** The pause after a failure of this server's own storage, in milliseconds. */
const STORAGE_PAUSE_MS = 1_000;

/** How long a URL that led back to this server is not contacted, in milliseconds. */
const OWN_ADDRESS_PAUSE_MS = 60_000;

/** What a scheduler needs. */
export interface SchedulerOptions {
  readonly clock: Clock;
  readonly peers: Peers;
  readonly replica: LocalReplica;
  readonly antiEntropy: AntiEntropy | undefined;
  readonly exchanges: Exchanges;
  readonly fanOut: FanOut;
  readonly heartbeat: Heartbeat;
  readonly announcer: Announcer;
  /** How long a client waits for a catch-up round, in milliseconds. */
  readonly timeout: number;
  readonly report: (error: RealityError) => void;
}

/** Runs exchanges: one at a time with each peer. No change of a node ever waits for one. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #end = new AbortController();
  #bootstrapping: Promise<void> | undefined;
  #hasBootstrapped = false;
  #emptiness: Promise<boolean> | undefined;
  #catchingUp: Promise<void> | undefined;
  #nextStaleCheck = 0;
  #isClosing = false;
  #exchanges = 0;
  #failures = 0;

  /** @param options The peers, and what exchanges are made with. */
  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** How many exchanges were started. */
  get exchanges(): number {
    return this.#exchanges;
  }

  /** How many exchanges a peer has failed. */
  get failures(): number {
    return this.#failures;
  }

  /** Aborts when the mesh has closed. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Contacts peers without a recent exchange, since a client asks. Returns at once. */
  contactStalePeers(): void {
    const { clock, peers, fanOut, heartbeat } = this.#options;
    const now = clock.elapsed();
    if (now < this.#nextStaleCheck || this.#isClosing) return;
    this.#nextStaleCheck = now + STALE_CHECK_PAUSE_MS;
    heartbeat.start();
    peers.retryOwnAddresses(now);
    const stale = peers.others.filter((peer) =>
      peer.currentExchange === undefined && peer.nextAttempt <= now &&
      (peer.pending.hasUpdates || now - (peer.lastExchange ?? -Infinity) >= STALE_AFTER_MS)
    );
    for (const { peer } of fanOut.choose(stale, MAX_STALE_CONTACTED).slice(0, MAX_STALE_CONTACTED)) {
      this.requestExchange(peer);
    }
  }

  /**
   * Settles once this server may answer: at once, or, with an empty storage, after a catch-up round with the peers.
   * Never rejects.
   */
  bootstrap(): Promise<void> {
    return this.#bootstrapping ??= this.#bootstrap();
  }

  /**
   * Whether the storage was empty and the catch-up round of {@linkcode Scheduler.bootstrap} is not over. The first call
   * starts that round. Never rejects.
   */
  async isStarting(): Promise<boolean> {
    void this.bootstrap();
    return await this.#wasEmpty() && !this.#hasBootstrapped;
  }

  /**
   * Asks the peers for what they have, since a client knows a higher version. Concurrent calls share one round.
   * Settles when the round is done or the timeout has passed; never rejects.
   */
  catchUp(): Promise<void> {
    this.#catchingUp ??= this.#runCatchUp().finally(() => this.#catchingUp = undefined);
    return this.#catchingUp;
  }

  /** Starts an exchange with a peer now, or when its retry pause is over; one exchange at a time. */
  requestExchange(peer: Peer): void {
    const { clock } = this.#options;
    if (this.#end.signal.aborted || peer.currentExchange !== undefined || peer.isSelf) return;
    const pause = peer.nextAttempt - clock.elapsed();
    if (pause > 0) {
      if (peer.failures > MAX_RETRIES || this.#isClosing) return;
      peer.cancelRetry ??= clock.after(pause, () => {
        peer.cancelRetry = undefined;
        this.requestExchange(peer);
      });
      return;
    }
    peer.cancelRetry?.();
    peer.cancelRetry = undefined;
    peer.currentExchange = this.#exchange(peer).finally(() => {
      peer.currentExchange = undefined;
      if (peer.pending.hasUpdates) this.requestExchange(peer);
    });
  }

  /**
   * Stops. Pending updates are still sent to peers that answer in time, since they are kept in memory only.
   * Settles when nothing is under way.
   *
   * @param ms How long sending may take, in milliseconds.
   */
  async close(ms: number): Promise<void> {
    const { clock, peers, heartbeat, announcer } = this.#options;
    heartbeat.stop();
    this.#isClosing = true;
    announcer.flush();
    await settlesWithin(clock, ms, this.#finishExchanges());
    this.#end.abort();
    for (const peer of peers.others) {
      peer.cancelRetry?.();
      peer.cancelRetry = undefined;
    }
    const exchanges = peers.others.map(({ currentExchange }) => currentExchange);
    await Promise.all([this.#bootstrapping, this.#catchingUp, ...exchanges]);
  }

  async #finishExchanges(): Promise<void> {
    const { peers } = this.#options;
    const busy = () => peers.others.filter((peer) => peer.currentExchange !== undefined);
    while (busy().length > 0) await Promise.all(busy().map(({ currentExchange }) => currentExchange));
  }

  async #bootstrap(): Promise<void> {
    if (await this.#wasEmpty()) await this.catchUp();
    this.#hasBootstrapped = true;
  }

  /** Whether the storage was empty at the first call and there are peers to fill it. Never rejects. */
  #wasEmpty(): Promise<boolean> {
    return this.#emptiness ??= this.#isEmpty();
  }

  async #isEmpty(): Promise<boolean> {
    const { antiEntropy, peers } = this.#options;
    if (antiEntropy === undefined || peers.others.length === 0) return false;
    try {
      const { state } = await antiEntropy.compose(undefined, 0);
      return state.maxVersion === 0;
    } catch {
      // Reported already. The client's own request will fail if the storage still does.
      return false;
    }
  }

  async #runCatchUp(): Promise<void> {
    const { clock, peers, replica, fanOut, timeout } = this.#options;
    const now = clock.elapsed();
    const available = peers.others.filter((peer) =>
      peer.nextAttempt <= now && !replica.isShared(peer.replicaId)
    );
    if (available.length === 0 || this.#end.signal.aborted) return;
    const chosen = fanOut.choose(available).map(({ peer }) => peer);
    for (const peer of chosen) this.requestExchange(peer);
    let cancel = () => {};
    const deadline = new Promise<void>((resolve) => cancel = clock.after(timeout, resolve));
    await Promise.race([deadline, Promise.all(chosen.map(({ currentExchange }) => currentExchange))]);
    cancel();
  }

  async #exchange(peer: Peer): Promise<void> {
    const { clock, report, exchanges, fanOut } = this.#options;
    const pending = peer.pending;
    peer.pending = new PendingUpdates();
    this.#exchanges++;
    try {
      const isComplete = await exchanges.run(peer, pending, this.#end.signal);
      if (peer.failures > 0) report(new PeerError(peer.url, "unreachable", "well again", true));
      if (isComplete) {
        peer.recordAnswer(clock.elapsed());
        return;
      }
      peer.pending.add(pending.since ?? clock.elapsed());
      peer.recordIncomplete(clock.elapsed(), clock.random());
      fanOut.sendForwards(pending);
    } catch (error) {
      if (this.#end.signal.aborted) return;
      if (pending.hasUpdates) peer.pending.add(pending.since ?? clock.elapsed(), pending.invalidation);
      this.#handleFailure(peer, pending, error);
    }
  }

  #handleFailure(peer: Peer, pending: PendingUpdates, error: unknown): void {
    const { clock, report, fanOut } = this.#options;
    if (!(error instanceof PeerError)) {
      // Our own storage failed, which is no fault of the peer.
      peer.pending.addForwards(pending.forwards);
      peer.pauseUntil(clock.elapsed() + STORAGE_PAUSE_MS);
      return;
    }
    if (error.cause instanceof OwnAddressError) {
      peer.isSelf = true;
      peer.pauseUntil(clock.elapsed() + OWN_ADDRESS_PAUSE_MS);
      fanOut.reroute(peer, pending);
      return;
    }
    if (statusOf(error) === 413 && peer.shrinkPages()) {
      // The peer has not read the forwards.
      peer.pending.addForwards(pending.forwards);
      return;
    }
    this.#failures++;
    peer.recordFailure(clock.elapsed(), clock.random());
    if (peer.failures === 1) report(error);
    fanOut.reroute(peer, pending);
  }
}
