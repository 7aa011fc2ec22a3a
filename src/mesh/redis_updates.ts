/**
 * Updates through Redis: what this server publishes, and what it does with the messages of others.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { type RealityError, RelayError } from "../errors.ts";
import type { VersionVector } from "../store/contract.ts";
import type { Announcer } from "./announcer.ts";
import { UNMERGED } from "./anti_entropy.ts";
import type { LocalReplica } from "./local_replica.ts";
import type { LocalServer } from "./local_server.ts";
import { type Message, readMessage, writeMessage } from "./message.ts";
import type { Peers } from "./peers.ts";
import type { Replication } from "./replication.ts";
import type { Scheduler } from "./scheduler.ts";

/** What updates through Redis need. */
export interface RedisUpdatesOptions {
  readonly clock: Clock;
  readonly server: LocalServer;
  readonly peers: Peers;
  /** Whether this server was configured with peers. */
  readonly hasPeers: boolean;
  readonly replica: LocalReplica;
  readonly replication: Replication;
  readonly announcer: Announcer;
  readonly scheduler: Scheduler;
  /** Wakes the waiters of these keys; `null` for all. */
  readonly wake: (keys: readonly string[] | null) => void;
  readonly report: (error: RealityError) => void;
}

/** Composes the messages that are published, and receives those of other servers. */
export class RedisUpdates {
  readonly #options: RedisUpdatesOptions;
  /** What a server has merged that received all published messages. */
  #published: VersionVector | undefined;
  /** Whether servers with another storage publish as well. */
  #hasOtherReplicas = false;
  /** Whether it was reported that there are such servers, and that no peers are configured. */
  #hasReported = false;

  /** @param options The server, its storage and its peers. */
  constructor(options: RedisUpdatesOptions) {
    this.#options = options;
  }

  /**
   * Composes one message for all that happened since the last.
   *
   * @param isSigned Whether the message will be signed. Other servers do not merge an unsigned one, so it has no nodes.
   * @param isMissed Whether earlier messages may have been lost.
   * @returns The message as text.
   * @throws {StorageError} When the storage fails.
   */
  async compose(isSigned: boolean, isMissed: boolean): Promise<string> {
    const { replica, replication, server, announcer } = this.#options;
    await replica.identify();
    if (isMissed) {
      announcer.markAllUnpublished();
      this.#published = undefined;
    }
    const page = isSigned && this.#hasOtherReplicas
      ? await replication.compose(undefined, undefined, this.#published)
      : undefined;
    if (page !== undefined) this.#published = page.state.vector;
    const invalidation = announcer.takeUnpublished();
    // What does not fit into one page is fetched by those who lack it.
    const isWhole = page?.delta?.next === null && !page.delta.full;
    const sent = page && !isWhole ? { state: page.state, delta: undefined } : page;
    return writeMessage(await server.compose(sent, invalidation === undefined ? {} : { invalidation }));
  }

  /**
   * Receives a message.
   *
   * @param text The message, without its signature.
   * @param isSigned Whether it was signed. An unsigned message is a hint whom to ask, and is used for nothing else.
   * @returns Whether it was a message.
   */
  async receive(text: string, isSigned: boolean): Promise<boolean> {
    let message: Message;
    try {
      message = readMessage(text);
    } catch {
      return false;
    }
    const { server, replica, replication, announcer, wake } = this.#options;
    if (message.incarnation === server.incarnation) return true;
    announcer.addPublisher(message.id);
    await replica.identify();
    const { invalidation } = message;
    if (replica.isShared(message.replicaId)) {
      if (invalidation === undefined) return true;
      wake(invalidation.keys);
      // An unsigned message moves nothing else, and must not keep later invalidations from being forwarded.
      if (isSigned) replication.forwardInvalidation(message, invalidation);
      return true;
    }
    if (!this.#hasOtherReplicas) {
      // Nodes are published only once a server that needs them is known.
      this.#hasOtherReplicas = true;
      announcer.requestPublication();
    }
    const { isMerged } = isSigned ? await replication.merge(undefined, message, true) : UNMERGED;
    if (!isMerged) this.#askSender(message);
    return true;
  }

  /** Handles messages that may have been missed: wakes all waiters, and asks the peers with other storages. */
  recoverMissed(): void {
    const { wake, peers, replica, scheduler } = this.#options;
    wake(null);
    for (const peer of peers.others) {
      if (!replica.isShared(peer.replicaId)) scheduler.requestExchange(peer);
    }
  }

  /** Asks the sender of a message for what it has. */
  #askSender({ id }: Message): void {
    const { clock, peers, hasPeers, scheduler, report } = this.#options;
    const peer = peers.findById(id);
    if (peer !== undefined) {
      peer.pending.add(clock.elapsed());
      scheduler.requestExchange(peer);
    } else if (!hasPeers && !this.#hasReported) {
      this.#hasReported = true;
      report(
        new RelayError(`${JSON.stringify(id)} has another storage: such servers need meshPeers beside Redis`),
      );
    }
  }
}
