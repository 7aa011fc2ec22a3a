/**
 * How an SQL storage merges with other storages: deltas, merges, version vectors and residues.
 *
 * @module
 */
import {
  coversVector,
  createEpoch,
  createReplicaId,
  type Dot,
  dotOf,
  forgetReplicas as forgetEntries,
  isResidueTaken,
  isSameDot,
  joinVectors,
  lowestMissing,
  type NodeMerge,
  type ReplicaState,
  type StorageDelta,
  type StorageIdentity,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkCounter } from "../validate.ts";
import type { VectorEntries } from "./dialect.ts";
import { formatMesh, joinMesh, parseMesh } from "./mesh_column.ts";
import { readReplicated } from "./node_reads.ts";
import { mergedMeta, type PlacedMerge, placeMerges } from "./placement.ts";
import { keysOf, lastVersionOf, toMissing, toReplicaState, toReplicated } from "./rows.ts";
import type { TableClient } from "./table_client.ts";

/** Implements {@linkcode MeshStorage.readReplicaState}. */
export async function readReplicaState(table: TableClient): Promise<ReplicaState> {
  const operation = "readReplicaState";
  await table.ensureResidue(operation);
  return toReplicaState(await table.readCounter(operation));
}

/** Which page of a delta is read. */
export interface DeltaRequest {
  /** The version vector of the storage that asks. */
  readonly base: VersionVector;
  /** The most nodes of a page. */
  readonly limit: number;
  /** The key after which the page begins; left out for the first page. */
  readonly after?: string | undefined;
}

/** Implements {@linkcode MeshStorage.readDelta}. */
export async function readDelta(
  table: TableClient,
  { base, limit, after }: DeltaRequest,
): Promise<StorageDelta> {
  const operation = "readDelta";
  await table.ensureResidue(operation);
  // The version vector is read before the nodes, and the collected dots after them. So the nodes contain all that the
  // vector includes, and a tombstone that was collected meanwhile is reported as collected.
  const state = toReplicaState(await table.readCounter(operation));
  const entries: VectorEntries = [...base];
  if (after === undefined) {
    const lowest = lowestMissing(base, state.vector);
    if (lowest === Infinity) return { ...state, nodes: [], next: null };
    if (lowest > 0) {
      const rows = await table.ask(operation, table.dialect.readMissing(entries, lowest, limit + 1));
      const { nodes, mesh } = toMissing(rows, operation);
      if (mesh !== undefined && nodes.length <= limit) {
        return { ...state, collected: parseMesh(mesh).collected, nodes, next: null };
      }
    }
  }
  const rows = await table.ask(operation, table.dialect.readMissingPage(entries, after ?? "", limit + 1));
  const nodes = rows.map((row) => toReplicated(row, operation));
  const { collected } = toReplicaState(await table.readCounter(operation));
  const page = nodes.slice(0, limit);
  return { ...state, collected, nodes: page, next: nodes.length > limit ? page.at(-1)?.key ?? null : null };
}

/** Implements {@linkcode MeshStorage.mergeNodes} for merges that were checked. */
export async function mergeNodes(
  table: TableClient,
  merges: readonly NodeMerge[],
  collected?: VersionVector,
): Promise<(RealityNodeMeta | null)[]> {
  const operation = "mergeNodes";
  if (merges.length === 0) return [];
  const isAdded = ({ replaces }: NodeMerge) => replaces === null;
  let mesh: string | null = null;
  if (collected !== undefined && merges.some(isAdded)) {
    mesh = (await table.readCounter(operation)).mesh;
    if (!coversVector(collected, parseMesh(mesh).collected)) {
      const rest = await mergeNodes(table, merges.filter((merge) => !isAdded(merge)));
      return merges.map((merge) => isAdded(merge) ? null : rest.shift() ?? null);
    }
  }
  const { placed, bounds } = placeMerges(merges, await table.nextNumbers(operation), table.expiresAt());
  const statement = table.dialect.mergeNodes(placed, { ...bounds, mesh });
  const lastOf = (last: number) => Math.max(last, bounds.floor) + bounds.total;
  const rows = await table.askForNumbers(operation, statement, lastOf);
  const base = lastVersionOf(rows, operation) - bounds.total;
  const metas = placed.map((merge) => mergedMeta(merge, base));
  const written = table.dialect.writesUnreported ? await findWritten(table, metas, placed) : keysOf(rows);
  return metas.map((meta) => written.has(meta.key) ? meta : null);
}

