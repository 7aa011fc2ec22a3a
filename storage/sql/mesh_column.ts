/**
 * The column `mesh` of the counter's row: what an SQL storage knows of other storages. Pure.
 *
 * @module
 */
import { joinVectors, type KnownReplicas, unknownEntries } from "../../src/store/contract.ts";

/** What the column `mesh` holds. The storage's own replica id is left out of the version vector. */
export type MeshState = KnownReplicas;

/** The column `mesh` of a storage that has met no other storage. */
export const EMPTY_MESH = '{"seen":{},"swept":{}}';

/** How the column `mesh` begins as long as the storage has merged no other storage. */
export const UNMERGED_MESH = '{"seen":{}';

/** Parses the text of the column `mesh`. */
export function parseMesh(text: string): MeshState {
  const { seen, swept, forgot } = JSON.parse(text) as
    & Record<"seen" | "swept", Record<string, number>>
    & { readonly forgot?: Record<string, number> };
  const known = { vector: new Map(Object.entries(seen)), collected: new Map(Object.entries(swept)) };
  return forgot === undefined ? known : { ...known, forgotten: new Map(Object.entries(forgot)) };
}

/** Formats the text of the column `mesh`. */
export function formatMesh({ vector, collected, forgotten }: MeshState): string {
  return JSON.stringify({
    seen: Object.fromEntries(vector),
    swept: Object.fromEntries(collected),
    forgot: forgotten && Object.fromEntries(forgotten),
  });
}

/**
 * Joins the state of another storage into this one. An entry for the storage's own replica id is dropped from the
 * version vector, and so are entries that were forgotten here.
 */
export function joinMesh(mesh: MeshState, { vector, collected }: MeshState, ownReplicaId: string): MeshState {
  const { forgotten = new Map() } = mesh;
  const joined = joinVectors(mesh.vector, unknownEntries(vector, forgotten));
  joined.delete(ownReplicaId);
  return {
    ...mesh,
    vector: joined,
    collected: joinVectors(mesh.collected, unknownEntries(collected, forgotten)),
  };
}
