/**
 * How changes and merges are placed above the counter: which version each one gets once the counter is known. Pure.
 *
 * @module
 */
import { marksOf } from "../../src/store/history.ts";
import type { Dot, NodeHash, NodeMerge, OutboxRow } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/**
 * How a statement numbers changes. The base is the greater of the counter and `floor`, rounded down to the residue of
 * the counter's row. Versions are the base plus multiples of `step`.
 */
export interface Numbering {
  /** The lowest base. */
  readonly floor: number;
  /** The distance between versions; 1 where they have no residue. */
  readonly step: number;
}

/** What every row that is written has in common. */
interface PlacedFields {
  /** The node's key. */
  readonly key: string;
  /** Its new hash. */
  readonly hash: string;
  /** The writing server's clock, in milliseconds since 1970. */
  readonly updatedAt: number;
  /**
   * For a deletion: how long the tombstone is kept, in milliseconds. With a test's clock: until when. `null` for a node
   * that is not deleted.
   */
  readonly expiresAt: number | null;
}

/** A change to make. */
export interface PlacedChange extends PlacedFields {
  /** Its version, minus the base. */
  readonly offset: number;
}

/** A change that is not written if all of `unless` are stored. */
export interface PlacedConditional extends PlacedChange {
  /** At least one node; left out for a change that is written in any case. */
  readonly unless?: readonly NodeHash[] | undefined;
}

/** A change that rows of the outbox ask for. */
export interface PlacedRows extends PlacedChange {
  /** The ids of these rows. */
  readonly rows: readonly number[];
}

/**
 * The key that each row of the outbox must have. A restored backup, or a standby that takes over, may give the id of a row to
 * another one after it was read.
 *
 * @returns Id → the key of the first change that lists it: later ones are of groups. An empty text stands for any key: the
 *   database may have stored bytes that are no text, of which the row's key has not all.
 */
export function keysOfRows(changes: readonly PlacedRows[]): Map<number, string> {
  const keys = new Map<number, string>();
  for (const { key, rows } of changes) {
    for (const id of rows) if (!keys.has(id)) keys.set(id, key.includes("\u{FFFD}") ? "" : key);
  }
  return keys;
}

/**
 * The id of a row of the outbox, and the key that it must have: an empty text for none, and `null` for any, where what was
 * read may not be all that the database has.
 */
export function idAndKey({ id, key }: OutboxRow): readonly [id: number, key: string | null] {
  const name = key ?? "";
  return [id, typeof name === "string" && !/[\0\u{FFFD}]/u.test(name) ? name : null];
}

/** What every merge has in common. */
interface MergeCondition {
  /** The dot of the node that must be stored; `null` where none may be. */
  readonly replaces: Dot | null;
}

/** A node of another storage, to be written with its own version and dot. */
export interface PlacedReplica extends PlacedFields, MergeCondition {
  readonly kind: "replica";
  /** Its version. */
  readonly version: number;
  /** Its dot. */
  readonly dot: Dot;
}

/** A change of this storage's own that replaces the node of another storage. */
export interface PlacedOwnChange extends PlacedChange, MergeCondition {
  readonly kind: "own";
}

/** A row of a merge. */
export type PlacedMerge = PlacedReplica | PlacedOwnChange;

/** How a merge moves the counter. */
export interface MergeBounds extends Numbering {
  /** The counter becomes at least this. Changes of this storage's own get versions above it. */
  readonly floor: number;
  /** The highest offset of a change of this storage's own; 0 without any. */
  readonly total: number;
  /** The lowest version of a replica; 2^53 − 1 without any. */
  readonly lowest: number;
  /** The highest version of a replica; 0 without any. */
  readonly highest: number;
  /** The marks of the replicas' keys. They go into `recent` if a replica lies at or below the highest visible version. */
  readonly marks: string;
  /** The text that the column `mesh` must still have for a node to be added where none is stored; `null` for any text. */
  readonly mesh: string | null;
}

/**
 * Places merges above the counter.
 *
 * @param merges What to write.
 * @param numbering How the storage numbers changes.
 * @param expiresAt Until when a tombstone that is written now is kept.
 */
export function placeMerges(
  merges: readonly NodeMerge[],
  numbering: Numbering,
  expiresAt: number,
): { readonly placed: PlacedMerge[]; readonly bounds: Omit<MergeBounds, "mesh"> } {
  let [floor, total, lowest, highest] = [0, 0, Number.MAX_SAFE_INTEGER, 0];
  const replicaKeys: string[] = [];
  const placed = merges.map(({ node, above = 0, replaces }): PlacedMerge => {
    const { key, hash, updatedAt, deleted } = node;
    const fields = { key, hash, updatedAt, expiresAt: deleted ? expiresAt : null, replaces };
    if ("replicaId" in node) {
      const { version, dotVersion, replicaId } = node;
      floor = Math.max(floor, version, dotVersion);
      lowest = Math.min(lowest, version);
      highest = Math.max(highest, version);
      replicaKeys.push(key);
      return { kind: "replica", ...fields, version, dot: { version: dotVersion, replicaId } };
    }
    floor = Math.max(floor, above, numbering.floor);
    total += numbering.step;
    return { kind: "own", ...fields, offset: total };
  });
  const bounds = { floor, step: numbering.step, total, lowest, highest, marks: marksOf(replicaKeys) };
  return { placed, bounds };
}

/**
 * The meta that a merge becomes once it is written.
 *
 * @param base What the offsets of own changes are added to.
 */
export function mergedMeta(merge: PlacedMerge, base: number): RealityNodeMeta {
  const { key, hash, updatedAt, expiresAt } = merge;
  const version = merge.kind === "own" ? base + merge.offset : merge.version;
  const meta: RealityNodeMeta = { key, version, hash, updatedAt };
  if (expiresAt !== null) meta.deleted = true;
  return meta;
}
