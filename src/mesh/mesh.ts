/**
 * The mesh: one server's connection to its peers, wired from its parts.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { RealityError } from "../errors.ts";
import { redactURL } from "../redact.ts";
import { type Dot, includesDot, isMeshStorage, type RealityStorage } from "../store/contract.ts";
import type { MeshPeerStats, MeshStats, PeerState } from "../types.ts";
import { Announcer, type MeshRelay } from "./announcer.ts";
import { AntiEntropy, type AntiEntropyDeps } from "./anti_entropy.ts";
import { ClaimedVersions } from "./claimed_versions.ts";
import { Exchanges } from "./exchange.ts";
import { FanOut } from "./fan_out.ts";
import { FullCopies } from "./full_copies.ts";
import { Heartbeat } from "./heartbeat.ts";
import { LocalReplica } from "./local_replica.ts";
import { LocalServer } from "./local_server.ts";
import { NodeRewriter } from "./node_rewriter.ts";
import { OldReplicas } from "./old_replicas.ts";
import { Peers } from "./peers.ts";
import { RedisUpdates } from "./redis_updates.ts";
import { Replication } from "./replication.ts";
import { Responder } from "./responder.ts";
import { Scheduler } from "./scheduler.ts";
import type { PeerLink } from "./transport.ts";
import { UncoveredNodes } from "./uncovered_nodes.ts";

/** The configuration of a mesh; `options.ts` has checked it. */
export interface MeshConfig {
  /** The URLs of the peers. */
  readonly peers: readonly string[];
  /** The interval of the heartbeat, in milliseconds; 0 for none. */
  readonly interval: number;
  /** How many peers are told of a change directly. */
  readonly fanout: number;
  /** How long one request to a peer may take, and how long a client waits for a catch-up round, in milliseconds. */
  readonly timeout: number;
  /** Whether peers may tell the URLs of other servers. */
  readonly discovery: boolean;
}

/** What a mesh needs of the server. */
export interface MeshDeps extends Omit<AntiEntropyDeps, "storage"> {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  readonly serverId: () => string;
  /** Returns the proof and the transport. Created at the first use: a Worker may not draw randomness while it starts. */
  readonly getLink: () => PeerLink;
  /** Makes the change poller read the storage now, for requests that wait. */
  readonly pollNow: () => void;
  /** The connection to Redis; left out where there is none. */
  readonly relay?: MeshRelay | undefined;
  readonly report: (error: RealityError) => void;
}

/** One server's part of the mesh. */
export class Mesh {
  /** Which versions that clients claim to hold the peers are asked about. */
  readonly claims: ClaimedVersions;
  /** The messages through Redis. */
  readonly redisUpdates: RedisUpdates;
  readonly #clock: Clock;
  readonly #peers: Peers;
  readonly #announcer: Announcer;
  readonly #replication: Replication;
  readonly #exchanges: Exchanges;
  readonly #scheduler: Scheduler;
  readonly #responder: Responder;
  readonly #rewriter: NodeRewriter | undefined;

