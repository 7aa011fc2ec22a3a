/**
 * The peers: their URLs, their states and their pending updates. Pure: time and randomness are parameters.
 *
 * @module
 */
import type { VersionVector } from "../store/contract.ts";
import type { PeerState } from "../types.ts";
import { type Invalidation, MAX_INVALIDATION_KEYS, MAX_PAGE_NODES, type Message } from "./message.ts";
import type { PartialDelta } from "./anti_entropy.ts";

/** A peer is gone after this many failures in a row. */
const GONE_AFTER = 4;

/** With so many peers, no more are learned from other servers. */
const MAX_LEARNED = 1_000;

/** The pause after a first failure; it doubles with each further one, up to the longest. In milliseconds. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 30_000;

/** Updates that a peer was not told of yet. A set of keys, never a queue: it is bounded however long the peer is away. */
export class PendingUpdates {
  /** Whether the peer is to be told of anything. */
  hasUpdates = false;
  /** The ids of the servers that the peer is asked to tell. */
  forwards: Set<string> = new Set();
  /** The keys that changed, for a peer on the same storage; `null` for all, when they are too many. */
  #keys: Set<string> | null = new Set();
  #version = 0;
  /** Since when updates are pending, by `clock.elapsed()`. */
  since: number | undefined;

  /** Adds an update. */
  add(now: number, invalidation?: Invalidation, forwards: readonly string[] = []): void {
    this.hasUpdates = true;
    this.since ??= now;
    for (const id of forwards) this.forwards.add(id);
    if (invalidation === undefined) return;
    this.#version = Math.max(this.#version, invalidation.version);
    for (const key of invalidation.keys ?? []) this.#keys?.add(key);
    if (invalidation.keys === null || (this.#keys?.size ?? 0) > MAX_INVALIDATION_KEYS) this.#keys = null;
  }

  /** Adds servers that the peer is asked to tell, without marking an update. */
  addForwards(ids: Iterable<string>): void {
    for (const id of ids) this.forwards.add(id);
  }

  /** The invalidation for a server on the same storage; undefined for none. */
  get invalidation(): Invalidation | undefined {
    if (this.#keys?.size === 0) return undefined;
    return { keys: this.#keys && [...this.#keys], version: this.#version };
  }
}

/** One other server. */
export class Peer {
  /** The URL of its sync route. */
  readonly url: string;
  /** The replica id of its storage, once it has answered; empty for a storage without one. */
  replicaId: string | undefined;
  /** What its storage had merged when it sent its last message. */
  vector: VersionVector | undefined;
  /** What it is to be told. */
  pending: PendingUpdates = new PendingUpdates();
  /** The positions of the pages at which an exchange failed. */
  interrupted:
    | { readonly incoming: PartialDelta | undefined; readonly outgoing: Message["pageRequest"] }
    | undefined;
  /** The exchange in progress. */
  currentExchange: Promise<void> | undefined;
  /** Cancels the scheduled retry. */
  cancelRetry: (() => void) | undefined;
  /** The maximum number of nodes in a page for it: lowered when it refuses a page as too large. */
  maxPageNodes: number = MAX_PAGE_NODES;
  /** How many nodes the last message to it had. */
  sentNodes = 0;
  #id: string | undefined;
  #isSelf = false;
  #failures = 0;
  /** How many exchanges in a row ended with the peer still lacking something. */
  #incompletes = 0;
  #isGone = false;
  #nextTry = 0;
  #lastExchange: number | undefined;

  readonly #onChange: () => void;

  /**
   * @param url The URL of its sync route.
   * @param onChange Called when its id, its state or `isSelf` changes.
   */
  constructor(url: string, onChange: () => void = () => {}) {
    this.url = url;
    this.#onChange = onChange;
  }

  /** Its `serverId`, once it has answered. */
  get id(): string | undefined {
    return this.#id;
  }

  set id(id: string | undefined) {
    this.#change(() => this.#id = id);
  }

  /** Whether the URL led back to this server at the last attempt. */
  get isSelf(): boolean {
    return this.#isSelf;
  }

  set isSelf(isSelf: boolean) {
    this.#change(() => this.#isSelf = isSelf);
  }

  /** Its state; undefined before its first answer or failure. Only its own answers make it alive. */
  get state(): PeerState | undefined {
    if (this.#isGone) return "gone";
    if (this.#failures > 0) return "suspect";
    return this.#lastExchange === undefined ? undefined : "alive";
  }

  /** How many times it has failed since its last answer. */
  get failures(): number {
    return this.#failures;
  }

  /** When it last answered, by `clock.elapsed()`. */
  get lastExchange(): number | undefined {
    return this.#lastExchange;
  }

  /** When the next exchange is allowed, by `clock.elapsed()`. */
  get nextAttempt(): number {
    return this.#nextTry;
  }

  /**
   * Lowers the size of its pages, because it refused the last message as too large. A page may have had far fewer nodes
   * than was allowed.
   *
   * @returns Whether a smaller page is possible.
   */
  shrinkPages(): boolean {
    const nodes = Math.min(this.maxPageNodes, this.sentNodes || Infinity);
    if (nodes <= 1) return false;
    this.maxPageNodes = Math.ceil(nodes / 4);
    return true;
  }

  /** Records a complete exchange. */
  recordAnswer(now: number): void {
    this.#change(() => {
      this.#failures = 0;
      this.#incompletes = 0;
      this.#isGone = false;
      this.#nextTry = 0;
      this.#lastExchange = now;
    });
  }

  /** Records an exchange after which the peer still lacks what it was pushed: it is paused as after a failure. */
  recordIncomplete(now: number, random: number): void {
    const times = this.#incompletes + 1;
    this.recordAnswer(now);
    this.#incompletes = times;
    this.#nextTry = now + pauseAfter(times, random);
  }

  /** Records an answer between pages: if the next page fails, the pause is that of a first failure. */
  recordProgress(): void {
    this.#change(() => this.#failures = Math.min(this.#failures, 1));
  }

  /** Records a failed exchange. */
  recordFailure(now: number, random: number): void {
    this.#change(() => {
      this.#failures++;
      this.#isGone ||= this.#failures >= GONE_AFTER;
    });
    this.#nextTry = now + pauseAfter(this.#failures, random);
  }

  /** Pauses exchanges until then, without a failure of the peer. */
  pauseUntil(until: number): void {
    this.#nextTry = until;
  }

  /** Records a request of the peer: an exchange may succeed now, though only its answer makes it alive. */
  recordRequest(): void {
    // Otherwise two servers that lack something of each other would never pause.
    if (this.#incompletes === 0) this.#nextTry = 0;
  }

  #change(change: () => void): void {
    const { id, state, isSelf } = this;
    change();
    if (id !== this.id || state !== this.state || isSelf !== this.isSelf) this.#onChange();
  }
}

/** The pause after this many failures in a row, in milliseconds. */
function pauseAfter(failures: number, random: number): number {
  const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(failures - 1, 20));
  return Math.ceil(pause * (0.5 + random));
}

/** All other servers that this one knows. */
export class Peers {
  readonly #all: Peer[] = [];
  /** Those that other servers have told of. */
  readonly #learned = new Set<Peer>();
  // Cached: read at every sync, and rarely changed.
  #others: readonly Peer[] | undefined;
  #states: ReadonlyMap<string, PeerState> | undefined;

