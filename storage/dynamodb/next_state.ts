/**
 * The state of the counter's item after a commit. Pure.
 *
 * @module
 */
import { joinVectors, type VersionVector } from "../../src/store/contract.ts";
import { utf8Length } from "../../src/store/node.ts";
import { type Commit, formatCommits, MAX_COMMITS_TEXT } from "./commits.ts";
import type { DisplacedRange, ExpiringTombstones, State } from "./state.ts";
import { dotVersionOf, indexPositionOf, type NewNode } from "./stored_node.ts";

/** What a commit changes. */
export interface Draft {
  /** The nodes after the commit. */
  readonly nodes: readonly NewNode[];
  /** The last version given, after the commit. */
  readonly counter: number;
  /** The number with which another residue is drawn, if one is. No node has it. */
  readonly drawn?: number;
  /** The version vector to join, of another storage. */
  readonly vector?: VersionVector;
  /** The collected tombstones of another storage. */
  readonly collected?: VersionVector;
  /** The replicas to forget, if there are any. */
  readonly forgetting?: {
    readonly replicaIds: ReadonlySet<string>;
    /** The own dot version that stands for their collected tombstones. */
    readonly dotVersion: number;
    /** The forgotten entries after the commit. */
    readonly forgotten: VersionVector | undefined;
  };
  /** The new epoch, if it changes. */
  readonly epoch?: string;
  /** The new replica id, if it changes. The version vector is then emptied. */
  readonly replicaId?: string;
}

/** The most ranges of displaced nodes. */
const MAX_DISPLACED = 8;

/**
 * The state after a commit.
 *
 * @param state The state before it.
 * @param draft What it changes.
 * @param now Milliseconds since 1970; expired tombstones are collected.
 */
export function nextState(state: State, draft: Draft, now: number): State {
  const before = state.maxVersion;
  let [{ late, maxDotVersion, displaced }, maxVersion] = [state, before];
  const replicaId = draft.replicaId ?? state.replicaId;
  let vector = draft.vector ? joinVectors(state.vector, draft.vector) : state.vector;
  if (draft.replicaId !== undefined) vector = new Map();
  for (const node of draft.nodes) {
    if (node.version <= before) late++;
    maxVersion = Math.max(maxVersion, node.version);
    if (indexPositionOf(node) !== node.version) {
      displaced = addDisplaced(displaced, { version: node.version, indexPosition: indexPositionOf(node) });
    }
    if (node.replicaId === undefined) maxDotVersion = Math.max(maxDotVersion, dotVersionOf(node));
    // A node of its own comes from another storage, so this storage was set back to an earlier state.
    else if (node.replicaId === replicaId) {
      vector = joinVectors(vector, new Map([[replicaId, dotVersionOf(node)]]));
    }
  }
  maxDotVersion = Math.max(maxDotVersion, draft.drawn ?? 0);
  // `maxDotVersion` includes it already.
  if ((vector.get(replicaId) ?? Infinity) <= maxDotVersion) {
    vector = new Map([...vector].filter(([other]) => other !== replicaId));
  }
  const { forgetting } = draft;
  if (forgetting) vector = new Map([...vector].filter(([other]) => !forgetting.replicaIds.has(other)));
  const forgotten = forgetting ? forgetting.forgotten : state.forgotten;
  const revision = state.revision + 1;
  return {
    epoch: draft.epoch ?? state.epoch,
    replicaId,
    revision,
    counter: draft.counter,
    drawn: draft.drawn ?? state.drawn,
    maxVersion,
    maxDotVersion,
    vector,
    ...(forgotten && draft.replicaId === undefined ? { forgotten } : {}),
    displaced,
    late,
    commits: [...state.commits, {
      revision,
      before,
      nodes: draft.nodes.map((node) => ({ ...node, revision })),
    }],
    ...collectExpired(forgetTombstones(rename(state, replicaId), draft), draft, now),
  };
}

