/**
 * The loop: when this server talks to which peer, what is said, and what comes of it.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { PeerError, type RealityError } from "../errors.ts";
import {
  coversVector,
  isMeshStorage,
  joinVectors,
  type MeshStorage,
  randomName,
  type RealityStorage,
  type StorageIdentity,
  type VersionVector,
} from "../store/contract.ts";
import { redactURL } from "../redact.ts";
import type { MeshPeerStats, MeshStats, PeerState } from "../types.ts";
import { ClaimedVersions } from "./claimed_versions.ts";
import { FullCopies } from "./full_copies.ts";
import { type Invalidation, MAX_PAGE_NODES, type Message, readMessage, writeMessage } from "./message.ts";
import { RedisUpdates } from "./redis_updates.ts";
import {
  AntiEntropy,
  type AntiEntropyDeps,
  type ComposedPage,
  type MergedPage,
  type PartialDelta,
  UNMERGED,
} from "./anti_entropy.ts";
import { chooseTargets, type Peer, Peers, PendingUpdates } from "./peers.ts";
import { OwnAddressError, type Proof } from "./proof.ts";
import type { Transport } from "./transport.ts";
import { statusOf } from "./http_client.ts";

/** A peer that was not heard for so long is asked when a client asks us, in milliseconds. */
const IDLE = 5_000;

/** How often clients' requests make us look for such peers, and how many are then asked. */
const CHECK_PAUSE = 1_000;
const MAX_CHECKED = 2;

/** So often a peer that does not answer is tried again by itself; from then on when there is traffic. */
const MAX_RETRIES = 8;

/** The pause after our own storage failed, in milliseconds. */
const STORAGE_PAUSE = 1_000;

/** So often one exchange begins to push anew because the peer lacked more than was thought. */
const MAX_PUSHES = 3;

/** The most characters of nodes in one page: well below what a peer's body limit is. */
const MAX_PAGE_TEXT = 200_000;

/** The most servers learnt from others. */
const MAX_LEARNT = 1_000;

/** The most deltas that come in by parts at once; of more, the oldest has to begin anew. */
const MAX_INCOMING = 32;

/** How long a URL that led back to this server is left alone, in milliseconds. */
const OWN_ADDRESS_PAUSE = 60_000;

/** How a mesh is made; checked by `options.ts`. */
export interface MeshConfig {
  /** Where the peers are asked. */
  readonly peers: readonly string[];
  /** How often to talk to a few peers without being asked, in milliseconds; 0 for never. */
  readonly interval: number;
  /** How many peers are told of news directly. */
  readonly fanout: number;
  /** How long one request to a peer may take, and how long a client waits for a catch-up, in milliseconds. */
  readonly timeout: number;
  /** Whether peers may tell where other servers are. */
  readonly discovery: boolean;
}

/** What the mesh asks of the other rooms. */
export interface MeshDeps extends Omit<AntiEntropyDeps, "storage"> {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  readonly serverId: () => string;
  /** Made when it is first needed: a Worker may not draw randomness while it starts. */
  readonly line: () => { readonly proof: Pick<Proof, "verify">; readonly transport: Pick<Transport, "send"> };
  /** Has the storage asked what came, for those who wait, sooner than it would be. */
  pollNow(): void;
  /** Says that there is something to publish through Redis; left out where there is none. */
  readonly publish?: (() => void) | undefined;
  /** Whether what is published arrives, as far as is known, and is believed. */
  readonly isRelayed?: () => boolean;
  report(error: RealityError): void;
}