  /** @param urls The URLs of their sync routes. */
  constructor(urls: readonly string[]) {
    for (const url of urls) this.add(url);
  }

  /** All peers that are not this server itself. */
  get others(): readonly Peer[] {
    return this.#others ??= this.#all.filter((peer) => !peer.isSelf);
  }

  /** Id → state of all peers that have ever answered. */
  get states(): ReadonlyMap<string, PeerState> {
    return this.#states ??= this.#listStates();
  }

  /** The peer at this URL. */
  findByURL(url: string): Peer | undefined {
    return this.#all.find((peer) => peer.url === url);
  }

  /** Allows URLs that led back to this server again, after a pause: addresses move. */
  retryOwnAddresses(now: number): void {
    for (const peer of this.#all) if (peer.isSelf && peer.nextAttempt <= now) peer.isSelf = false;
  }

  /** Adds a peer, unless it is known. */
  add(url: string): void {
    if (this.findByURL(url) !== undefined) return;
    this.#all.push(new Peer(url, () => this.#clearLists()));
    this.#clearLists();
  }

  /**
   * Adds a peer that another server has told of, unless it is known. Of 1,000 peers or more, the learned one that has been
   * gone for longest makes room for it: if it returns, a server that reaches it tells of it again.
   */
  learn(url: string): void {
    if (this.findByURL(url) !== undefined) return;
    if (this.others.length >= MAX_LEARNED) {
      const gone = [...this.#learned].filter((peer) =>
        peer.state === "gone" && peer.currentExchange === undefined
      );
      const [oldest] = gone.sort((a, b) => (a.lastExchange ?? -1) - (b.lastExchange ?? -1));
      if (oldest === undefined) return;
      oldest.cancelRetry?.();
      this.#learned.delete(oldest);
      this.#all.splice(this.#all.indexOf(oldest), 1);
    }
    this.add(url);
    this.#learned.add(this.#all.at(-1)!);
  }

  /** The peer with this id, if it has answered before. */
  findById(id: string): Peer | undefined {
    return this.#all.find((peer) => peer.id === id && !peer.isSelf);
  }

  #clearLists(): void {
    this.#others = undefined;
    this.#states = undefined;
  }

  #listStates(): Map<string, PeerState> {
    const states = new Map<string, PeerState>();
    for (const { id, state } of this.others) {
      if (id !== undefined && state !== undefined) states.set(id, state);
    }
    return states;
  }
}
