/**
 * Pages between this storage and others: composing them within limits, merging them, and propagating what was new.
 *
 * @module
 */
import {
  coversVector,
  joinVectors,
  type ReplicaState,
  type VersionVector,
  withForgotten,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import type { Announcer } from "./announcer.ts";
import {
  type AntiEntropy,
  type ComposedPage,
  type MergedPage,
  type PartialDelta,
  UNMERGED,
} from "./anti_entropy.ts";
import type { FanOut } from "./fan_out.ts";
import type { FullCopies } from "./full_copies.ts";
import type { LocalReplica } from "./local_replica.ts";
import { type Invalidation, MAX_PAGE_NODES, type Message } from "./message.ts";
import type { OnRewritten } from "./node_rewriter.ts";
import type { OldReplicas } from "./old_replicas.ts";
import type { Peer } from "./peers.ts";
import type { UncoveredNodes } from "./uncovered_nodes.ts";

/** The maximum size of the nodes in one page, in characters: well below a peer's body limit. */
const MAX_PAGE_LENGTH = 200_000;

/** What replication needs. */
export interface ReplicationOptions {
  /** Left out for a storage that has no identity: its servers share it, and no nodes are exchanged. */
  readonly antiEntropy: AntiEntropy | undefined;
  /** Left out where `antiEntropy` is. */
  readonly uncovered: UncoveredNodes | undefined;
  /** Left out where `antiEntropy` is. */
  readonly oldReplicas: OldReplicas | undefined;
  readonly replica: LocalReplica;
  readonly copies: FullCopies;
  readonly announcer: Announcer;
  readonly fanOut: FanOut;
  /** Makes the change poller read the storage now. */
  readonly pollNow: () => void;
}

/** Composes and merges pages for one storage. */
export class Replication {
  readonly #options: ReplicationOptions;
  /** What peers have sent, as far as it was merged or polled for here. */
  #received: VersionVector = new Map();
  #nodesMerged = 0;

  /** @param options The storage, and the ways to propagate what is merged. */
  constructor(options: ReplicationOptions) {
    this.#options = options;
  }

  /** How many nodes of other storages were written here. */
  get nodesMerged(): number {
    return this.#nodesMerged;
  }

  /**
   * Composes a page of what a peer lacks, within its limits and ours.
   *
   * @param peer The peer, if it is a known one.
   * @param replicaId The peer's storage, if it is known.
   * @param theirs What that storage has merged; undefined when that is not known.
   * @param request The page that the peer asks for, if not the first.
   */
  async compose(
    peer: Peer | undefined,
    replicaId: string | undefined,
    theirs: VersionVector | undefined,
    request?: Message["pageRequest"],
  ): Promise<ComposedPage | undefined> {
    const { antiEntropy, replica, copies } = this.#options;
    if (antiEntropy === undefined) return undefined;
    const maySendCopy = (reason: string) => replicaId === undefined || copies.maySend(replicaId, reason);
    for (let limit = peer?.maxPageNodes ?? MAX_PAGE_NODES;; limit = Math.ceil(limit / 4)) {
      const page = await antiEntropy.compose(theirs, limit, request, maySendCopy);
      replica.update(page.state);
      this.#maintain(page.state, theirs !== undefined);
      const length = page.delta?.nodes.reduce((sum, node) =>
        sum + node.key.length + node.hash.length + 120, 0) ?? 0;
      if (length <= MAX_PAGE_LENGTH || limit === 1) return page;
    }
  }

  /** Records a page of a full copy that is sent to a storage. */
  recordCopy(replicaId: string | undefined, page: ComposedPage | undefined): void {
    if (replicaId === undefined || page?.delta?.full !== true) return;
    const { copies } = this.#options;
    if (page.reason !== undefined) copies.recordFirstPage(replicaId, page.reason);
    if (page.delta.next === null) copies.recordLastPage(replicaId);
  }

  /**
   * Merges the page of a message, then announces and forwards what was new.
   *
   * @param previous What the page before left; undefined when there was none.
   * @param message The received message.
   * @param isBroadcast Whether all servers receive this message, as through Redis.
   */
  async merge(
    previous: PartialDelta | undefined,
    message: Message,
    isBroadcast: boolean = false,
  ): Promise<MergedPage> {
    const { antiEntropy, uncovered, replica, announcer, fanOut, pollNow } = this.#options;
    if (antiEntropy === undefined || message.vector === undefined) {
      fanOut.forward(message, false);
      return UNMERGED;
    }
    let merged: MergedPage | undefined;
    try {
      merged = await antiEntropy.merge(previous, message);
    } finally {
      // Also after a failure: some nodes may have been written.
      if (merged?.isMerged !== false) uncovered?.record(message.replicaId, message.delta?.nodes ?? []);
    }
    // Another server on this storage may have merged it before, without telling this one.
    if (!merged.isMerged && !coversVector(this.#received, message.vector)) pollNow();
    this.#received = joinVectors(this.#received, message.vector);
    const { written: keys, ownChanges } = merged;
    this.#nodesMerged += keys.length;
    // A server on Redis has published its changes there.
    if (keys.length > 0 && !announcer.isPublisher(message.id)) announcer.publish({ keys, version: 0 });
    // Servers on this storage are told as well: the sender may have learned of the change only after its last exchange
    // with them, and then has no nodes left to send them.
    fanOut.forward(
      message,
      keys.length > 0,
      undefined,
      ({ id, replicaId }) =>
        message.peers.get(id!) === "alive" && (isBroadcast || !replica.isShared(replicaId)),
    );
    this.#announce(ownChanges);
    return merged;
  }

  /** Forwards an invalidation, if it is new: one whose version was received before stops here. */
  forwardInvalidation(message: Message, invalidation: Invalidation | undefined): void {
    const { announcer, fanOut } = this.#options;
    const isNew = invalidation !== undefined && announcer.raiseVersion(invalidation.version);
    fanOut.forward(message, isNew, invalidation);
  }

  /**
   * Looks for work on the nodes here, which is done in the background.
   *
   * @param state The state of the storage.
   * @param isExchanged Whether nodes are exchanged with another storage.
   */
  #maintain(state: ReplicaState, isExchanged: boolean): void {
    const { uncovered, oldReplicas } = this.#options;
    const onRewritten: OnRewritten = (metas) => this.#announce(metas);
    if (isExchanged) uncovered?.check({ ...state, vector: withForgotten(state) }, onRewritten);
    // Also where no peer answers: a version vector may be too long for a message.
    oldReplicas?.check(state, onRewritten);
  }

  /** Announces changes of this storage itself that were made in a merge. */
  #announce(ownChanges: readonly RealityNodeMeta[]): void {
    if (ownChanges.length === 0) return;
    const version = ownChanges.reduce((highest, meta) => Math.max(highest, meta.version), 0);
    this.#options.announcer.announce({ keys: ownChanges.map(({ key }) => key), version });
  }
}
