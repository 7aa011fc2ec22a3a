/**
 * What an SQL storage keeps of the storages beside it: how that is written in the counter's row, and how nodes
 * from elsewhere are placed among its own. Pure.
 *
 * @module
 */
import { marksOf } from "../../src/store/history.ts";
import { joinSeen, type NodeTake, type Seen } from "../../src/store/contract.ts";
import type { Numbering, PlacedTake, TakeBounds } from "./dialect.ts";

/** What the column `mesh` tells. */
export interface MeshNotes {
  /** Origin → the highest stamp taken in, without the storage's own origin. */
  readonly seen: Seen;
  /** Origin → the highest stamp among swept tombstones. */
  readonly swept: Seen;
}

/** Reads the column `mesh`. */
export function readNotes(text: string): MeshNotes {
  const { seen, swept } = JSON.parse(text) as Record<keyof MeshNotes, Record<string, number>>;
  return { seen: new Map(Object.entries(seen)), swept: new Map(Object.entries(swept)) };
}

/** Writes the column `mesh`. */
export function writeNotes({ seen, swept }: MeshNotes): string {
  return JSON.stringify({ seen: Object.fromEntries(seen), swept: Object.fromEntries(swept) });
}

/** The notes once this was adopted as well. An entry of the storage's own origin is not among what was seen. */
export function adoptNotes(notes: MeshNotes, { seen, swept }: MeshNotes, ownOrigin: string): MeshNotes {
  const joined = joinSeen(notes.seen, seen);
  joined.delete(ownOrigin);
  return { seen: joined, swept: joinSeen(notes.swept, swept) };
}

/**
 * Gives each change among the takes its place above the counter as all of them lift it.
 *
 * @param takes What is taken in.
 * @param numbering How the storage numbers changes.
 * @param expiresAt Until when a tombstone is kept that is written now.
 */
export function placeTakes(
  takes: readonly NodeTake[],
  numbering: Numbering,
  expiresAt: number,
): { readonly placed: PlacedTake[]; readonly bounds: Omit<TakeBounds, "notes"> } {
  let [floor, total, lowest, highest] = [0, 0, Number.MAX_SAFE_INTEGER, 0];
  const foreign: string[] = [];
  const placed = takes.map(({ node, above = 0, replaces }): PlacedTake => {
    const { key, hash, updatedAt, deleted } = node;
    const shared = { key, hash, updatedAt, expiresAt: deleted ? expiresAt : null, replaces };
    if ("origin" in node) {
      floor = Math.max(floor, node.version, node.stamp);
      lowest = Math.min(lowest, node.version);
      highest = Math.max(highest, node.version);
      foreign.push(key);
      return { ...shared, place: node.version, stamp: { version: node.stamp, origin: node.origin } };
    }
    floor = Math.max(floor, above, numbering.floor);
    total += numbering.step;
    return { ...shared, place: total, stamp: null };
  });
  const bounds = { floor, step: numbering.step, total, lowest, highest, marks: marksOf(foreign) };
  return { placed, bounds };
}