/** The keys of those merges whose nodes are stored now. */
async function findWritten(
  table: TableClient,
  metas: readonly RealityNodeMeta[],
  placed: readonly PlacedMerge[],
): Promise<Set<string>> {
  const { replicaId } = await table.readCounter("mergeNodes");
  const nodes = await readReplicated(table, metas.map(({ key }) => key));
  const keys = new Set<string>();
  for (const [i, { key, version }] of metas.entries()) {
    const [node, merge] = [nodes.get(key), placed[i]];
    const dot = merge?.kind === "replica" ? merge.dot : { version, replicaId };
    if (node && isSameDot(dot, dotOf(node))) keys.add(key);
  }
  return keys;
}

/** What another storage has, and this one has merged. */
export interface AdoptedState {
  /** Its version vector. */
  readonly vector: VersionVector;
  /** Its collected tombstones, after a full copy; otherwise empty. */
  readonly collected: VersionVector;
  /** Its epoch. */
  readonly epoch: string;
  /** The replica id that this storage must have; `undefined` for any. */
  readonly replicaId: string | undefined;
}

/** Implements {@linkcode MeshStorage.adoptVector}. */
export async function adoptVector(table: TableClient, adopted: AdoptedState): Promise<boolean> {
  const operation = "adoptVector";
  const lowestCounter = Math.max(0, ...adopted.vector.values());
  checkCounter(lowestCounter);
  return await table.updateCounter(operation, async (counter, mesh) => {
    if ((adopted.replicaId ?? counter.replicaId) !== counter.replicaId) return false;
    const before = { mesh: counter.mesh, epoch: counter.epoch };
    const after = {
      mesh: formatMesh(joinMesh(mesh, adopted, counter.replicaId)),
      epoch: adopted.epoch < before.epoch ? adopted.epoch : before.epoch,
    };
    const isOther = after.epoch !== before.epoch;
    if (!isOther && after.mesh === before.mesh && lowestCounter <= counter.counter) return false;
    const rows = await table.ask(operation, table.dialect.adoptVector(before, after, lowestCounter));
    return rows.length > 0 ? isOther : undefined;
  });
}

/** Implements {@linkcode MeshStorage.avoidResidues}. */
export async function avoidResidues(table: TableClient, vector: VersionVector): Promise<void> {
  const operation = "avoidResidues";
  await table.updateCounter(operation, async (counter, mesh) => {
    const others = joinVectors(mesh.vector, vector);
    others.delete(counter.replicaId);
    return !isResidueTaken(others, counter.drawn) || await table.drawResidue(operation, counter, others);
  });
}

/** Implements {@linkcode MeshStorage.forgetReplicas}. */
export async function forgetReplicas(
  table: TableClient,
  replicas: VersionVector,
  own: Dot,
): Promise<void> {
  const operation = "forgetReplicas";
  await table.updateCounter(operation, async ({ mesh: text, epoch, replicaId }, mesh) => {
    const after = formatMesh(forgetEntries(mesh, replicas, own));
    if (after === text || own.replicaId !== replicaId) return true;
    const rows = await table.ask(
      operation,
      table.dialect.adoptVector({ mesh: text, epoch }, { mesh: after, epoch }, 0),
    );
    return rows.length > 0 || undefined;
  });
}

/** Implements {@linkcode RealityStorage.newEpoch}. */
export async function newEpoch(table: TableClient): Promise<StorageIdentity> {
  const operation = "newEpoch";
  const names = { epoch: createEpoch(table.now()), replicaId: createReplicaId() };
  return await table.updateCounter(operation, async (counter, { collected }) => {
    const mesh = formatMesh({ vector: new Map(), collected });
    const rows = await table.ask(operation, table.dialect.renewIdentity(counter, { ...names, mesh }));
    return rows.length > 0 ? names : undefined;
  });
}
