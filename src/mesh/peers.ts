/**
 * The other servers: where they are, how they are, and what they are owed. Pure: time and chance are handed in.
 *
 * @module
 */
import type { VersionVector } from "../store/contract.ts";
import type { PeerState } from "../types.ts";
import { type Invalidation, MAX_INVALIDATION_KEYS, MAX_PAGE_NODES, type Message } from "./message.ts";
import type { PartialDelta } from "./anti_entropy.ts";

/** A peer that failed so many times in a row is gone. */
const GONE_AFTER = 4;

/** The pause after a first failure; it doubles with each further one, up to the longest. In milliseconds. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 30_000;

/** News that a peer was not told yet. A set of keys, never a queue: however long it is away, no more than this. */
export class PendingUpdates {
  /** Whether there is anything that it should hear of. */
  hasUpdates = false;
  /** Servers that it is asked to tell. */
  forwards: Set<string> = new Set();
  /** Keys that changed, for a peer on the same storage; `null` when they are too many to name. */
  #keys: Set<string> | null = new Set();
  #version = 0;
  /** Since when, by `clock.elapsed()`. */
  since: number | undefined;

  /** Adds news. */
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

  /** What a server on the same storage should look at again; undefined for nothing. */
  get invalidation(): Invalidation | undefined {
    if (this.#keys?.size === 0) return undefined;
    return { keys: this.#keys && [...this.#keys], version: this.#version };
  }
}

/** One other server. */
export class Peer {
  /** Where it is asked. */
  readonly url: string;
  /** Its storage's origin, once it has answered; empty for a storage that has none. */
  replicaId: string | undefined;
  /** What its storage has taken in, as it said last. */
  vector: VersionVector | undefined;
  /** What it should be told. */
  pending: PendingUpdates = new PendingUpdates();
  /** The pages that an exchange was in the midst of when the peer did not answer. */
  interrupted:
    | { readonly incoming: PartialDelta | undefined; readonly outgoing: Message["pageRequest"] }
    | undefined;
  /** The exchange that is under way. */
  currentExchange: Promise<void> | undefined;
  /** Calls off the next try. */
  cancelRetry: (() => void) | undefined;
  /** How many nodes a page for it has at most: fewer, once it found one too large. */
  maxPageNodes: number = MAX_PAGE_NODES;
  #id: string | undefined;
  #isSelf = false;
  #failures = 0;
  /** How often in a row it lacked something at the end of an exchange. */
  #incompletes = 0;
  #isGone = false;
  #nextTry = 0;
  #lastExchange: number | undefined;

  readonly #onChange: () => void;

  /**
   * @param url Where it is asked.
   * @param onChange Called when its id or its state is another, or whether it is the server itself.
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

  /** Whether this turned out to be the server itself, when it was last asked. */
  get isSelf(): boolean {
    return this.#isSelf;
  }

  set isSelf(isSelf: boolean) {
    this.#change(() => this.#isSelf = isSelf);
  }

  /** How it is; undefined before it has answered or failed for the first time. Only its own answers make it alive. */
  get state(): PeerState | undefined {
    if (this.#isGone) return "gone";
    if (this.#failures > 0) return "suspect";
    return this.#lastExchange === undefined ? undefined : "alive";
  }

  /** How often it has failed since it last answered. */
  get failures(): number {
    return this.#failures;
  }

  /** When it last answered, by `clock.elapsed()`. */
  get lastExchange(): number | undefined {
    return this.#lastExchange;
  }

  /** When it may be tried again, by `clock.elapsed()`. */
  get nextAttempt(): number {
    return this.#nextTry;
  }

  /** It answered. */
  recordAnswer(now: number): void {
    this.#change(() => {
      this.#failures = 0;
      this.#incompletes = 0;
      this.#isGone = false;
      this.#nextTry = 0;
      this.#lastExchange = now;
    });
  }

  /** It answered, and still lacks what it was pushed again and again: it rests as if it had failed. */
  recordIncomplete(now: number, random: number): void {
    const times = this.#incompletes + 1;
    this.recordAnswer(now);
    this.#incompletes = times;
    this.#nextTry = now + pauseAfter(times, random);
  }

  /** It answered in the midst of pages: should the next one fail, it is tried again as after a first failure. */
  recordProgress(): void {
    this.#change(() => this.#failures = Math.min(this.#failures, 1));
  }

  /** It did not answer as it should. */
  recordFailure(now: number, random: number): void {
    this.#change(() => {
      this.#failures++;
      this.#isGone ||= this.#failures >= GONE_AFTER;
    });
    this.#nextTry = now + pauseAfter(this.#failures, random);
  }

  /** It is left alone until then, for no fault of its own. */
  pauseUntil(until: number): void {
    this.#nextTry = until;
  }

  /** It asked us: it is worth a try now, though only its answer makes it alive. */
  recordRequest(): void {
    // Two that lack something of each other would otherwise never let each other rest.
    if (this.#incompletes === 0) this.#nextTry = 0;
  }

  #change(change: () => void): void {
    const { id, state, isSelf } = this;
    change();
    if (id !== this.id || state !== this.state || isSelf !== this.isSelf) this.#onChange();
  }
}

/** How long to leave a peer alone after so many failures in a row, in milliseconds. */
function pauseAfter(failures: number, random: number): number {
  const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(failures - 1, 20));
  return Math.ceil(pause * (0.5 + random));
}

/** All other servers that this one knows. */
export class Peers {
  readonly #all: Peer[] = [];
  // Asked for at every sync, and seldom another.
  #others: readonly Peer[] | undefined;
  #states: ReadonlyMap<string, PeerState> | undefined;

  /** @param urls Where they are. */
  constructor(urls: readonly string[]) {
    for (const url of urls) this.add(url);
  }

  /** Those that are not this server itself. */
  get others(): readonly Peer[] {
    return this.#others ??= this.#all.filter((peer) => !peer.isSelf);
  }

  /** Id → state of all that have ever answered. */
  get states(): ReadonlyMap<string, PeerState> {
    return this.#states ??= this.#listStates();
  }

  /** The one at this URL. */
  findByURL(url: string): Peer | undefined {
    return this.#all.find((peer) => peer.url === url);
  }

  /** Gives URLs that once led back to this server another try: addresses move. */
  retryOwnAddresses(now: number): void {
    for (const peer of this.#all) if (peer.isSelf && peer.nextAttempt <= now) peer.isSelf = false;
  }

  /** Adds one; harmless when it is there. */
  add(url: string): void {
    if (this.#all.some((peer) => peer.url === url)) return;
    this.#all.push(new Peer(url, () => this.#clearLists()));
    this.#clearLists();
  }

  /** The one with this id, if it has answered yet. */
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
