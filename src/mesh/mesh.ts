/**
 * The loop: when this server talks to which peer, what is said, and what comes of it.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { PeerError, type RealityError } from "../errors.ts";
import {
  coversSeen,
  isMeshStorage,
  joinSeen,
  type MeshStorage,
  randomName,
  type RealityStorage,
  type Seen,
  type StorageIdentity,
} from "../store/contract.ts";
import { redactURL } from "../redact.ts";
import type { MeshPeerStats, MeshStats, PeerState } from "../types.ts";
import { Claims } from "./claimed_versions.ts";
import { Copies } from "./full_copies.ts";
import { type Look, MAX_PAGE_NODES, type Message, readMessage, writeMessage } from "./message.ts";
import { News } from "./redis_updates.ts";
import { type Given, type Incoming, type PageRooms, Pages, type Taken, UNTAKEN } from "./anti_entropy.ts";
import { Owed, type Peer, Peers, spread } from "./peers.ts";
import { OwnAddressError, type Proof } from "./proof.ts";
import type { Transport } from "./transport.ts";
import { statusOf } from "./wire.ts";

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
export interface MeshRooms extends Omit<PageRooms, "storage"> {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  readonly serverId: () => string;
  /** Made when it is first needed: a Worker may not draw randomness while it starts. */
  readonly line: () => { readonly proof: Pick<Proof, "open">; readonly transport: Pick<Transport, "send"> };
  /** Has the storage asked what came, for those who wait, sooner than it would be. */
  look(): void;
  /** Says that there is something to publish through Redis; left out where there is none. */
  readonly publish?: (() => void) | undefined;
  /** Whether what is published arrives, as far as is known, and is believed. */
  readonly isRelayed?: () => boolean;
  report(error: RealityError): void;
}

