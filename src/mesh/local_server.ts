/**
 * This server as its peers see it: its id, its incarnation, and the fields that every message has.
 *
 * @module
 */
import { randomName } from "../store/contract.ts";
import type { ComposedPage } from "./anti_entropy.ts";
import type { LocalReplica } from "./local_replica.ts";
import type { Message } from "./message.ts";
import type { Peers } from "./peers.ts";

/** What a local server needs. */
export interface LocalServerOptions {
  readonly serverId: () => string;
  readonly replica: LocalReplica;
  readonly peers: Peers;
  /** Whether messages carry the URLs of peers. */
  readonly discovery: boolean;
}

/** The identity of this server process. */
export class LocalServer {
  readonly #options: LocalServerOptions;
  #incarnation: string | undefined;

  /** @param options The server's id, its replica and its peers. */
  constructor(options: LocalServerOptions) {
    this.#options = options;
  }

  /** The `serverId`. */
  get id(): string {
    return this.#options.serverId();
  }

  /** A random name of this process. Drawn at the first use: a Worker may not draw randomness while it starts. */
  get incarnation(): string {
    return this.#incarnation ??= randomName(16);
  }

  /**
   * Composes a message.
   *
   * @param page What the receiver lacks; left out for a message without state.
   * @param rest The other fields of the message.
   */
  async compose(page: ComposedPage | undefined, rest: Partial<Message>): Promise<Message> {
    const { replica, peers, discovery } = this.#options;
    const { epoch, replicaId } = page?.state ?? await replica.identify();
    return {
      id: this.id,
      incarnation: this.incarnation,
      replicaId,
      epoch,
      peers: peers.states,
      ...(discovery ? { urls: this.#listURLs() } : {}),
      ...(page ? { vector: page.state.vector, collected: page.state.collected } : {}),
      ...(page?.state.forgotten ? { forgotten: page.state.forgotten } : {}),
      ...(page?.delta ? { delta: page.delta } : {}),
      ...rest,
    };
  }

  /** With discovery: adds the peers whose URLs a proven server has sent. */
  learnPeers({ urls }: Message): void {
    const { peers, discovery } = this.#options;
    if (!discovery || urls === undefined) return;
    for (const [id, url] of urls) {
      if (id === this.id || peers.findById(id) !== undefined) continue;
      if (isHTTPURL(url)) peers.learn(url);
    }
  }

  /** Id → URL of the peers that are alive. */
  #listURLs(): Map<string, string> {
    const urls = new Map<string, string>();
    for (const { id, state, url } of this.#options.peers.others) {
      if (id !== undefined && state === "alive") urls.set(id, url);
    }
    return urls;
  }
}

function isHTTPURL(url: string): boolean {
  try {
    return /^https?:$/.test(new URL(url).protocol);
  } catch {
    return false;
  }
}
