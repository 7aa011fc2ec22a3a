/**
 * Sends messages to other servers: proven both ways, and with a deadline.
 *
 * @module
 */
import { PeerError } from "../errors.ts";
import type { PeerSession, Post, Proof } from "./proof.ts";
import {
  type ByteCounts,
  type HTTPClientOptions,
  orAbort,
  postEnvelope,
  statusOf,
  withDeadline,
} from "./http_client.ts";

/** What a transport needs. */
export interface TransportOptions extends HTTPClientOptions {
  readonly proof: Proof;
}

/** The answer to a message, and the bytes of the exchange. */
export interface TransportReply extends Readonly<ByteCounts> {
  /** The proven answer. */
  readonly message: string;
}

/** How this server proves itself, and how it sends messages. */
export interface PeerLink {
  readonly proof: Pick<Proof, "verify">;
  readonly transport: Pick<Transport, "send">;
}

/** Sends messages to other servers. */
export class Transport {
  readonly #options: TransportOptions;
  /** By URL. */
  readonly #sessions = new Map<string, PeerSession>();
  /** By URL: the hello in progress. Never rejects: its sender handles the failure. */
  readonly #authentications = new Map<string, Promise<void>>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Sends a message. Sends a hello first if there is no session, and once more if the other server refuses the
   * session, as after a restart. Always settles by the deadline.
   *
   * @param url The peer's whole URL.
   * @param message The message.
   * @param signal Aborts the exchange.
   * @returns The answer, and the bytes of all that was sent and received for it.
   * @throws {PeerError} `UNREACHABLE`, `REFUSED` or `REPLY`, with the URL. `statusOf` tells a 413, after which less
   *   may be sent; a cause of `OwnAddressError`, that the URL leads back here.
   */
  async send(url: string, message: string, signal?: AbortSignal): Promise<TransportReply> {
    const byteCounts: ByteCounts = { sentBytes: 0, receivedBytes: 0 };
    const answer = await withDeadline(this.#options, signal, async (signal) => {
      const send: Post = (gossip) => postEnvelope(this.#options, url, { gossip, signal, byteCounts });
      const known = this.#sessions.get(url);
      if (known !== undefined) {
        try {
          return await this.#exchange(url, known, { message, send });
        } catch (error) {
          if (statusOf(error) !== 401) throw error;
        }
      }
      return await this.#exchange(url, await this.#authenticate(url, send, signal), { message, send });
    });
    return { message: answer, ...byteCounts };
  }

  async #exchange(
    url: string,
    session: PeerSession,
    { message, send }: { message: string; send: Post },
  ): Promise<string> {
    try {
      return await session.exchange(message, send);
    } catch (error) {
      if (mayHaveExpired(error) && this.#sessions.get(url) === session) this.#sessions.delete(url);
      throw error;
    }
  }

  /** Sends a hello. Concurrent calls wait for the first, since a second hello may end the session of the first. */
  async #authenticate(url: string, send: Post, signal: AbortSignal): Promise<PeerSession> {
    for (
      let other = this.#authentications.get(url);
      other !== undefined;
      other = this.#authentications.get(url)
    ) {
      await orAbort(other, signal).catch((cause) => {
        throw new PeerError(url, "unreachable", cause);
      });
    }
    const known = this.#sessions.get(url);
    if (known !== undefined) return known;
    const authentication = this.#options.proof.authenticate(url, send)
      .then((session) => {
        this.#sessions.set(url, session);
        return session;
      })
      .finally(() => this.#authentications.delete(url));
    this.#authentications.set(url, authentication.then(() => {}, () => {}));
    return await authentication;
  }
}

/**
 * Whether the session may have expired. A peer that is unreachable may be the same process when it is reachable again,
 * and where only one direction works, a hello may fail when a message succeeds. A framework may answer 500 for a
 * refusal that it does not know.
 */
function mayHaveExpired(error: unknown): boolean {
  const status = statusOf(error);
  if (status === 413) return false;
  if (status === 500) return true;
  return error instanceof PeerError && error.code !== "ERR_REALITY_PEER_UNREACHABLE";
}
