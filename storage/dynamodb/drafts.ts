/**
 * What the writes of a DynamoDB storage change, given the state that they start from. No requests are sent here.
 *
 * @module
 */
import {
  type AppliedMeta,
  coversVector,
  type Dot,
  dotOf,
  forgetReplicas,
  isSameDot,
  joinVectors,
  type NodeChange,
  type NodeHash,
  type NodeMerge,
  unknownEntries,
  type VersionVector,
} from "../../src/store/contract.ts";
import { isNewer } from "../../src/store/node.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkCounter } from "../validate.ts";
import { collectedAt, expiryOf } from "./expiry.ts";
import type { Draft } from "./next_state.ts";
import type { Numbering } from "./numbering.ts";
import type { ServiceClock } from "./service_clock.ts";
import { MAX_REPLICAS, maxReportedDot, type State } from "./state.ts";
import { dotFields, keepIndexPosition, type NewNode, toMeta, toReplicated } from "./stored_node.ts";
import type { TableReading } from "./table_reader.ts";

/** Drafts the commits of one storage. */
export class Drafts {
  readonly #numbering: Numbering;
  readonly #clock: ServiceClock;
  readonly #tombstoneTimeout: number;

  /**
   * @param numbering Gives the versions.
   * @param clock Tells when tombstones expire.
   * @param tombstoneTimeout How long a tombstone is kept, in milliseconds.
   */
  constructor(numbering: Numbering, clock: ServiceClock, tombstoneTimeout: number) {
    this.#numbering = numbering;
    this.#clock = clock;
    this.#tombstoneTimeout = tombstoneTimeout;
  }

