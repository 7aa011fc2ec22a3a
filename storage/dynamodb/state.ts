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

/** The contents of the counter's item. */
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
   * Replica id → the highest dot version that was merged. For the own replica id: the highest dot version that other
   * storages may know from a state that this storage was set back from.
   */
  readonly vector: VersionVector;
  /** Entries of the version vector that were forgotten. Left out: none. */
  readonly forgotten?: VersionVector;
  /** The nodes whose index positions are not their versions, as few ranges, lowest positions first. */
  readonly displaced: readonly DisplacedRange[];
  /** How many nodes were published below the counter. */
  readonly late: number;
  /** The last commits without a gap, the newest last. */
  readonly commits: readonly Commit[];
  /** When which tombstones expire. */
  readonly expiring: readonly ExpiringTombstones[];
  /** The process whose turn it is to commit, if one asked for it. */
  readonly turn?: string | undefined;
}

/**
 * The most replica ids. Each storage that was ever part of the mesh takes about 30 bytes of the counter's item, and
 * twice as much if it deleted something. An item of DynamoDB has at most 400 KB.
 */
export const MAX_REPLICAS = 2000;

/**
 * The state of a new storage.
 *
 * @param names Its epoch and replica id.
 * @param counter The highest index position of a stored node, if the counter's item was deleted; 0 in an empty table.
 * @param drawn The number above it with which the residue is drawn; 0 for none.
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
  // If the table was set back, another commit may have the same revision as the one that was read.
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
    // Each of them raised `late` by one.
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
 * The version up to which all nodes are known when the index was read up to this position. Nodes at higher positions
 * may have lower versions.
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

/** Whether a state of a storage is later than, or the same as, another one of that storage. */
export function isLater(state: State, other: State): boolean {
  return state.revision > other.revision ||
    (state.revision === other.revision && state.counter >= other.counter);
}
