/**
 * The answering side of an exchange.
 *
 * @module
 */
import type { PartialDelta } from "./anti_entropy.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { LocalReplica } from "./local_replica.ts";
import type { LocalServer } from "./local_server.ts";
import { mergedBySender, type Message, readMessage, writeMessage } from "./message.ts";
import type { Peer, Peers } from "./peers.ts";
import type { Replication } from "./replication.ts";
import type { Scheduler } from "./scheduler.ts";
import type { PeerLink } from "./transport.ts";

/** The maximum number of partial deltas kept at once; of more, the oldest has to start anew. */
const MAX_PARTIAL_DELTAS = 32;

/** What a responder needs. */
export interface ResponderOptions {
  readonly server: LocalServer;
  readonly peers: Peers;
  readonly replica: LocalReplica;
  readonly replication: Replication;
  readonly scheduler: Scheduler;
  readonly heartbeat: Heartbeat;
  readonly getLink: () => PeerLink;
  /** Wakes the waiters of these keys; `null` for all. */
  readonly wake: (keys: readonly string[] | null) => void;
}

/** Answers the messages of other servers. */
export class Responder {
  readonly #options: ResponderOptions;
  /** Partial deltas, by the incarnation of their senders. */
  readonly #partialDeltas = new Map<string, PartialDelta>();
  #answers = 0;

  /** @param options The server and its storage. */
  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /** How many messages were answered. */
  get answers(): number {
    return this.#answers;
  }

  /**
   * Answers the `gossip` of a request.
   *
   * @returns The `gossip` of the answer.
   * @throws {RefusalError} When it does not prove its sender, or is no message.
   * @throws {StorageError} When the storage fails.
   */
  async answer(gossip: unknown): Promise<unknown> {
    const { getLink, peers, scheduler, heartbeat } = this.#options;
    const verified = await getLink().proof.verify(gossip, scheduler.signal);
    if (verified.kind === "reply") return verified.gossip;
    const message = readMessage(verified.message);
    this.#answers++;
    heartbeat.start();
    // Where the proof tells the sender's URL, the id in the message does not count.
    const peer = verified.url === undefined ? peers.findById(message.id) : peers.findByURL(verified.url);
    const answer = await this.#respond(message, peer);
    // The peer is reachable: retry what could not be sent before.
    if (peer?.pending.hasUpdates) scheduler.requestExchange(peer);
    return await verified.createAnswer(writeMessage(answer));
  }

  async #respond(message: Message, peer: Peer | undefined): Promise<Message> {
    const { server, replica, replication, wake } = this.#options;
    if (peer !== undefined) {
      peer.recordRequest();
      peer.replicaId = message.replicaId;
      peer.vector = mergedBySender(message) ?? peer.vector;
    }
    server.learnPeers(message);
    await replica.identify();
    const { invalidation } = message;
    if (replica.isShared(message.replicaId)) {
      if (invalidation !== undefined) wake(invalidation.keys);
      replication.forwardInvalidation(message, invalidation);
      return await server.compose(undefined, {});
    }
    const previous = this.#partialDeltas.get(message.incarnation);
    const { incoming } = await replication.merge(previous, message);
    this.#keepPartialDelta(message.incarnation, incoming);
    const page = await replication.compose(
      peer,
      message.replicaId,
      mergedBySender(message),
      message.pageRequest,
    );
    replication.recordCopy(message.replicaId, page);
    return await server.compose(page, {});
  }

  #keepPartialDelta(incarnation: string, incoming: PartialDelta | undefined): void {
    this.#partialDeltas.delete(incarnation);
    if (incoming !== undefined) this.#partialDeltas.set(incarnation, incoming);
    for (const oldest of this.#partialDeltas.keys()) {
      if (this.#partialDeltas.size <= MAX_PARTIAL_DELTAS) break;
      this.#partialDeltas.delete(oldest);
    }
  }
}
