/**
 * The column `mesh` of the counter's row: what an SQL storage knows of other storages. Pure.
 *
 * @module
 */
import { joinVectors, type VersionVector } from "../../src/store/contract.ts";

/** What the column `mesh` holds. */
export interface MeshState {
  /** Replica id → the highest dot version merged from that replica. The storage's own replica id is left out. */
  readonly vector: VersionVector;
  /** Replica id → the highest dot version among collected tombstones. */
  readonly collected: VersionVector;
}

/** The column `mesh` of a storage that has met no other storage. */
export const EMPTY_MESH = '{"seen":{},"swept":{}}';

/** How the column `mesh` begins as long as the storage has merged no other storage. */
export const UNMERGED_MESH = '{"seen":{}';

/** Parses the text of the column `mesh`. */
export function parseMesh(text: string): MeshState {
  const { seen: vector, swept: collected } = JSON.parse(text) as Record<
    "seen" | "swept",
    Record<string, number>
  >;
  return { vector: new Map(Object.entries(vector)), collected: new Map(Object.entries(collected)) };
}

/** Formats the text of the column `mesh`. */
export function formatMesh({ vector, collected }: MeshState): string {
  return JSON.stringify({ seen: Object.fromEntries(vector), swept: Object.fromEntries(collected) });
}

/**
 * Joins the state of another storage into this one. An entry for the storage's own replica id is dropped from the
 * version vector.
 */
export function joinMesh(mesh: MeshState, { vector, collected }: MeshState, ownReplicaId: string): MeshState {
  const joined = joinVectors(mesh.vector, vector);
  joined.delete(ownReplicaId);
  return { vector: joined, collected: joinVectors(mesh.collected, collected) };
}
