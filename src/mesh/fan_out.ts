/**
 * Which peers are told of a change directly, and which through others.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Invalidation, Message } from "./message.ts";
import type { Peer, Peers, PendingUpdates } from "./peers.ts";

/** A peer to tell directly, and the ids of the peers that it is asked to tell in turn. */
export interface FanOutTarget {
  readonly peer: Peer;
  readonly forwards: readonly string[];
}

/** What fan-out needs. */
export interface FanOutOptions {
  readonly clock: Clock;
  readonly peers: Peers;
  /** How many peers are told directly. */
  readonly fanout: number;
  /** Starts an exchange with a peer as soon as its retry pause allows: the scheduler's queue. */
  readonly requestExchange: (peer: Peer) => void;
}

/** Adds pending updates to peers, and requests the exchanges that deliver them. */
export class FanOut {
  readonly #options: FanOutOptions;

  /** @param options The peers, and how many of them are told directly. */
  constructor(options: FanOutOptions) {
    this.#options = options;
  }

  /** Chooses targets among these peers; `count` is the number told directly. */
  choose(peers: readonly Peer[], count: number = this.#options.fanout): FanOutTarget[] {
    return chooseTargets(peers, count, () => this.#options.clock.random());
  }

  /** Requests exchanges with all peers, or with a random few of many. */
  requestExchanges(): void {
    const { peers, requestExchange } = this.#options;
    for (const { peer } of this.choose(peers.others)) requestExchange(peer);
  }

  /** Sends an update to all peers. */
  sendToAll(invalidation: Invalidation): void {
    this.send(this.#options.peers.others, invalidation);
  }

  /** Sends an update to these peers, to some of them through others. */
  send(peers: readonly Peer[], invalidation?: Invalidation): void {
    const { clock, requestExchange } = this.#options;
    for (const { peer, forwards } of this.choose(peers)) {
      peer.pending.add(clock.elapsed(), invalidation, forwards);
      requestExchange(peer);
    }
  }

  /**
   * Forwards a received update: to the peers that the sender asks for, and, if it was new here, to the peers that
   * the sender does not reach.
   *
   * @param message The received message.
   * @param isNew Whether it brought something new.
   * @param invalidation The keys for servers on this storage; left out for the keys of the message's delta.
   * @param isReached Whether the sender reaches a peer by itself.
   */
  forward(
    message: Message,
    isNew: boolean,
    invalidation?: Invalidation,
    isReached: (peer: Peer) => boolean = ({ id }) => message.peers.get(id!) === "alive",
  ): void {
    const requested = new Set(message.forwards);
    const targets = this.#options.peers.others.filter((peer) => {
      const { id } = peer;
      return id === undefined ? isNew : requested.has(id) || isNew && id !== message.id && !isReached(peer);
    });
    if (targets.length === 0) return;
    const { delta } = message;
    const keys = delta?.next === null ? delta.nodes.map(({ key }) => key) : null;
    this.send(targets, invalidation ?? { keys, version: 0 });
  }

  /** The peer is unreachable: sends its forwards directly, and asks another peer to tell it. */
  reroute(peer: Peer, pending: PendingUpdates): void {
    if (!pending.hasUpdates) return;
    const { clock, peers, requestExchange } = this.#options;
    this.sendForwards(pending);
    if (peer.failures > 1 || peer.id === undefined) return;
    const alive = peers.others.filter((other) => other !== peer && other.state === "alive");
    const deputy = alive[Math.floor(clock.random() * alive.length)];
    if (deputy === undefined) return;
    deputy.pending.add(clock.elapsed(), pending.invalidation, [peer.id]);
    requestExchange(deputy);
  }

  /** Sends the forwards that a peer has not accepted. */
  sendForwards(pending: PendingUpdates): void {
    const peers = [...pending.forwards].flatMap((id) => this.#options.peers.findById(id) ?? []);
    if (peers.length > 0) this.send(peers, pending.invalidation);
  }
}

/**
 * Chooses which peers to tell directly so that all are told: every peer, or, of many, a few that each forward to a
 * share of the others. A share halves at every step, so the number of steps grows with the logarithm.
 *
 * @param peers The peers to tell.
 * @param fanout How many are told directly.
 * @param random Returns a number from 0 up to 1.
 */
export function chooseTargets(peers: readonly Peer[], fanout: number, random: () => number): FanOutTarget[] {
  if (peers.length <= fanout) return peers.map((peer) => ({ peer, forwards: [] }));
  // A peer that has never answered has no id by which another server could be asked to tell it.
  const unnamed = peers.filter(({ id }) => id === undefined);
  const named = shuffle(peers.filter(({ id }) => id !== undefined), random);
  // Prefer peers that are alive: a share is delayed while the peer that should forward it is away.
  named.sort((a, b) => Number(b.state === "alive") - Number(a.state === "alive"));
  const direct = named.slice(0, fanout);
  const rest = named.slice(fanout);
  const targets = direct.map((peer, i) => ({
    peer,
    forwards: rest.filter((_, j) => j % direct.length === i).map(({ id }) => id!),
  }));
  return [...targets, ...unnamed.map((peer) => ({ peer, forwards: [] }))];
}

function shuffle<T>(items: T[], random: () => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
