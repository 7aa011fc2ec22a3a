/**
 * One exchange with one peer: requests and answers until both have what the other had.
 *
 * @module
 */
import { PeerError } from "../errors.ts";
import { coversVector } from "../store/contract.ts";
import type { ComposedPage } from "./anti_entropy.ts";
import type { LocalReplica } from "./local_replica.ts";
import type { LocalServer } from "./local_server.ts";
import { type Invalidation, mergedBySender, type Message, readMessage, writeMessage } from "./message.ts";
import type { Peer, PendingUpdates } from "./peers.ts";
import { OwnAddressError } from "./proof.ts";
import type { Replication } from "./replication.ts";
import type { PeerLink } from "./transport.ts";

/** How often one exchange starts to push again because the peer lacked more than was assumed. */
const MAX_PUSHES = 3;

/** What exchanges need. */
export interface ExchangeOptions {
  readonly server: LocalServer;
  readonly replica: LocalReplica;
  readonly replication: Replication;
  readonly getLink: () => PeerLink;
}

/** The next request of an exchange. */
interface RequestPlan {
  /** The state and the nodes to send. */
  readonly page: ComposedPage | undefined;
  readonly isPush: boolean;
  readonly invalidation: Invalidation | undefined;
  /** The ids of the servers that the peer is asked to tell. */
  readonly forwards: readonly string[];
  readonly pageRequest: Message["pageRequest"];
}

/** Makes exchanges. */
export class Exchanges {
  readonly #options: ExchangeOptions;
  #sentBytes = 0;
  #receivedBytes = 0;

  /** @param options The server, its storage and the way to its peers. */
  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The bytes of all requests. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** The bytes of all answers. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /**
   * Makes one exchange, in as many requests as it takes.
   *
   * @param peer The peer.
   * @param pending What the peer is told. Forwards that the peer has accepted are removed from it.
   * @param signal Aborts the exchange.
   * @returns Whether the exchange is complete. A peer that does not merge what is pushed repeatedly has to wait.
   * @throws {PeerError} When the peer does not answer as it should.
   * @throws {StorageError} When this server's storage fails.
   */
  async run(peer: Peer, pending: PendingUpdates, signal: AbortSignal): Promise<boolean> {
    const { server, replica, replication } = this.#options;
    await replica.identify();
    // Resume the pages of an exchange that failed.
    let { incoming, outgoing } = peer.interrupted ?? {};
    peer.interrupted = undefined;
    let { invalidation } = pending;
    for (let turn = 0, pushes = 0;; turn++) {
      const isKnown = peer.replicaId !== undefined;
      const isShared = isKnown && replica.isShared(peer.replicaId);
      const composed = isShared
        ? undefined
        : await replication.compose(peer, peer.replicaId, peer.vector, outgoing);
      const plan: RequestPlan = {
        ...planPage(peer, composed, { isFirst: turn === 0, isResumed: outgoing !== undefined, pending }),
        invalidation: isShared || !isKnown ? invalidation : undefined,
        pageRequest: incoming && { after: incoming.next, full: incoming.full },
      };
      if (turn > 0 && plan.pageRequest === undefined && outgoing === undefined) {
        if (!plan.isPush && !plan.invalidation && pending.forwards.size === 0) return true;
        if (plan.isPush && ++pushes > MAX_PUSHES) return false;
      }
      replication.recordCopy(peer.replicaId, plan.page);
      peer.sentNodes = plan.page?.delta?.nodes.length ?? 0;
      const message = await server.compose(plan.page, fieldsOf(plan));
      peer.interrupted = { incoming, outgoing };
      const answer = await this.#send(peer, message, signal);
      peer.interrupted = undefined;
      for (const id of plan.forwards) pending.forwards.delete(id);
      if (plan.invalidation) invalidation = undefined;
      if (replica.isShared(answer.replicaId)) {
        // It needs no pages, only invalidations and forwards.
        incoming = outgoing = undefined;
        continue;
      }
      // The peer had this storage before, and has another one now.
      if (plan.page === undefined) continue;
      ({ incoming } = await replication.merge(incoming, answer));
      outgoing = nextPage(plan.page, answer);
      const isDone = coversVector(mergedBySender(answer) ?? new Map(), plan.page.state.vector);
      if (isDone && pending.forwards.size === 0 && incoming === undefined && outgoing === undefined) {
        return true;
      }
      if (incoming !== undefined || outgoing !== undefined) peer.recordProgress();
    }
  }

  async #send(peer: Peer, message: Message, signal: AbortSignal): Promise<Message> {
    const { getLink, server } = this.#options;
    const reply = await getLink().transport.send(peer.url, writeMessage(message), signal);
    this.#sentBytes += reply.sentBytes;
    this.#receivedBytes += reply.receivedBytes;
    let answer: Message;
    try {
      answer = readMessage(reply.message);
    } catch (cause) {
      throw new PeerError(peer.url, "reply", cause);
    }
    if (answer.incarnation === server.incarnation) {
      throw new PeerError(peer.url, "reply", new OwnAddressError());
    }
    if (answer.id === server.id) {
      throw new PeerError(peer.url, "reply", `it has this server's own serverId ("${answer.id}")`);
    }
    peer.id = answer.id;
    peer.replicaId = answer.replicaId;
    peer.vector = mergedBySender(answer);
    server.learnPeers(answer);
    return answer;
  }
}

/** Decides what of a composed page is sent now, and whether the forwards go with it. */
function planPage(
  peer: Peer,
  composed: ComposedPage | undefined,
  { isFirst, isResumed, pending }: {
    readonly isFirst: boolean;
    readonly isResumed: boolean;
    readonly pending: PendingUpdates;
  },
): Pick<RequestPlan, "page" | "isPush" | "forwards"> {
  // A full copy is large, and another server may have sent one meanwhile: ask the peer first.
  const isHeldBack = isFirst && !isResumed && composed?.delta?.full === true;
  const page = composed && isHeldBack ? { state: composed.state, delta: undefined } : composed;
  const isLast = page === undefined ||
    !isHeldBack && (peer.vector !== undefined || !isFirst) && (page.delta?.next ?? null) === null;
  const isPush = page?.delta !== undefined && (page.delta.nodes.length > 0 || page.delta.next !== null);
  // The forwards go with the last page: the peer forwards at once what it has.
  return { page, isPush, forwards: isLast ? [...pending.forwards] : [] };
}

function fieldsOf({ invalidation, forwards, pageRequest }: RequestPlan): Partial<Message> {
  return {
    ...(invalidation ? { invalidation } : {}),
    ...(forwards.length > 0 ? { forwards } : {}),
    ...(pageRequest ? { pageRequest } : {}),
  };
}

/** The page to send next. A page whose base the peer does not cover was not merged: the peer's answer starts anew. */
function nextPage({ delta }: ComposedPage, answer: Message): Message["pageRequest"] {
  const isMerged = delta !== undefined &&
    (delta.full || coversVector(mergedBySender(answer) ?? new Map(), delta.base));
  return isMerged && delta.next !== null ? { after: delta.next, full: delta.full } : undefined;
}