/** One server's part in the mesh. Nothing in it is ever waited for by who changes a node. */
export class Mesh {
  readonly #config: MeshConfig;
  readonly #deps: MeshDeps;
  readonly #peers: Peers;
  /** Which versions that clients claim to hold the peers are asked about. */
  readonly claims: ClaimedVersions;
  readonly #pages: AntiEntropy | undefined;
  /** What goes by way of Redis, and to the peers after it. */
  readonly news: RedisUpdates;
  readonly #end = new AbortController();
  /** Deltas that come in by parts, by the run of their senders. */
  readonly #incoming = new Map<string, PartialDelta>();
  readonly #copies: FullCopies;
  /** What peers have told of, as far as it was looked for here. */
  #heard: VersionVector = new Map();
  #run: string | undefined;
  #identity: StorageIdentity | undefined;
  #opening: Promise<void> | undefined;
  #catchingUp: Promise<void> | undefined;
  #lookVersion = 0;
  #nextCheck = 0;
  #isClosing = false;
  #cancelBeat: (() => void) | undefined;
  #exchanges = 0;
  #failures = 0;
  #answers = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #nodesTaken = 0;

  /**
   * @param config Who the peers are, and when to talk to them.
   * @param deps What it works with.
   */
  constructor(config: MeshConfig, deps: MeshDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#peers = new Peers(config.peers);
    this.#copies = new FullCopies(deps.clock);
    this.claims = new ClaimedVersions(deps.clock);
    const { storage } = deps;
    if (isMeshStorage(storage)) {
      storage.countByClock();
      this.#pages = new AntiEntropy({ ...deps, storage });
    }
    this.news = this.#createNews();
  }

  /** Id → state of all peers that have ever answered. */
  get states(): ReadonlyMap<string, PeerState> {
    return this.#peers.states;
  }

  /** Says that this server's own commit changed these keys. Returns at once. */
  note(keys: readonly string[], version: number): void {
    this.#lookVersion = Math.max(this.#lookVersion, version);
    this.#beat();
    this.news.tell({ keys, version });
  }

  /** Says that a client asks. Talks to peers that were not heard for a while; returns at once. */
  noteTraffic(): void {
    const now = this.#deps.clock.elapsed();
    if (now < this.#nextCheck || this.#isClosing) return;
    this.#nextCheck = now + CHECK_PAUSE;
    this.#beat();
    this.#peers.retryOwnAddresses(now);
    const stale = this.#peers.others.filter((peer) =>
      peer.currentExchange === undefined && peer.nextAttempt <= now &&
      (peer.pending.hasUpdates || now - (peer.lastExchange ?? -Infinity) >= IDLE)
    );
    for (
      const { peer } of chooseTargets(stale, MAX_CHECKED, () => this.#deps.clock.random()).slice(
        0,
        MAX_CHECKED,
      )
    ) {
      this.#try(peer);
    }
  }

  /**
   * Settles once this server may answer: at once, or, with an empty storage, when it has asked its peers for
   * what they have, or they took too long.
   */
  open(): Promise<void> {
    return this.#opening ??= this.#open();
  }

  /**
   * Asks the peers for what they have, since a client knows more than we do. All who ask meanwhile share one
   * such round. Settles when it is done or took too long; never rejects.
   */
  catchUp(): Promise<void> {
    this.#catchingUp ??= this.#askAll().finally(() => this.#catchingUp = undefined);
    return this.#catchingUp;
  }

  /**
   * Answers the `gossip` of a request.
   *
   * @returns The `gossip` of the answer.
   * @throws {RefusalError} When it does not prove who sent it, or is no message.
   * @throws {StorageError} When the storage fails.
   */
  async answer(gossip: unknown): Promise<unknown> {
    const opened = await this.#deps.line().proof.verify(gossip, this.#end.signal);
    if (opened.kind === "reply") return opened.gossip;
    const message = readMessage(opened.message);
    this.#answers++;
    this.#beat();
    // Where the proof tells who it is, the message's own word does not count.
    const peer = opened.url === undefined
      ? this.#peers.findById(message.id)
      : this.#peers.findByURL(opened.url);
    const answer = await this.#respond(message, peer);
    // It is there: what could not be handed over before may get through now.
    if (peer?.pending.hasUpdates) this.#try(peer);
    return await opened.createAnswer(writeMessage(answer));
  }