/** The state with its own tombstones recorded under another replica id as well. */
function rename(state: State, replicaId: string): State {
  if (replicaId === state.replicaId) return state;
  const copy = (vector: VersionVector): VersionVector => {
    const dotVersion = vector.get(state.replicaId);
    return dotVersion === undefined ? vector : new Map(vector).set(replicaId, dotVersion);
  };
  const expiring = state.expiring.map((group): ExpiringTombstones => ({
    ...group,
    vector: copy(group.vector),
  }));
  return { ...state, replicaId, collected: copy(state.collected), expiring };
}

/** The state with the own replica in place of replicas that are forgotten, wherever tombstones are recorded. */
function forgetTombstones(state: State, { forgetting }: Draft): State {
  if (forgetting === undefined) return state;
  const { replicaIds, dotVersion } = forgetting;
  const replace = (vector: VersionVector): VersionVector => {
    const kept = new Map([...vector].filter(([replicaId]) => !replicaIds.has(replicaId)));
    return kept.size === vector.size ? vector : joinVectors(kept, new Map([[state.replicaId, dotVersion]]));
  };
  const expiring = state.expiring.map((group): ExpiringTombstones => ({
    ...group,
    vector: replace(group.vector),
  }));
  return { ...state, collected: replace(state.collected), expiring };
}

/** Which tombstones are collected, and which ones expire later. */
function collectExpired(
  state: State,
  draft: Draft,
  now: number,
): Pick<State, "collectedVersion" | "collected" | "expiring"> {
  const expiring = new Map(state.expiring.map((group) => [group.until, group]));
  for (const node of draft.nodes) {
    const { version, until, replicaId = state.replicaId } = node;
    if (until === undefined) continue;
    const group = expiring.get(until) ?? { until, version, vector: new Map() };
    expiring.set(until, {
      until,
      version: Math.max(group.version, version),
      vector: joinVectors(group.vector, new Map([[replicaId, dotVersionOf(node)]])),
    });
  }
  let { collectedVersion } = state;
  let collected = draft.collected ? joinVectors(state.collected, draft.collected) : state.collected;
  for (const group of state.expiring) {
    if (group.until * 1000 > now) continue;
    collectedVersion = Math.max(collectedVersion, group.version);
    collected = joinVectors(collected, group.vector);
    // A tombstone of this commit with the same moment waits for the next one.
    if (expiring.get(group.until) === group) expiring.delete(group.until);
  }
  return { collectedVersion, collected, expiring: [...expiring.values()] };
}

/** Adds a range. If there are too many, joins the two lowest, which are read least often. */
function addDisplaced(
  displaced: readonly DisplacedRange[],
  range: DisplacedRange,
): readonly DisplacedRange[] {
  if (
    displaced.some(({ version, indexPosition }) =>
      version <= range.version && indexPosition >= range.indexPosition
    )
  ) return displaced;
  const all = [...displaced, range].sort((a, b) => a.indexPosition - b.indexPosition);
  const [first, second, ...rest] = all;
  if (all.length <= MAX_DISPLACED || !first || !second) return all;
  return [{ version: Math.min(first.version, second.version), indexPosition: second.indexPosition }, ...rest];
}

/**
 * The state with fewer commits. It keeps the last commit, earlier ones while they fit, and all from the first commit
 * on whose rows may not be visible yet.
 *
 * @param state The state with all commits.
 * @param isSettled Whether all rows of a commit are known to be visible.
 * @returns The state, and the commits that it only keeps because their rows may not be visible.
 */
export function trimCommits(
  state: State,
  isSettled: (revision: number) => boolean,
): [State, readonly Commit[]] {
  const texts = state.commits.map((commit) => utf8Length(formatCommits([commit])));
  let total = texts.reduce((sum, length) => sum + length, 0);
  let first = 0;
  while (first < state.commits.length - 1 && total > MAX_COMMITS_TEXT) total -= texts[first++] ?? 0;
  const unsettled = state.commits.slice(0, first).filter(({ revision }) => !isSettled(revision));
  const from = unsettled[0] === undefined ? first : state.commits.indexOf(unsettled[0]);
  return [{ ...state, commits: state.commits.slice(from) }, unsettled];
}
