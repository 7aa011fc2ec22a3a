/**
 * What an SQL storage keeps of the storages beside it: how that is written in the counter's row, and how nodes
 * from elsewhere are placed among its own. Pure.
 *
 * @module
 */
import { marksOf } from "../../src/store/history.ts";
import { joinVectors, type NodeMerge, type VersionVector } from "../../src/store/contract.ts";
import type { MergeBounds, Numbering, PlacedMerge } from "./dialect.ts";

/** What the column `mesh` tells. */
export interface MeshNotes {
  /** Origin → the highest stamp taken in, without the storage's own origin. */
  readonly vector: VersionVector;
  /** Origin → the highest stamp among swept tombstones. */
  readonly collected: VersionVector;
}

/** Reads the column `mesh`. */
export function readNotes(text: string): MeshNotes {
  const { seen: vector, swept: collected } = JSON.parse(text) as Record<
    "seen" | "swept",
    Record<string, number>
  >;
  return { vector: new Map(Object.entries(vector)), collected: new Map(Object.entries(collected)) };
}

/** Writes the column `mesh`. */
export function writeNotes({ vector, collected }: MeshNotes): string {
  return JSON.stringify({ seen: Object.fromEntries(vector), swept: Object.fromEntries(collected) });
}

/** The notes once this was adopted as well. An entry of the storage's own origin is not among what was seen. */
export function adoptNotes(notes: MeshNotes, { vector, collected }: MeshNotes, ownOrigin: string): MeshNotes {
  const joined = joinVectors(notes.vector, vector);
  joined.delete(ownOrigin);
  return { vector: joined, collected: joinVectors(notes.collected, collected) };
}

/**
 * Gives each change among the takes its place above the counter as all of them lift it.
 *
 * @param merges What is taken in.
 * @param numbering How the storage numbers changes.
 * @param expiresAt Until when a tombstone is kept that is written now.
 */
export function placeMerges(
  merges: readonly NodeMerge[],
  numbering: Numbering,
  expiresAt: number,
): { readonly placed: PlacedMerge[]; readonly bounds: Omit<MergeBounds, "notes"> } {
  let [floor, total, lowest, highest] = [0, 0, Number.MAX_SAFE_INTEGER, 0];
  const foreign: string[] = [];
  const placed = merges.map(({ node, above = 0, replaces }): PlacedMerge => {
    const { key, hash, updatedAt, deleted } = node;
    const shared = { key, hash, updatedAt, expiresAt: deleted ? expiresAt : null, replaces };
    if ("replicaId" in node) {
      floor = Math.max(floor, node.version, node.dotVersion);
      lowest = Math.min(lowest, node.version);
      highest = Math.max(highest, node.version);
      foreign.push(key);
      return {
        ...shared,
        place: node.version,
        stamp: { version: node.dotVersion, replicaId: node.replicaId },
      };
    }
    floor = Math.max(floor, above, numbering.floor);
    total += numbering.step;
    return { ...shared, place: total, stamp: null };
  });
  const bounds = { floor, step: numbering.step, total, lowest, highest, marks: marksOf(foreign) };
  return { placed, bounds };
}