  /** What the peers are told and how they are. */
  getStats(): MeshStats {
    const now = this.#deps.clock.elapsed();
    const peers = this.#peers.others.map((peer): MeshPeerStats => ({
      id: peer.id ?? null,
      url: redactURL(peer.url),
      state: peer.state ?? "unknown",
      lag: peer.pending.since === undefined ? 0 : now - peer.pending.since,
      lastExchange: peer.lastExchange === undefined
        ? null
        : Math.round(this.#deps.clock.now() - (now - peer.lastExchange)),
    }));
    return {
      peers,
      exchanges: this.#exchanges,
      failures: this.#failures,
      answers: this.#answers,
      nodesTaken: this.#nodesTaken,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
    };
  }

  /**
   * Stops talking. What peers are owed is still handed over, where they answer in time: what lies in memory only
   * would else be gone. Settles when nothing is under way.
   *
   * @param ms How long handing over may take, in milliseconds.
   */
  async close(ms: number): Promise<void> {
    this.#cancelBeat?.();
    this.#isClosing = true;
    this.news.flush();
    await settlesWithin(this.#deps.clock, ms, this.#handOver());
    this.#end.abort();
    for (const peer of this.#peers.others) {
      peer.cancelRetry?.();
      peer.cancelRetry = undefined;
    }
    await Promise.all([
      this.#opening,
      this.#catchingUp,
      ...this.#peers.others.map(({ currentExchange }) => currentExchange),
    ]);
  }

  #createNews(): RedisUpdates {
    const { clock, publish, isRelayed } = this.#deps;
    return new RedisUpdates({
      clock,
      publish,
      isRelayed,
      peers: this.#peers,
      hasPeers: this.#config.peers.length > 0,
      wake: (keys) => this.#deps.wake(keys),
      report: (error) => this.#deps.report(error),
      isOwn: ({ incarnation }) => incarnation === this.#runName,
      lookVersion: () => this.#lookVersion,
      isShared: (replicaId) => this.#isShared(replicaId),
      identify: () => this.#identify(),
      give: (theirs) => this.#give(undefined, undefined, theirs),
      compose: (given, rest) => this.#compose(given, rest),
      take: (message) => this.#take(undefined, message, true),
      hearLook: (message, invalidation) => this.#hearLook(message, invalidation),
      tell: (invalidation) => this.#tell(this.#peers.others, invalidation),
      try: (peer) => this.#try(peer),
    });
  }

  async #handOver(): Promise<void> {
    const waiting = () => this.#peers.others.filter((peer) => peer.currentExchange !== undefined);
    while (waiting().length > 0) await Promise.all(waiting().map(({ currentExchange }) => currentExchange));
  }

  /** Chance may not be drawn while a Worker starts, so this waits for the first message. */
  get #runName(): string {
    return this.#run ??= randomName(16);
  }

  async #open(): Promise<void> {
    if (this.#pages === undefined || this.#peers.others.length === 0) return;
    try {
      const { state } = await this.#pages.compose(undefined, 0);
      if (state.maxVersion === 0) await this.catchUp();
    } catch {
      // Reported. The storage has the next word when the client's own question is put to it.
    }
  }

  async #askAll(): Promise<void> {
    const { clock } = this.#deps;
    const now = clock.elapsed();
    const able = this.#peers.others.filter((peer) =>
      peer.nextAttempt <= now && !this.#isShared(peer.replicaId)
    );
    if (able.length === 0 || this.#end.signal.aborted) return;
    const asked = chooseTargets(able, this.#config.fanout, () => clock.random()).map(({ peer }) => peer);
    for (const peer of asked) this.#try(peer);
    let cancel = () => {};
    const deadline = new Promise<void>((resolve) => cancel = clock.after(this.#config.timeout, resolve));
    await Promise.race([deadline, Promise.all(asked.map(({ currentExchange }) => currentExchange))]);
    cancel();
  }

  /** Talks to some peer at every interval, where one is set. */
  #beat(): void {
    const { interval, fanout } = this.#config;
    if (interval === 0 || this.#cancelBeat !== undefined || this.#isClosing) return;
    this.#cancelBeat = this.#deps.clock.after(interval, () => {
      this.#cancelBeat = undefined;
      const { clock } = this.#deps;
      for (const { peer } of chooseTargets(this.#peers.others, fanout, () => clock.random())) this.#try(peer);
      this.#beat();
    });
  }

  /** Owes these peers news, some of them by way of others. */
  #tell(peers: readonly Peer[], invalidation?: Invalidation): void {
    const { clock } = this.#deps;
    for (const { peer, forwards } of chooseTargets(peers, this.#config.fanout, () => clock.random())) {
      peer.pending.add(clock.elapsed(), invalidation, forwards);
      this.#try(peer);
    }
  }

  /** Talks to a peer now, or as soon as it may be tried; one exchange at a time. */
  #try(peer: Peer): void {
    const { clock } = this.#deps;
    if (this.#end.signal.aborted || peer.currentExchange !== undefined || peer.isSelf) return;
    const pause = peer.nextAttempt - clock.elapsed();
    if (pause > 0) {
      if (peer.failures > MAX_RETRIES || this.#isClosing) return;
      peer.cancelRetry ??= clock.after(pause, () => {
        peer.cancelRetry = undefined;
        this.#try(peer);
      });
      return;
    }
    peer.cancelRetry?.();
    peer.cancelRetry = undefined;
    peer.currentExchange = this.#exchange(peer).finally(() => {
      peer.currentExchange = undefined;
      if (peer.pending.hasUpdates) this.#try(peer);
    });
  }

  async #exchange(peer: Peer): Promise<void> {
    const { clock, report } = this.#deps;
    const pending = peer.pending;
    peer.pending = new PendingUpdates();
    this.#exchanges++;
    try {
      const isFinished = await this.#converse(peer, pending);
      if (peer.failures > 0) report(new PeerError(peer.url, "unreachable", "well again", true));
      if (isFinished) peer.recordAnswer(clock.elapsed());
      else {
        peer.pending.add(pending.since ?? clock.elapsed());
        peer.recordIncomplete(clock.elapsed(), clock.random());
        this.#tellRest(pending);
      }
    } catch (error) {
      if (this.#end.signal.aborted) return;
      if (pending.hasUpdates) peer.pending.add(pending.since ?? clock.elapsed(), pending.invalidation);
      if (!(error instanceof PeerError)) {
        // Our own storage failed, which is no fault of the peer's.
        for (const id of pending.forwards) peer.pending.forwards.add(id);
        peer.pauseUntil(clock.elapsed() + STORAGE_PAUSE);
        return;
      }
      if (error.cause instanceof OwnAddressError) {
        peer.isSelf = true;
        peer.pauseUntil(clock.elapsed() + OWN_ADDRESS_PAUSE);
        this.#tellAround(peer, pending);
        return;
      }
      if (statusOf(error) === 413 && peer.maxPageNodes > 1) {
        // It takes less at once than we thought, and has not read whom it should tell.
        peer.maxPageNodes = Math.ceil(peer.maxPageNodes / 4);
        for (const id of pending.forwards) peer.pending.forwards.add(id);
        return;
      }
      this.#failures++;
      peer.recordFailure(clock.elapsed(), clock.random());
      if (peer.failures === 1) report(error);
      this.#tellAround(peer, pending);
    }
  }

  /** A peer does not hear us: whom it should have told is told otherwise, and somebody else may reach it. */
  #tellAround(peer: Peer, pending: PendingUpdates): void {
    if (!pending.hasUpdates) return;
    const { clock } = this.#deps;
    this.#tellRest(pending);
    if (peer.failures > 1 || peer.id === undefined) return;
    const alive = this.#peers.others.filter((other) => other !== peer && other.state === "alive");
    const deputy = alive[Math.floor(clock.random() * alive.length)];
    if (deputy === undefined) return;
    deputy.pending.add(clock.elapsed(), pending.invalidation, [peer.id]);
    this.#try(deputy);
  }

  /** Tells, directly or by way of others, those whom a peer was not asked to tell in the end. */
  #tellRest(pending: PendingUpdates): void {
    const rest = [...pending.forwards].flatMap((id) => this.#peers.findById(id) ?? []);
    if (rest.length > 0) this.#tell(rest, pending.invalidation);
  }

  /**
   * One exchange: as many requests as it takes until both have what the other had.
   *
   * @param pending What the peer should hear. Whom it was asked to tell, and answered for, is taken out of it.
   * @returns Whether it came to that. What the peer is pushed time and again without taking it waits.
   */
  async #converse(peer: Peer, pending: PendingUpdates): Promise<boolean> {
    await this.#identify();
    // What the exchange before was in the midst of when it failed.
    let { incoming, outgoing } = peer.interrupted ?? {};
    peer.interrupted = undefined;
    let { invalidation } = pending;
    for (let turn = 0, pushes = 0;; turn++) {
      const isKnown = peer.replicaId !== undefined;
      const shared = isKnown && this.#isShared(peer.replicaId);
      let given = shared ? undefined : await this.#give(peer, peer.replicaId, peer.vector, outgoing);
      // A full copy is large, and somebody else may have given the peer one since it was heard: it is asked first.
      const isHeldBack = turn === 0 && outgoing === undefined && given?.delta?.full === true;
      if (given && isHeldBack) given = { state: given.state, delta: undefined };
      const isLast = given === undefined ||
        !isHeldBack && (peer.vector !== undefined || turn > 0) && (given.delta?.next ?? null) === null;
      const more = incoming && { after: incoming.next, full: incoming.full };
      const isPush = given?.delta !== undefined &&
        (given.delta.nodes.length > 0 || given.delta.next !== null);
      const looked = shared || !isKnown ? invalidation : undefined;
      if (turn > 0 && more === undefined && outgoing === undefined) {
        if (!isPush && !looked && pending.forwards.size === 0) return true;
        if (isPush && ++pushes > MAX_PUSHES) return false;
      }
      // Whom the peer should tell goes with the last page, since it tells them at once of what it has.
      const forwards = isLast ? [...pending.forwards] : [];
      const rest = {
        ...(looked ? { invalidation: looked } : {}),
        ...(forwards.length > 0 ? { forwards: forwards } : {}),
        ...(more ? { pageRequest: more } : {}),
      };
      this.#noteCopy(peer.replicaId, given);
      const message = await this.#compose(given, rest);
      peer.interrupted = { incoming, outgoing };
      const { replicaId: origin } = peer;
      const answer = await this.#send(peer, message);
      peer.interrupted = undefined;
      for (const id of forwards) pending.forwards.delete(id);
      if (looked) invalidation = undefined;
      // It has another storage now: of what that has, the pages before were no part.
      if (answer.replicaId !== origin) incoming = undefined;
      if (this.#isShared(answer.replicaId)) {
        // It needs no pages, but to look, and to tell others.
        incoming = outgoing = undefined;
        continue;
      }
      if (given === undefined) {
        // It had our storage, and has another one now.
        continue;
      }
      const taken = await this.#take(incoming, answer);
      incoming = taken.incoming;
      const { delta } = given;
      // Pages that were not taken, since their base was not covered, begin anew from what the peer says it has seen.
      const isTaken = delta !== undefined &&
        (delta.full || coversVector(answer.vector ?? new Map(), delta.base));
      outgoing = isTaken && delta.next !== null ? { after: delta.next, full: delta.full } : undefined;
      const isDone = coversVector(answer.vector ?? new Map(), given.state.vector);
      if (isDone && pending.forwards.size === 0 && incoming === undefined && outgoing === undefined) {
        return true;
      }
      if (incoming !== undefined || outgoing !== undefined) peer.recordProgress();
    }
  }

  async #send(peer: Peer, message: Message): Promise<Message> {
    const { line, serverId } = this.#deps;
    const reply = await line().transport.send(peer.url, writeMessage(message), this.#end.signal);
    this.#sentBytes += reply.sentBytes;
    this.#receivedBytes += reply.receivedBytes;
    let answer: Message;
    try {
      answer = readMessage(reply.message);
    } catch (cause) {
      throw new PeerError(peer.url, "reply", cause);
    }
    if (answer.incarnation === this.#runName) throw new PeerError(peer.url, "reply", new OwnAddressError());
    if (answer.id === serverId()) {
      throw new PeerError(peer.url, "reply", `it has this server's own serverId ("${answer.id}")`);
    }
    peer.id = answer.id;
    peer.replicaId = answer.replicaId;
    peer.vector = answer.vector;
    this.#learn(answer);
    return answer;
  }

  /** Says something with all that every message has. */
  async #compose(given: ComposedPage | undefined, rest: Partial<Message>): Promise<Message> {
    const { discovery } = this.#config;
    const { epoch, replicaId } = given?.state ?? await this.#identify();
    return {
      id: this.#deps.serverId(),
      incarnation: this.#runName,
      replicaId,
      epoch,
      peers: this.#peers.states,
      ...(discovery ? { urls: this.#listURLs() } : {}),
      ...(given ? { vector: given.state.vector, collected: given.state.collected } : {}),
      ...(given?.delta ? { delta: given.delta } : {}),
      ...rest,
    };
  }

  /** Id → URL of the peers that answer. */
  #listURLs(): Map<string, string> {
    const urls = new Map<string, string>();
    for (const { id, state, url } of this.#peers.others) {
      if (id !== undefined && state === "alive") urls.set(id, url);
    }
    return urls;
  }

  async #respond(message: Message, peer: Peer | undefined): Promise<Message> {
    if (peer !== undefined) {
      peer.recordRequest();
      peer.replicaId = message.replicaId;
      peer.vector = message.vector ?? peer.vector;
    }
    this.#learn(message);
    await this.#identify();
    const { invalidation } = message;
    if (this.#isShared(message.replicaId)) {
      if (invalidation !== undefined) this.#deps.wake(invalidation.keys);
      this.#hearLook(message, invalidation);
      return await this.#compose(undefined, {});
    }
    const { incoming } = await this.#take(this.#incoming.get(message.incarnation), message);
    this.#incoming.delete(message.incarnation);
    if (incoming !== undefined) this.#incoming.set(message.incarnation, incoming);
    for (const oldest of this.#incoming.keys()) {
      if (this.#incoming.size <= MAX_INCOMING) break;
      this.#incoming.delete(oldest);
    }
    const given = await this.#give(peer, message.replicaId, message.vector, message.pageRequest);
    this.#noteCopy(message.replicaId, given);
    return await this.#compose(given, {});
  }

  /** Passes "look again" on, if it is news: what was heard before stops here, whoever knows whom. */
  #hearLook(message: Message, invalidation: Invalidation | undefined): void {
    const isNews = invalidation !== undefined && invalidation.version > this.#lookVersion;
    if (isNews) this.#lookVersion = invalidation.version;
    this.#forward(message, isNews, invalidation);
  }

  /**
   * Takes in what a message brings.
   *
   * @param isForAll Whether all servers hear this message, as by Redis.
   */
  async #take(
    incoming: PartialDelta | undefined,
    message: Message,
    isForAll: boolean = false,
  ): Promise<MergedPage> {
    if (this.#pages === undefined || message.vector === undefined) {
      this.#forward(message, false);
      return UNMERGED;
    }
    const taken = await this.#pages.take(incoming, message);
    // Another server on this storage may have taken it in before, and does not tell us.
    if (!taken.isMerged && !coversVector(this.#heard, message.vector)) this.#deps.pollNow();
    this.#heard = joinVectors(this.#heard, message.vector);
    const { written: keys, made } = taken;
    this.#nodesTaken += keys.length;
    // Who is on Redis has published it there.
    if (keys.length > 0 && !this.news.hasHeard(message.id)) this.news.announce({ keys, version: 0 });
    // Who shares our storage is told as well: the sender may have learnt of it only after it had talked to them, and
    // then has nothing to give them any more.
    this.#forward(
      message,
      keys.length > 0,
      undefined,
      ({ id, replicaId: origin }) =>
        message.peers.get(id!) === "alive" && (isForAll || !this.#isShared(origin)),
    );
    if (made.length > 0) {
      const highest = made.reduce((version, meta) => Math.max(version, meta.version), 0);
      this.note(made.map(({ key }) => key), highest);
    }
    return taken;
  }

  /** Gives a peer a page that its limits, and ours, can bear. */
  async #give(
    peer: Peer | undefined,
    to: string | undefined,
    theirs: VersionVector | undefined,
    more?: Message["pageRequest"],
  ): Promise<ComposedPage | undefined> {
    if (this.#pages === undefined) return undefined;
    const mayCopy = (reason: string) => to === undefined || this.#copies.maySend(to, reason);
    for (let limit = peer?.maxPageNodes ?? MAX_PAGE_NODES;; limit = Math.ceil(limit / 4)) {
      const given = await this.#pages.compose(theirs, limit, more, mayCopy);
      // Its names may be others now: an operator has begun a new epoch.
      const { epoch, replicaId } = given.state;
      this.#identity = { epoch, replicaId };
      const text = given.delta?.nodes.reduce((sum, node) =>
        sum + node.key.length + node.hash.length + 120, 0) ?? 0;
      if (text <= MAX_PAGE_TEXT || limit === 1) return given;
    }
  }

  /** Remembers which full copy goes to a storage. */
  #noteCopy(to: string | undefined, given: ComposedPage | undefined): void {
    if (to === undefined || given?.delta?.full !== true) return;
    if (given.reason !== undefined) this.#copies.recordFirstPage(to, given.reason);
    if (given.delta.next === null) this.#copies.recordLastPage(to);
  }

  /**
   * Owes what a message brought to those who will not hear of it from its sender: whom it asks us to tell, and, of
   * what was news here, our peers that the sender does not reach.
   *
   * @param message What the sender said.
   * @param isNews Whether it brought something new.
   * @param invalidation What those on our storage should look at; left out for what the message brought.
   * @param isReached Whether the sender tells a peer of this itself.
   */
  #forward(
    message: Message,
    isNews: boolean,
    invalidation?: Invalidation,
    isReached: (peer: Peer) => boolean = ({ id }) => message.peers.get(id!) === "alive",
  ): void {
    const asked = new Set(message.forwards);
    const targets = this.#peers.others.filter((peer) => {
      const { id } = peer;
      return id === undefined ? isNews : asked.has(id) || isNews && id !== message.id && !isReached(peer);
    });
    if (targets.length === 0) return;
    const { delta } = message;
    const keys = delta?.next === null ? delta.nodes.map(({ key }) => key) : null;
    this.#tell(targets, invalidation ?? { keys, version: 0 });
  }

  /** With discovery: notes where a proven server reaches others. */
  #learn({ urls }: Message): void {
    if (!this.#config.discovery || urls === undefined) return;
    for (const [id, url] of urls) {
      if (id === this.#deps.serverId() || this.#peers.findById(id) !== undefined) continue;
      if (this.#peers.others.length < MAX_LEARNT && isPeerURL(url)) this.#peers.add(url);
    }
  }

  /** The storage's names; of one that has none, empty ones. */
  async #identify(): Promise<StorageIdentity> {
    const { storage, ask } = this.#deps;
    if (this.#pages === undefined) return this.#identity = { epoch: "", replicaId: "" };
    return this.#identity ??= await ask("getIdentity", () => (storage as MeshStorage).getIdentity());
  }

  /** Whether a server with that origin has our storage: then it needs no nodes, only to look again. */
  #isShared(replicaId: string | undefined): boolean {
    // Servers whose storage has no name can only be meant to share it.
    if (replicaId === "" || this.#pages === undefined) return replicaId !== undefined;
    return replicaId !== undefined && replicaId === this.#identity?.replicaId;
  }
}

function isPeerURL(url: string): boolean {
  try {
    return /^https?:$/.test(new URL(url).protocol);
  } catch {
    return false;
  }
}
