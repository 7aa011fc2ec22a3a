/**
 * What a DynamoDB storage does as part of a mesh: deltas, merges, version vectors and identities.
 *
 * @module
 */
import {
  createEpoch,
  createReplicaId,
  type Dot,
  isResidueTaken,
  type NodeMerge,
  type ReplicaState,
  type StorageDelta,
  type StorageIdentity,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkMerges } from "../validate.ts";
import { MAX_CHANGES } from "./client.ts";
import { type DeltaQuery, readDelta as readDeltaPage } from "./delta.ts";
import { draftAdoption, draftForgetting } from "./drafts.ts";
import { collectedAt } from "./expiry.ts";
import { checkKey } from "./node_writes.ts";
import { otherReplicas } from "./numbering.ts";
import { type State, vectorOf } from "./state.ts";
import { toMeta, toReplicated } from "./stored_node.ts";
import { fitsTable } from "./table.ts";
import type { TableSession } from "./table_session.ts";

/** Gives the data another epoch and another replica id, and empties the version vector. */
export async function newEpoch(table: TableSession): Promise<StorageIdentity> {
  return await table.calls.run("newEpoch", async (call) => {
    const identity = { epoch: createEpoch(table.now()), replicaId: createReplicaId() };
    await table.writer.commit(call, async () => {
      const state = await table.reader.readState(call);
      return [state, { nodes: [], counter: state.counter, ...identity }];
    });
    return identity;
  });
}

/** The version vector, collected tombstones and identity. */
export async function readReplicaState(table: TableSession): Promise<ReplicaState> {
  return await table.calls.run("readReplicaState", async (call) => {
    await table.ensureResidue(call);
    return replicaStateOf(table, await table.reader.readState(call));
  });
}

/** One page of a delta. */
export async function readDelta(table: TableSession, query: DeltaQuery): Promise<StorageDelta> {
  const { after } = query;
  return await table.calls.run("readDelta", async (call) => {
    if (after !== undefined && !fitsTable(after)) {
      throw new RangeError(
        `Cannot read a page: expected the next of the page before, got ${after.length} characters`,
      );
    }
    await table.ensureResidue(call);
    const { state, nodes, next } = await readDeltaPage(table.reader, call, query);
    return {
      ...replicaStateOf(table, state),
      nodes: nodes.map((node) => toReplicated(node, state.replicaId)),
      next,
    };
  });
}

/** Writes merged nodes with one transaction. */
export async function mergeNodes(
  table: TableSession,
  merges: readonly NodeMerge[],
  collected?: VersionVector,
): Promise<(RealityNodeMeta | null)[]> {
  return await table.calls.run("mergeNodes", async (call) => {
    checkMerges(merges, MAX_CHANGES);
    const keys = merges.map(({ node }) => node.key);
    keys.forEach(checkKey);
    if (merges.length === 0) return [];
    await table.ensureResidue(call);
    const written = await table.writer.commit(call, async () => {
      const reading = await table.reader.readNodes(call, keys);
      return [reading.state, table.drafts.draftMerges(merges, reading, collected)];
    });
    const nodes = new Map(written.map((node) => [node.key, node]));
    return keys.map((key) => {
      const node = nodes.get(key);
      return node ? toMeta(node) : null;
    });
  });
}

/** Joins a version vector, and adopts an older epoch. */
export async function adoptVector(
  table: TableSession,
  adopted: {
    readonly vector: VersionVector;
    readonly collected: VersionVector;
    readonly epoch: string;
    /** The replica id that this storage must have; `undefined` for any. */
    readonly replicaId: string | undefined;
  },
): Promise<boolean> {
  const { vector, collected, epoch, replicaId } = adopted;
  return await table.calls.run("adoptVector", async (call) => {
    let isOlder = false;
    await table.writer.commit(call, async () => {
      const state = await table.reader.readState(call);
      const isOther = replicaId !== undefined && replicaId !== state.replicaId;
      isOlder = !isOther && epoch < state.epoch;
      if (isOther) return [state, undefined];
      return [state, draftAdoption(state, { vector, collected, ...(isOlder ? { epoch } : {}) })];
    });
    return isOlder;
  });
}

/** Removes replicas that are gone from the version vector and from the collected tombstones. */
export async function forgetReplicas(
  table: TableSession,
  replicas: VersionVector,
  own: Dot,
): Promise<void> {
  await table.calls.run("forgetReplicas", async (call) => {
    await table.writer.commit(call, async () => {
      const state = await table.reader.readState(call);
      return [state, draftForgetting(state, replicas, own)];
    });
  });
}

/** Draws another residue if another storage has the same. */
export async function avoidResidues(table: TableSession, vector: VersionVector): Promise<void> {
  await table.calls.run("avoidResidues", async (call) => {
    await table.writer.commit(call, async () => {
      const state = await table.reader.readState(call);
      const others = otherReplicas(state, vector);
      const isTaken = isResidueTaken(others, state.drawn);
      return [state, isTaken ? table.numbering.draftResidue(state, others) : undefined];
    });
  });
}

function replicaStateOf({ clock }: TableSession, state: State): ReplicaState {
  const { epoch, replicaId, maxVersion, forgotten } = state;
  return {
    epoch,
    replicaId,
    vector: vectorOf(state),
    collected: collectedAt(state, clock.late),
    ...(forgotten ? { forgotten } : {}),
    maxVersion,
  };
}
