/**
 * News by way of Redis: what is published, what comes of what is heard, and who is asked where it does not do.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { type RealityError, RelayError } from "../errors.ts";
import type { Seen } from "../store/contract.ts";
import { type Look, type Message, readMessage, writeMessage } from "./message.ts";
import { type Given, type Taken, UNTAKEN } from "./anti_entropy.ts";
import { Owed, type Peer, type Peers } from "./peers.ts";

/** How far ahead Redis is of the peers, where it brings the nodes themselves, in milliseconds. */
const LEAD = 3;

/** The most servers whose ids are remembered as heard on Redis. */
const MAX_HEARD = 1_000;

/** What news ask of the mesh that they are part of. */
export interface NewsRooms {
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
  isShared(origin: string | undefined): boolean;
  /** Finds out the names of our storage, by which a message is told from ours, and written. */
  identify(): Promise<unknown>;
  /** What somebody lacks who has seen that much; undefined where nothing can be told. */
  give(theirs: Seen | undefined): Promise<Given | undefined>;
  compose(given: Given | undefined, rest: Partial<Message>): Promise<Message>;
  take(message: Message): Promise<Taken>;
  hearLook(message: Message, look: Look): void;
  /** Owes all peers news. */
  tell(look: Look): void;
  /** Talks to a peer as soon as it may be tried. */
  try(peer: Peer): void;
}

/** What one server says and hears on Redis. Without Redis it only tells the peers, at once. */
export class News {
  readonly #rooms: NewsRooms;
  /** What was not published yet, and what the one who heard all that was has seen. */
  #unpublished = new Owed();
  #published: Seen | undefined;
  /** What the peers are told as soon as Redis has had its moment. */
  #untold = new Owed();
  #cancelTelling: (() => void) | undefined;
  /** Whether servers with another storage listen. */
  #hasForeigners = false;
  /** Whether it was reported that there are such and that nobody can be asked for what they have. */
  #hasWarned = false;
  /** The ids that were heard. */
  readonly #heard = new Set<string>();

  /** @param rooms What it works with. */
  constructor(rooms: NewsRooms) {
    this.#rooms = rooms;
  }

  /** Says that this server changed these keys: it is published, and the peers are told. */
  tell(look: Look): void {
    this.announce(look);
    const { clock, isRelayed, tell } = this.#rooms;
    if (!isRelayed?.()) return tell(look);
    // Both ways at once would get in each other's way, and Redis is the shorter one. The peers are told all the same,
    // since a message through Redis may be lost.
    this.#untold.add(clock.elapsed(), look);
    this.#cancelTelling ??= clock.after(LEAD, () => this.flush());
  }

  /** Has something published. */
  announce(look: Look): void {
    if (this.#rooms.publish === undefined) return;
    this.#unpublished.add(this.#rooms.clock.elapsed(), look);
    this.#rooms.publish();
  }

  /** Tells the peers what they still wait for. */
  flush(): void {
    this.#cancelTelling?.();
    this.#cancelTelling = undefined;
    const { look } = this.#untold;
    this.#untold = new Owed();
    if (look !== undefined) this.#rooms.tell(look);
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
    const { clock, identify, give, compose, lookVersion } = this.#rooms;
    await identify();
    if (isMissed) {
      this.#unpublished.add(clock.elapsed(), { keys: null, version: lookVersion() });
      this.#published = undefined;
    }
    const given = isSigned && this.#hasForeigners ? await give(this.#published) : undefined;
    if (given !== undefined) this.#published = given.state.seen;
    const { look } = this.#unpublished;
    this.#unpublished = new Owed();
    const rest = look === undefined ? {} : { look };
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
    const { isOwn, isShared, identify, take, wake, hearLook, publish } = this.#rooms;
    if (isOwn(message)) return true;
    if (this.#heard.size < MAX_HEARD) this.#heard.add(message.id);
    await identify();
    const { look } = message;
    if (isShared(message.origin)) {
      if (look === undefined) return true;
      wake(look.keys);
      // Whose word is not proven moves nothing else, and may not keep later news from being passed on.
      if (isSigned) hearLook(message, look);
      return true;
    }
    if (!this.#hasForeigners) {
      // Nobody sends nodes before they know of someone who needs them.
      this.#hasForeigners = true;
      publish?.();
    }
    const { isTaken } = isSigned ? await take(message) : UNTAKEN;
    if (!isTaken) this.#ask(message);
    return true;
  }

  /** Says that messages may have been missed: whoever waits looks again, and peers are asked. */
  noteMissed(): void {
    const { wake, peers, isShared } = this.#rooms;
    wake(null);
    for (const peer of peers.others) if (!isShared(peer.origin)) this.#rooms.try(peer);
  }

  /** Asks the server that a message names for what it has. */
  #ask({ id }: Message): void {
    const { clock, peers, hasPeers, report } = this.#rooms;
    const peer = peers.find(id);
    if (peer !== undefined) {
      peer.owed.add(clock.elapsed());
      this.#rooms.try(peer);
    } else if (!hasPeers && !this.#hasWarned) {
      this.#hasWarned = true;
      report(
        new RelayError(`${JSON.stringify(id)} has another storage: such servers need meshPeers beside Redis`),
      );
    }
  }
}
