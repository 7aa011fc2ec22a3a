/**
 * The state that the counter's item of a DynamoDB table holds. Pure.
 *
 * @module
 */
import type { VersionVector } from "../../src/store/contract.ts";
import { lateEntry, markOf } from "../../src/store/history.ts";
import type { Commit } from "./commits.ts";

/** Tombstones that expire at the same time. */
export interface ExpiringTombstones {
  /** That moment, in seconds since 1970. */
  readonly until: number;
  /** The highest version among them. */
  readonly version: number;
  /** Replica id → the highest dot version among them. */
  readonly vector: VersionVector;
}

/** A range of nodes whose index positions are above their versions. */
export interface DisplacedRange {
  /** The lowest version that one of them has. */
  readonly version: number;
  /** The highest index position of one of them. */
  readonly indexPosition: number;
}

/** What the counter's item tells. */
export interface State {
  readonly epoch: string;
  readonly replicaId: string;
  /** How many commits there were. */
  readonly revision: number;
  /** The last version given. */
  readonly counter: number;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  readonly drawn: number;
  /** The highest visible version. */
  readonly maxVersion: number;
  /** The highest version among collected tombstones. */
  readonly collectedVersion: number;
  /** Replica id → the highest dot version among collected tombstones. */
  readonly collected: VersionVector;
  /** The highest visible version of an own dot. */
  readonly maxDotVersion: number;
  /**
   * Origin → the highest stamp that was taken in. For the own origin: the highest of which others may have been
   * told, by this storage in a state that it was set back from.
   */
  readonly vector: VersionVector;
  /** The nodes whose index positions are not their versions, as few ranges, lowest positions first. */
  readonly displaced: readonly DisplacedRange[];
  /** How many nodes were published below the counter. */
  readonly late: number;
  /** The last commits without a gap, the newest last. */
  readonly commits: readonly Commit[];
  /** When which tombstones expire. */
  readonly expiring: readonly ExpiringTombstones[];
  /** The process whose turn it is to commit, if one has asked for it. */
  readonly turn?: string | undefined;
}

/**
 * Each of the storages that ever stood beside this one takes some 30 bytes of the counter's item, twice where it
 * deleted something, and DynamoDB takes 400 KB.
 */
export const MAX_REPLICAS = 2000;

/**
 * A storage on which nothing was written yet.
 *
 * @param names Its names.
 * @param counter The highest place of any node that is there all the same, since the item was taken away.
 * @param drawn The number with which its residue is drawn, above that place; 0 for none.
 */
export function createState(
  names: { epoch: string; replicaId: string },
  counter: number,
  drawn: number = 0,
): State {
  return {
    ...names,
    revision: 0,
    counter: Math.max(counter, drawn),
    drawn,
    maxVersion: counter,
    collectedVersion: 0,
    collected: new Map(),
    maxDotVersion: Math.max(counter, drawn),
    vector: new Map(),
    displaced: counter === 0 ? [] : [{ version: 1, indexPosition: counter }],
    late: 0,
    commits: [],
    expiring: [],
  };
}

/** Whether the item contains every commit after an earlier state. */
export function containsCommitsSince(state: State, earlier: State): boolean {
  if (state.replicaId !== earlier.replicaId || state.revision < earlier.revision) return false;
  if (state.revision === earlier.revision) return state.maxVersion === earlier.maxVersion;
  // In a table that was set back to an earlier state, another commit than the one that was read has its place.
  const next = state.commits.find(({ revision }) => revision === earlier.revision + 1);
  return next?.before === earlier.maxVersion;
}

/** What the last commits did to the history, as `StorageMoment.recent` has it. */
export function recentAt({ commits, maxVersion, late }: State): string {
  let text = "";
  let [end, number] = [maxVersion, late];
  for (const { before, nodes } of commits.toReversed()) {
    if (end > before) text = `,${end - before}${text}`;
    end = before;
    // Each of them was counted by itself.
    for (const { key, version } of nodes) {
      if (version <= before) text = lateEntry(number--, markOf(key)) + text;
    }
  }
  return text;
}

/** The version vector of a state: its own entry includes all visible dots. */
export function vectorOf({ vector, replicaId, maxDotVersion }: State): Map<string, number> {
  return new Map(vector).set(replicaId, maxDotVersion);
}

/** The highest own dot version that others may know. Nothing may be published at or below it. */
export function maxReportedDot({ vector, replicaId, maxDotVersion }: State): number {
  return Math.max(maxDotVersion, vector.get(replicaId) ?? 0);
}

/**
 * Up to which version everything is known when the index was read up to this place: some of what lies above may
 * have a lower version.
 */
export function completeTo({ displaced }: State, indexPosition: number): number {
  return displaced.reduce(
    (end, range) => range.indexPosition > indexPosition ? Math.min(end, range.version - 1) : end,
    indexPosition,
  );
}

/** Whether the item's commits contain every node with a dot version above this one. */
export function containsDotsAfter(state: State, dotVersion: number): boolean {
  return containsVersionsAfter(state, dotVersion) &&
    state.displaced.every(({ indexPosition }) => indexPosition <= dotVersion);
}

/** Whether the item's commits contain every node with a version above this one. */
export function containsVersionsAfter(state: State, version: number): boolean {
  return version >= state.maxVersion || (state.commits[0]?.before ?? Infinity) <= version;
}

/** Whether one state of the same storage was there after the other. */
export function isLater(state: State, other: State): boolean {
  return state.revision > other.revision ||
    (state.revision === other.revision && state.counter >= other.counter);
}
