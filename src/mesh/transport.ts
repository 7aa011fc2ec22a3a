/**
 * Exchanges with other servers: a message there and its answer back, proven both ways, by a deadline.
 *
 * @module
 */
import { PeerError } from "../errors.ts";
import type { PeerSession, Post, Proof } from "./proof.ts";
import { orAbort, sendEnvelope, statusOf, type Tally, type WireOptions, within } from "./wire.ts";

/** How a transport is made. */
export interface TransportOptions extends WireOptions {
  readonly proof: Proof;
}

/** What an exchange brought. */
export interface Exchanged extends Readonly<Tally> {
  /** The proven answer. */
  readonly message: string;
}

/** Sends messages to other servers. */
export class Transport {
  readonly #options: TransportOptions;
  /** By URL. */
  readonly #passes = new Map<string, PeerSession>();
  /** By URL: a hello under way. It never rejects; that is for the one who said it. */
  readonly #greetings = new Map<string, Promise<void>>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Makes one exchange: says hello first where that is needed, and says it again, once, where it is needed after
   * all, since the other server has restarted. Always ends by the deadline.
   *
   * @param url The peer's whole URL.
   * @param message What to say.
   * @param signal Calls the exchange off.
   * @returns The answer, and the bytes of all that was sent and received for it.
   * @throws {PeerError} `UNREACHABLE`, `REFUSED` or `REPLY`, with the URL. `statusOf` tells a 413, after which less
   *   may be sent; a cause of `OwnAddressError`, that the URL leads back here.
   */
  async send(url: string, message: string, signal?: AbortSignal): Promise<Exchanged> {
    const tally: Tally = { sentBytes: 0, receivedBytes: 0 };
    const answer = await within(this.#options, signal, async (signal) => {
      const send: Post = (gossip) => sendEnvelope(this.#options, url, { gossip, signal, tally });
      const known = this.#passes.get(url);
      if (known !== undefined) {
        try {
          return await this.#exchange(url, known, { message, send });
        } catch (error) {
          if (statusOf(error) !== 401) throw error;
        }
      }
      return await this.#exchange(url, await this.#greet(url, send, signal), { message, send });
    });
    return { message: answer, ...tally };
  }

  async #exchange(
    url: string,
    pass: PeerSession,
    { message, send }: { message: string; send: Post },
  ): Promise<string> {
    try {
      return await pass.exchange(message, send);
    } catch (error) {
      if (isDoubtful(error) && this.#passes.get(url) === pass) this.#passes.delete(url);
      throw error;
    }
  }

  /** Says hello. Those who want the same at once wait for the first, as a second hello may undo its pass. */
  async #greet(url: string, send: Post, signal: AbortSignal): Promise<PeerSession> {
    for (let other = this.#greetings.get(url); other !== undefined; other = this.#greetings.get(url)) {
      await orAbort(other, signal).catch((cause) => {
        throw new PeerError(url, "unreachable", cause);
      });
    }
    const known = this.#passes.get(url);
    if (known !== undefined) return known;
    const greeting = this.#options.proof.authenticate(url, send)
      .then((pass) => {
        this.#passes.set(url, pass);
        return pass;
      })
      .finally(() => this.#greetings.delete(url));
    this.#greetings.set(url, greeting.then(() => {}, () => {}));
    return await greeting;
  }
}

/**
 * Whether an error makes it doubtful that the pass is still good. A peer that cannot be reached may well be the same
 * when it is back, and where only one direction works, a hello might not get through when a message does. 500 is
 * what a framework makes of a refusal that it does not know.
 */
function isDoubtful(error: unknown): boolean {
  const status = statusOf(error);
  if (status === 413) return false;
  if (status === 500) return true;
  return error instanceof PeerError && error.code !== "ERR_REALITY_PEER_UNREACHABLE";
}