  /**
   * Wires the parts. Each one calls only those created before it; the only call back up is `requestExchange`.
   *
   * @param config The peers, and when to contact them.
   * @param deps The storage, the clock and the ways out.
   */
  constructor(config: MeshConfig, deps: MeshDeps) {
    const { storage, clock, serverId, getLink, relay, pollNow, wake, report } = deps;
    const { discovery, fanout, timeout } = config;
    const peers = this.#peers = new Peers(config.peers);
    const replica = new LocalReplica(deps);
    const server = new LocalServer({ serverId, replica, peers, discovery });
    const requestExchange: Scheduler["requestExchange"] = (peer) => this.#scheduler.requestExchange(peer);
    const fanOut = new FanOut({ clock, peers, fanout, requestExchange });
    const heartbeat = new Heartbeat(clock, config.interval, fanOut);
    const announcer = this.#announcer = new Announcer({ clock, fanOut, heartbeat, relay });
    let antiEntropy: AntiEntropy | undefined;
    let uncovered: UncoveredNodes | undefined;
    let oldReplicas: OldReplicas | undefined;
    if (isMeshStorage(storage)) {
      antiEntropy = new AntiEntropy({ ...deps, storage });
      const rewriter = this.#rewriter = new NodeRewriter({ ...deps, storage });
      uncovered = new UncoveredNodes(clock, rewriter);
      const isKnownToPeers = (dot: Dot) =>
        peers.others.every(({ state, vector }) =>
          state !== "alive" || vector === undefined || includesDot(vector, dot)
        );
      oldReplicas = new OldReplicas({ ...deps, storage, rewriter, isKnownToPeers });
    }
    const copies = new FullCopies(clock);
    const replication = this.#replication = new Replication({
      antiEntropy,
      uncovered,
      oldReplicas,
      replica,
      copies,
      announcer,
      fanOut,
      pollNow,
    });
    const exchanges = this.#exchanges = new Exchanges({ server, replica, replication, getLink });
    const scheduler = this.#scheduler = new Scheduler({
      clock,
      peers,
      replica,
      antiEntropy,
      exchanges,
      fanOut,
      heartbeat,
      announcer,
      timeout,
      report,
    });
    this.#responder = new Responder({
      server,
      peers,
      replica,
      replication,
      scheduler,
      heartbeat,
      getLink,
      wake,
    });
    this.redisUpdates = new RedisUpdates({
      clock,
      server,
      peers,
      replica,
      replication,
      announcer,
      scheduler,
      wake,
      report,
      hasPeers: config.peers.length > 0,
    });
    this.claims = new ClaimedVersions(clock);
    this.#clock = clock;
  }

  /** Id → state of all peers that have ever answered. */
  get states(): ReadonlyMap<string, PeerState> {
    return this.#peers.states;
  }

  /** Announces that this server's own commit changed these keys. Returns at once. */
  announce(keys: readonly string[], version: number): void {
    this.#announcer.announce({ keys, version });
  }

  /** Contacts peers without a recent exchange, since a client asks. Returns at once. */
  contactStalePeers(): void {
    this.#scheduler.contactStalePeers();
  }

  /** Settles once this server may answer: with an empty storage, after a catch-up round with the peers. */
  bootstrap(): Promise<void> {
    return this.#scheduler.bootstrap();
  }

  /** Whether clients wait for that round. The first call starts it. Never rejects. */
  isStarting(): Promise<boolean> {
    return this.#scheduler.isStarting();
  }

  /** Asks the peers for what they have, in one round for all callers. Settles by a deadline; never rejects. */
  catchUp(): Promise<void> {
    return this.#scheduler.catchUp();
  }

  /**
   * Answers the `gossip` of a request.
   *
   * @returns The `gossip` of the answer.
   * @throws {RefusalError} When it does not prove its sender, or is no message.
   * @throws {StorageError} When the storage fails.
   */
  answer(gossip: unknown): Promise<unknown> {
    return this.#responder.answer(gossip);
  }

  /** The state of each peer, and counts of the exchanges. */
  getStats(): MeshStats {
    const now = this.#clock.elapsed();
    const peers = this.#peers.others.map((peer): MeshPeerStats => ({
      id: peer.id ?? null,
      url: redactURL(peer.url),
      state: peer.state ?? "unknown",
      lag: peer.pending.since === undefined ? 0 : now - peer.pending.since,
      lastExchange: peer.lastExchange === undefined
        ? null
        : Math.round(this.#clock.now() - (now - peer.lastExchange)),
    }));
    return {
      peers,
      exchanges: this.#scheduler.exchanges,
      failures: this.#scheduler.failures,
      answers: this.#responder.answers,
      nodesTaken: this.#replication.nodesMerged,
      sentBytes: this.#exchanges.sentBytes,
      receivedBytes: this.#exchanges.receivedBytes,
    };
  }

  /**
   * Stops. Pending updates are still sent to peers that answer in time, since they are kept in memory only.
   * Settles when nothing is under way.
   *
   * @param ms How long sending may take, in milliseconds.
   */
  async close(ms: number): Promise<void> {
    await Promise.all([this.#scheduler.close(ms), this.#rewriter?.close()]);
  }
}
