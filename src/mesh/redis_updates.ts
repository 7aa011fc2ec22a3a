/**
 * News by way of Redis: what is published, what comes of what is heard, and who is asked where it does not do.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { type RealityError, RelayError } from "../errors.ts";
import type { VersionVector } from "../store/contract.ts";
import { type Invalidation, type Message, readMessage, writeMessage } from "./message.ts";
import { type ComposedPage, type MergedPage, UNMERGED } from "./anti_entropy.ts";
import { type Peer, type Peers, PendingUpdates } from "./peers.ts";

/** How far ahead Redis is of the peers, where it brings the nodes themselves, in milliseconds. */
const LEAD = 3;

/** The most servers whose ids are remembered as heard on Redis. */
const MAX_HEARD = 1_000;

/** What news ask of the mesh that they are part of. */
export interface RedisUpdatesDeps {
  readonly clock: Clock;
  readonly peers: Peers;
  /** Whether this server was given peers to ask. */
  readonly hasPeers: boolean;
  /** Says that there is something to publish; left out where there is no Redis. */
  readonly publish?: (() => void) | undefined;
  /** Whether what is published arrives, as far as is known, and is believed. */
  readonly isRelayed?: (() => boolean) | undefined;
  wake(keys: readonly string[] | null): void;
  report(error: RealityError): void;
  /** Whether a message is this server's own. */
  isOwn(message: Message): boolean;
  /** The highest version that was told or heard of. */
  lookVersion(): number;
  /** Whether a server with that origin has our storage. */
  isShared(replicaId: string | undefined): boolean;
  /** Finds out the names of our storage, by which a message is told from ours, and written. */
  identify(): Promise<unknown>;
  /** What somebody lacks who has seen that much; undefined where nothing can be told. */
  give(theirs: VersionVector | undefined): Promise<ComposedPage | undefined>;
  compose(given: ComposedPage | undefined, rest: Partial<Message>): Promise<Message>;
  take(message: Message): Promise<MergedPage>;
  hearLook(message: Message, invalidation: Invalidation): void;
  /** Owes all peers news. */
  tell(invalidation: Invalidation): void;
  /** Talks to a peer as soon as it may be tried. */
  try(peer: Peer): void;
}

/** What one server says and hears on Redis. Without Redis it only tells the peers, at once. */
export class RedisUpdates {
  readonly #deps: RedisUpdatesDeps;
  /** What was not published yet, and what the one who heard all that was has seen. */
  #unpublished = new PendingUpdates();
  #published: VersionVector | undefined;
  /** What the peers are told as soon as Redis has had its moment. */
  #untold = new PendingUpdates();
  #cancelTelling: (() => void) | undefined;
  /** Whether servers with another storage listen. */
  #hasForeigners = false;
  /** Whether it was reported that there are such and that nobody can be asked for what they have. */
  #hasWarned = false;
  /** The ids that were heard. */
  readonly #heard = new Set<string>();

  /** @param deps What it works with. */
  constructor(deps: RedisUpdatesDeps) {
    this.#deps = deps;
  }

  /** Says that this server changed these keys: it is published, and the peers are told. */
  tell(invalidation: Invalidation): void {
    this.announce(invalidation);
    const { clock, isRelayed, tell } = this.#deps;
    if (!isRelayed?.()) return tell(invalidation);
    // Both ways at once would get in each other's way, and Redis is the shorter one. The peers are told all the same,
    // since a message through Redis may be lost.
    this.#untold.add(clock.elapsed(), invalidation);
    this.#cancelTelling ??= clock.after(LEAD, () => this.flush());
  }

  /** Has something published. */
  announce(invalidation: Invalidation): void {
    if (this.#deps.publish === undefined) return;
    this.#unpublished.add(this.#deps.clock.elapsed(), invalidation);
    this.#deps.publish();
  }

  /** Tells the peers what they still wait for. */
  flush(): void {
    this.#cancelTelling?.();
    this.#cancelTelling = undefined;
    const { invalidation } = this.#untold;
    this.#untold = new PendingUpdates();
    if (invalidation !== undefined) this.#deps.tell(invalidation);
  }

  /** Whether that server publishes what it has by itself. */
  hasHeard(id: string): boolean {
    return this.#heard.has(id);
  }

  /**
   * What to publish: one message for all that happened since the last.
   *
   * @param isSigned Whether the message will be signed. Unsigned ones are believed by nobody, and so bring no nodes.
   * @param isMissed Whether messages before it may have been lost.
   * @throws {StorageError} When the storage fails.
   */
  async compose(isSigned: boolean, isMissed: boolean): Promise<string> {
    const { clock, identify, give, compose, lookVersion } = this.#deps;
    await identify();
    if (isMissed) {
      this.#unpublished.add(clock.elapsed(), { keys: null, version: lookVersion() });
      this.#published = undefined;
    }
    const given = isSigned && this.#hasForeigners ? await give(this.#published) : undefined;
    if (given !== undefined) this.#published = given.state.vector;
    const { invalidation } = this.#unpublished;
    this.#unpublished = new PendingUpdates();
    const rest = invalidation === undefined ? {} : { invalidation };
    // What fits into no single page is fetched by those who lack it.
    const isWhole = given?.delta?.next === null && !given.delta.full;
    const news = given && !isWhole ? { state: given.state, delta: undefined } : given;
    return writeMessage(await compose(news, rest));
  }

  /**
   * Takes in what came through Redis.
   *
   * @param text The message, out of its signature.
   * @param isSigned Whether it was signed. What was not is taken as a hint where to look, and for nothing else.
   * @returns Whether it was a message.
   */
  async receive(text: string, isSigned: boolean): Promise<boolean> {
    let message: Message;
    try {
      message = readMessage(text);
    } catch {
      return false;
    }
    const { isOwn, isShared, identify, take, wake, hearLook, publish } = this.#deps;
    if (isOwn(message)) return true;
    if (this.#heard.size < MAX_HEARD) this.#heard.add(message.id);
    await identify();
    const { invalidation } = message;
    if (isShared(message.replicaId)) {
      if (invalidation === undefined) return true;
      wake(invalidation.keys);
      // Whose word is not proven moves nothing else, and may not keep later news from being passed on.
      if (isSigned) hearLook(message, invalidation);
      return true;
    }
    if (!this.#hasForeigners) {
      // Nobody sends nodes before they know of someone who needs them.
      this.#hasForeigners = true;
      publish?.();
    }
    const { isMerged } = isSigned ? await take(message) : UNMERGED;
    if (!isMerged) this.#ask(message);
    return true;
  }

  /** Says that messages may have been missed: whoever waits looks again, and peers are asked. */
  noteMissed(): void {
    const { wake, peers, isShared } = this.#deps;
    wake(null);
    for (const peer of peers.others) if (!isShared(peer.replicaId)) this.#deps.try(peer);
  }

  /** Asks the server that a message names for what it has. */
  #ask({ id }: Message): void {
    const { clock, peers, hasPeers, report } = this.#deps;
    const peer = peers.findById(id);
    if (peer !== undefined) {
      peer.pending.add(clock.elapsed());
      this.#deps.try(peer);
    } else if (!hasPeers && !this.#hasWarned) {
      this.#hasWarned = true;
      report(
        new RelayError(`${JSON.stringify(id)} has another storage: such servers need meshPeers beside Redis`),
      );
    }
  }
}