  /** Publishes a node with a version of its own, unless the stored node is newer. */
  draftNode(meta: RealityNodeMeta, { state, nodes }: TableReading): Draft | undefined {
    const stored = nodes.get(meta.key);
    if (stored && !isNewer(meta, stored)) return undefined;
    const next = this.#numbering.next(state);
    // Other storages may have merged everything up to this number, without this node.
    const isOwn = (next - meta.version) % this.#numbering.step === 0;
    const dotVersion = meta.version <= maxReportedDot(state) || !isOwn ? next : meta.version;
    checkCounter(dotVersion);
    const trace = dotFields(meta.version, {
      dotVersion,
      indexPosition: Math.max(dotVersion, meta.version),
    });
    const node = { ...this.#storedNode(meta), ...trace };
    const counter = Math.max(state.counter, meta.version, dotVersion);
    return { nodes: [keepIndexPosition(node, stored)], counter };
  }

  /**
   * Finds the changes that are not to be written because of `unless`, and what is returned for them.
   *
   * @param reading The nodes that the conditions name and those of the changes, without expired tombstones.
   */
  findUnchanged(changes: readonly NodeChange[], { state, nodes }: TableReading): Map<string, AppliedMeta> {
    const unchanged = new Map<string, AppliedMeta>();
    // Another storage may have a change that has not arrived yet.
    if (state.vector.size > 0) return unchanged;
    const isStored = ({ key, hash }: NodeHash) => {
      const node = nodes.get(key);
      return node !== undefined && !node.deleted && node.hash === hash;
    };
    for (const { key, hash, updatedAt, unless } of changes) {
      if (unless?.every(isStored) !== true) continue;
      const stored = nodes.get(key);
      const meta = stored && !stored.deleted ? toMeta(stored) : { key, version: 0, hash, updatedAt };
      unchanged.set(key, { ...meta, unchanged: true });
    }
    return unchanged;
  }

  /** Makes changes of this storage's own, each with the version that follows. */
  draftChanges(changes: readonly NodeChange[], state: State): Draft {
    const [first, step] = [this.#numbering.next(state), this.#numbering.step];
    const nodes = changes.map(({ key, hash, updatedAt, deleted }, i) => {
      const version = first + i * step;
      return this.#storedNode({ key, version, hash, updatedAt, ...(deleted ? { deleted } : {}) });
    });
    const counter = first + (changes.length - 1) * step;
    checkCounter(counter);
    return { nodes, counter };
  }

  /** Writes those merged nodes whose stored node is still the one that they were merged with. */
  draftMerges(
    merges: readonly NodeMerge[],
    { state, nodes: stored }: TableReading,
    collected?: VersionVector,
  ): Draft | undefined {
    // The merge must have known of every collected tombstone. The commit fails if one is collected meanwhile.
    const mayAdd = collected === undefined || coversVector(collected, collectedAt(state, this.#clock.late));
    let counter = state.counter;
    for (const { node, above = 0 } of merges) {
      counter = Math.max(counter, "replicaId" in node ? Math.max(node.version, node.dotVersion) : above);
    }
    const nodes: NewNode[] = [];
    let next = this.#numbering.next({ ...state, counter });
    for (const { node, replaces } of merges) {
      const current = stored.get(node.key);
      if (current === undefined && !mayAdd) continue;
      if (!isSameDot(current ? dotOf(toReplicated(current, state.replicaId)) : null, replaces)) continue;
      let written: NewNode;
      if ("replicaId" in node) written = { ...this.#storedNode(node), ...dotFields(node.version, node) };
      else {
        written = this.#storedNode({ ...node, version: counter = next });
        next += this.#numbering.step;
      }
      nodes.push(keepIndexPosition(written, current));
    }
    checkCounter(counter);
    return nodes.length === 0 ? undefined : { nodes, counter };
  }

  /** A node as it is stored. A tombstone gets the time at which it expires. */
  #storedNode(meta: RealityNodeMeta): NewNode {
    const until = meta.deleted ? expiryOf(this.#clock.late, this.#tombstoneTimeout) : undefined;
    return until === undefined ? toMeta(meta) : { ...toMeta(meta), until };
  }
}

/**
 * Joins the version vector of another storage, and adopts its epoch if one is given; `undefined` if nothing changes.
 *
 * @throws {RangeError} When the version vector would have more than 2000 replica ids.
 */
export function draftAdoption(
  state: State,
  adopted: { readonly vector: VersionVector; readonly collected: VersionVector; readonly epoch?: string },
): Draft | undefined {
  const { epoch } = adopted;
  const { forgotten = new Map() } = state;
  const vector = unknownEntries(adopted.vector, forgotten);
  const collected = unknownEntries(adopted.collected, forgotten);
  let { counter } = state;
  for (const dotVersion of vector.values()) if (dotVersion > counter) counter = dotVersion;
  checkCounter(counter);
  const known = new Map(state.vector).set(state.replicaId, maxReportedDot(state));
  const isKnown = coversVector(known, vector) && coversVector(state.collected, collected);
  if (isKnown && epoch === undefined && counter === state.counter) return undefined;
  const count = Math.max(joinVectors(known, vector).size, joinVectors(state.collected, collected).size);
  if (count > MAX_REPLICAS) {
    throw new RangeError(
      `Cannot join a version vector: expected at most ${MAX_REPLICAS} replica ids, got ${count}`,
    );
  }
  return { ...adopted, nodes: [], counter, vector, collected };
}

/** Forgets replicas; `undefined` if none of them is left. */
export function draftForgetting(state: State, replicas: VersionVector, own: Dot): Draft | undefined {
  if (own.replicaId !== state.replicaId) return undefined;
  // Tombstones that expire later count as collected ones: they are recorded here, too.
  const collected = state.expiring.reduce((all, group) => joinVectors(all, group.vector), state.collected);
  const known = { ...state, collected };
  const { vector, forgotten } = forgetReplicas(known, replicas, own);
  if (vector === state.vector) return undefined;
  const replicaIds = new Set([...state.vector.keys()].filter((replicaId) => !vector.has(replicaId)));
  return {
    nodes: [],
    counter: state.counter,
    forgetting: { replicaIds, dotVersion: own.version, forgotten },
  };
}