/** One server's part in the mesh. Nothing in it is ever waited for by who changes a node. */
export class Mesh {
  readonly #config: MeshConfig;
  readonly #rooms: MeshRooms;
  readonly #peers: Peers;
  /** Which versions that clients claim to hold the peers are asked about. */
  readonly claims: Claims;
  readonly #pages: Pages | undefined;
  /** What goes by way of Redis, and to the peers after it. */
  readonly news: News;
  readonly #end = new AbortController();
  /** Deltas that come in by parts, by the run of their senders. */
  readonly #incoming = new Map<string, Incoming>();
  readonly #copies: Copies;
  /** What peers have told of, as far as it was looked for here. */
  #heard: Seen = new Map();
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
   * @param rooms What it works with.
   */
  constructor(config: MeshConfig, rooms: MeshRooms) {
    this.#config = config;
    this.#rooms = rooms;
    this.#peers = new Peers(config.peers);
    this.#copies = new Copies(rooms.clock);
    this.claims = new Claims(rooms.clock);
    const { storage } = rooms;
    if (isMeshStorage(storage)) {
      storage.countByClock();
      this.#pages = new Pages({ ...rooms, storage });
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
    const now = this.#rooms.clock.elapsed();
    if (now < this.#nextCheck || this.#isClosing) return;
    this.#nextCheck = now + CHECK_PAUSE;
    this.#beat();
    this.#peers.reviseSelf(now);
    const stale = this.#peers.others.filter((peer) =>
      peer.busy === undefined && peer.nextTry <= now &&
      (peer.owed.news || now - (peer.lastExchange ?? -Infinity) >= IDLE)
    );
    for (
      const { peer } of spread(stale, MAX_CHECKED, () => this.#rooms.clock.random()).slice(0, MAX_CHECKED)
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
    const opened = await this.#rooms.line().proof.open(gossip, this.#end.signal);
    if (opened.kind === "reply") return opened.gossip;
    const message = readMessage(opened.message);
    this.#answers++;
    this.#beat();
    // Where the proof tells who it is, the message's own word does not count.
    const peer = opened.url === undefined ? this.#peers.find(message.id) : this.#peers.at(opened.url);
    const answer = await this.#respond(message, peer);
    // It is there: what could not be handed over before may get through now.
    if (peer?.owed.news) this.#try(peer);
    return await opened.seal(writeMessage(answer));
  }

  /** What the peers are told and how they are. */
  getStats(): MeshStats {
    const now = this.#rooms.clock.elapsed();
    const peers = this.#peers.others.map((peer): MeshPeerStats => ({
      id: peer.id ?? null,
      url: redactURL(peer.url),
      state: peer.state ?? "unknown",
      lag: peer.owed.since === undefined ? 0 : now - peer.owed.since,
      lastExchange: peer.lastExchange === undefined
        ? null
        : Math.round(this.#rooms.clock.now() - (now - peer.lastExchange)),
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
    await settlesWithin(this.#rooms.clock, ms, this.#handOver());
    this.#end.abort();
    for (const peer of this.#peers.others) {
      peer.cancelTry?.();
      peer.cancelTry = undefined;
    }
    await Promise.all([this.#opening, this.#catchingUp, ...this.#peers.others.map(({ busy }) => busy)]);
  }

  #createNews(): News {
    const { clock, publish, isRelayed } = this.#rooms;
    return new News({
      clock,
      publish,
      isRelayed,
      peers: this.#peers,
      hasPeers: this.#config.peers.length > 0,
      wake: (keys) => this.#rooms.wake(keys),
      report: (error) => this.#rooms.report(error),
      isOwn: ({ run }) => run === this.#runName,
      lookVersion: () => this.#lookVersion,
      isShared: (origin) => this.#isShared(origin),
      identify: () => this.#identify(),
      give: (theirs) => this.#give(undefined, undefined, theirs),
      compose: (given, rest) => this.#compose(given, rest),
      take: (message) => this.#take(undefined, message, true),
      hearLook: (message, look) => this.#hearLook(message, look),
      tell: (look) => this.#tell(this.#peers.others, look),
      try: (peer) => this.#try(peer),
    });
  }

  async #handOver(): Promise<void> {
    const waiting = () => this.#peers.others.filter((peer) => peer.busy !== undefined);
    while (waiting().length > 0) await Promise.all(waiting().map(({ busy }) => busy));
  }

  /** Chance may not be drawn while a Worker starts, so this waits for the first message. */
  get #runName(): string {
    return this.#run ??= randomName(16);
  }

  async #open(): Promise<void> {
    if (this.#pages === undefined || this.#peers.others.length === 0) return;
    try {
      const { state } = await this.#pages.give(undefined, 0);
      if (state.maxVersion === 0) await this.catchUp();
    } catch {
      // Reported. The storage has the next word when the client's own question is put to it.
    }
  }

  async #askAll(): Promise<void> {
    const { clock } = this.#rooms;
    const now = clock.elapsed();
    const able = this.#peers.others.filter((peer) => peer.nextTry <= now && !this.#isShared(peer.origin));
    if (able.length === 0 || this.#end.signal.aborted) return;
    const asked = spread(able, this.#config.fanout, () => clock.random()).map(({ peer }) => peer);
    for (const peer of asked) this.#try(peer);
    let cancel = () => {};
    const deadline = new Promise<void>((resolve) => cancel = clock.after(this.#config.timeout, resolve));
    await Promise.race([deadline, Promise.all(asked.map(({ busy }) => busy))]);
    cancel();
  }

  /** Talks to some peer at every interval, where one is set. */
  #beat(): void {
    const { interval, fanout } = this.#config;
    if (interval === 0 || this.#cancelBeat !== undefined || this.#isClosing) return;
    this.#cancelBeat = this.#rooms.clock.after(interval, () => {
      this.#cancelBeat = undefined;
      const { clock } = this.#rooms;
      for (const { peer } of spread(this.#peers.others, fanout, () => clock.random())) this.#try(peer);
      this.#beat();
    });
  }

  /** Owes these peers news, some of them by way of others. */
  #tell(peers: readonly Peer[], look?: Look): void {
    const { clock } = this.#rooms;
    for (const { peer, pass } of spread(peers, this.#config.fanout, () => clock.random())) {
      peer.owed.add(clock.elapsed(), look, pass);
      this.#try(peer);
    }
  }

  /** Talks to a peer now, or as soon as it may be tried; one exchange at a time. */
  #try(peer: Peer): void {
    const { clock } = this.#rooms;
    if (this.#end.signal.aborted || peer.busy !== undefined || peer.isSelf) return;
    const pause = peer.nextTry - clock.elapsed();
    if (pause > 0) {
      if (peer.failures > MAX_RETRIES || this.#isClosing) return;
      peer.cancelTry ??= clock.after(pause, () => {
        peer.cancelTry = undefined;
        this.#try(peer);
      });
      return;
    }
    peer.cancelTry?.();
    peer.cancelTry = undefined;
    peer.busy = this.#exchange(peer).finally(() => {
      peer.busy = undefined;
      if (peer.owed.news) this.#try(peer);
    });
  }

  async #exchange(peer: Peer): Promise<void> {
    const { clock, report } = this.#rooms;
    const owed = peer.owed;
    peer.owed = new Owed();
    this.#exchanges++;
    try {
      const isFinished = await this.#converse(peer, owed);
      if (peer.failures > 0) report(new PeerError(peer.url, "unreachable", "well again", true));
      if (isFinished) peer.noteAnswer(clock.elapsed());
      else {
        peer.owed.add(owed.since ?? clock.elapsed());
        peer.noteUnfinished(clock.elapsed(), clock.random());
        this.#tellRest(owed);
      }
    } catch (error) {
      if (this.#end.signal.aborted) return;
      if (owed.news) peer.owed.add(owed.since ?? clock.elapsed(), owed.look);
      if (!(error instanceof PeerError)) {
        // Our own storage failed, which is no fault of the peer's.
        for (const id of owed.pass) peer.owed.pass.add(id);
        peer.rest(clock.elapsed() + STORAGE_PAUSE);
        return;
      }
      if (error.cause instanceof OwnAddressError) {
        peer.isSelf = true;
        peer.rest(clock.elapsed() + OWN_ADDRESS_PAUSE);
        this.#tellAround(peer, owed);
        return;
      }
      if (statusOf(error) === 413 && peer.pageNodes > 1) {
        // It takes less at once than we thought, and has not read whom it should tell.
        peer.pageNodes = Math.ceil(peer.pageNodes / 4);
        for (const id of owed.pass) peer.owed.pass.add(id);
        return;
      }
      this.#failures++;
      peer.noteFailure(clock.elapsed(), clock.random());
      if (peer.failures === 1) report(error);
      this.#tellAround(peer, owed);
    }
  }

  /** A peer does not hear us: whom it should have told is told otherwise, and somebody else may reach it. */
  #tellAround(peer: Peer, owed: Owed): void {
    if (!owed.news) return;
    const { clock } = this.#rooms;
    this.#tellRest(owed);
    if (peer.failures > 1 || peer.id === undefined) return;
    const alive = this.#peers.others.filter((other) => other !== peer && other.state === "alive");
    const deputy = alive[Math.floor(clock.random() * alive.length)];
    if (deputy === undefined) return;
    deputy.owed.add(clock.elapsed(), owed.look, [peer.id]);
    this.#try(deputy);
  }

  /** Tells, directly or by way of others, those whom a peer was not asked to tell in the end. */
  #tellRest(owed: Owed): void {
    const rest = [...owed.pass].flatMap((id) => this.#peers.find(id) ?? []);
    if (rest.length > 0) this.#tell(rest, owed.look);
  }

  /**
   * One exchange: as many requests as it takes until both have what the other had.
   *
   * @param owed What the peer should hear. Whom it was asked to tell, and answered for, is taken out of it.
   * @returns Whether it came to that. What the peer is pushed time and again without taking it waits.
   */
  async #converse(peer: Peer, owed: Owed): Promise<boolean> {
    await this.#identify();
    // What the exchange before was in the midst of when it failed.
    let { incoming, outgoing } = peer.interrupted ?? {};
    peer.interrupted = undefined;
    let { look } = owed;
    for (let turn = 0, pushes = 0;; turn++) {
      const isKnown = peer.origin !== undefined;
      const shared = isKnown && this.#isShared(peer.origin);
      let given = shared ? undefined : await this.#give(peer, peer.origin, peer.seen, outgoing);
      // A full copy is large, and somebody else may have given the peer one since it was heard: it is asked first.
      const isHeldBack = turn === 0 && outgoing === undefined && given?.delta?.full === true;
      if (given && isHeldBack) given = { state: given.state, delta: undefined };
      const isLast = given === undefined ||
        !isHeldBack && (peer.seen !== undefined || turn > 0) && (given.delta?.next ?? null) === null;
      const more = incoming && { after: incoming.next, full: incoming.full };
      const isPush = given?.delta !== undefined &&
        (given.delta.nodes.length > 0 || given.delta.next !== null);
      const looked = shared || !isKnown ? look : undefined;
      if (turn > 0 && more === undefined && outgoing === undefined) {
        if (!isPush && !looked && owed.pass.size === 0) return true;
        if (isPush && ++pushes > MAX_PUSHES) return false;
      }
      // Whom the peer should tell goes with the last page, since it tells them at once of what it has.
      const pass = isLast ? [...owed.pass] : [];
      const rest = {
        ...(looked ? { look: looked } : {}),
        ...(pass.length > 0 ? { pass } : {}),
        ...(more ? { more } : {}),
      };
      this.#noteCopy(peer.origin, given);
      const message = await this.#compose(given, rest);
      peer.interrupted = { incoming, outgoing };
      const { origin } = peer;
      const answer = await this.#send(peer, message);
      peer.interrupted = undefined;
      for (const id of pass) owed.pass.delete(id);
      if (looked) look = undefined;
      // It has another storage now: of what that has, the pages before were no part.
      if (answer.origin !== origin) incoming = undefined;
      if (this.#isShared(answer.origin)) {
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
      const isTaken = delta !== undefined && (delta.full || coversSeen(answer.seen ?? new Map(), delta.base));
      outgoing = isTaken && delta.next !== null ? { after: delta.next, full: delta.full } : undefined;
      const isDone = coversSeen(answer.seen ?? new Map(), given.state.seen);
      if (isDone && owed.pass.size === 0 && incoming === undefined && outgoing === undefined) return true;
      if (incoming !== undefined || outgoing !== undefined) peer.noteProgress();
    }
  }

  async #send(peer: Peer, message: Message): Promise<Message> {
    const { line, serverId } = this.#rooms;
    const reply = await line().transport.send(peer.url, writeMessage(message), this.#end.signal);
    this.#sentBytes += reply.sentBytes;
    this.#receivedBytes += reply.receivedBytes;
    let answer: Message;
    try {
      answer = readMessage(reply.message);
    } catch (cause) {
      throw new PeerError(peer.url, "reply", cause);
    }
    if (answer.run === this.#runName) throw new PeerError(peer.url, "reply", new OwnAddressError());
    if (answer.id === serverId()) {
      throw new PeerError(peer.url, "reply", `it has this server's own serverId ("${answer.id}")`);
    }
    peer.id = answer.id;
    peer.origin = answer.origin;
    peer.seen = answer.seen;
    this.#learn(answer);
    return answer;
  }

  /** Says something with all that every message has. */
  async #compose(given: Given | undefined, rest: Partial<Message>): Promise<Message> {
    const { discovery } = this.#config;
    const { epoch, origin } = given?.state ?? await this.#identify();
    return {
      id: this.#rooms.serverId(),
      run: this.#runName,
      origin,
      epoch,
      peers: this.#peers.states,
      ...(discovery ? { urls: this.#listURLs() } : {}),
      ...(given ? { seen: given.state.seen, swept: given.state.swept } : {}),
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
      peer.noteHeard();
      peer.origin = message.origin;
      peer.seen = message.seen ?? peer.seen;
    }
    this.#learn(message);
    await this.#identify();
    const { look } = message;
    if (this.#isShared(message.origin)) {
      if (look !== undefined) this.#rooms.wake(look.keys);
      this.#hearLook(message, look);
      return await this.#compose(undefined, {});
    }
    const { incoming } = await this.#take(this.#incoming.get(message.run), message);
    this.#incoming.delete(message.run);
    if (incoming !== undefined) this.#incoming.set(message.run, incoming);
    for (const oldest of this.#incoming.keys()) {
      if (this.#incoming.size <= MAX_INCOMING) break;
      this.#incoming.delete(oldest);
    }
    const given = await this.#give(peer, message.origin, message.seen, message.more);
    this.#noteCopy(message.origin, given);
    return await this.#compose(given, {});
  }

  /** Passes "look again" on, if it is news: what was heard before stops here, whoever knows whom. */
  #hearLook(message: Message, look: Look | undefined): void {
    const isNews = look !== undefined && look.version > this.#lookVersion;
    if (isNews) this.#lookVersion = look.version;
    this.#forward(message, isNews, look);
  }

  /**
   * Takes in what a message brings.
   *
   * @param isForAll Whether all servers hear this message, as by Redis.
   */
  async #take(incoming: Incoming | undefined, message: Message, isForAll: boolean = false): Promise<Taken> {
    if (this.#pages === undefined || message.seen === undefined) {
      this.#forward(message, false);
      return UNTAKEN;
    }
    const taken = await this.#pages.take(incoming, message);
    // Another server on this storage may have taken it in before, and does not tell us.
    if (!taken.isTaken && !coversSeen(this.#heard, message.seen)) this.#rooms.look();
    this.#heard = joinSeen(this.#heard, message.seen);
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
      ({ id, origin }) => message.peers.get(id!) === "alive" && (isForAll || !this.#isShared(origin)),
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
    theirs: Seen | undefined,
    more?: Message["more"],
  ): Promise<Given | undefined> {
    if (this.#pages === undefined) return undefined;
    const mayCopy = (reason: string) => to === undefined || this.#copies.mayGive(to, reason);
    for (let limit = peer?.pageNodes ?? MAX_PAGE_NODES;; limit = Math.ceil(limit / 4)) {
      const given = await this.#pages.give(theirs, limit, more, mayCopy);
      // Its names may be others now: an operator has begun a new epoch.
      const { epoch, origin } = given.state;
      this.#identity = { epoch, origin };
      const text = given.delta?.nodes.reduce((sum, node) =>
        sum + node.key.length + node.hash.length + 120, 0) ?? 0;
      if (text <= MAX_PAGE_TEXT || limit === 1) return given;
    }
  }

  /** Remembers which full copy goes to a storage. */
  #noteCopy(to: string | undefined, given: Given | undefined): void {
    if (to === undefined || given?.delta?.full !== true) return;
    if (given.reason !== undefined) this.#copies.begin(to, given.reason);
    if (given.delta.next === null) this.#copies.finish(to);
  }

  /**
   * Owes what a message brought to those who will not hear of it from its sender: whom it asks us to tell, and, of
   * what was news here, our peers that the sender does not reach.
   *
   * @param message What the sender said.
   * @param isNews Whether it brought something new.
   * @param look What those on our storage should look at; left out for what the message brought.
   * @param isReached Whether the sender tells a peer of this itself.
   */
  #forward(
    message: Message,
    isNews: boolean,
    look?: Look,
    isReached: (peer: Peer) => boolean = ({ id }) => message.peers.get(id!) === "alive",
  ): void {
    const asked = new Set(message.pass);
    const targets = this.#peers.others.filter((peer) => {
      const { id } = peer;
      return id === undefined ? isNews : asked.has(id) || isNews && id !== message.id && !isReached(peer);
    });
    if (targets.length === 0) return;
    const { delta } = message;
    const keys = delta?.next === null ? delta.nodes.map(({ key }) => key) : null;
    this.#tell(targets, look ?? { keys, version: 0 });
  }

  /** With discovery: notes where a proven server reaches others. */
  #learn({ urls }: Message): void {
    if (!this.#config.discovery || urls === undefined) return;
    for (const [id, url] of urls) {
      if (id === this.#rooms.serverId() || this.#peers.find(id) !== undefined) continue;
      if (this.#peers.others.length < MAX_LEARNT && isPeerURL(url)) this.#peers.add(url);
    }
  }

  /** The storage's names; of one that has none, empty ones. */
  async #identify(): Promise<StorageIdentity> {
    const { storage, ask } = this.#rooms;
    if (this.#pages === undefined) return this.#identity = { epoch: "", origin: "" };
    return this.#identity ??= await ask("getIdentity", () => (storage as MeshStorage).getIdentity());
  }

  /** Whether a server with that origin has our storage: then it needs no nodes, only to look again. */
  #isShared(origin: string | undefined): boolean {
    // Servers whose storage has no name can only be meant to share it.
    if (origin === "" || this.#pages === undefined) return origin !== undefined;
    return origin !== undefined && origin === this.#identity?.origin;
  }
}

function isPeerURL(url: string): boolean {
  try {
    return /^https?:$/.test(new URL(url).protocol);
  } catch {
    return false;
  }
}
