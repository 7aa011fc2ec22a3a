/**
 * The counter's item of a DynamoDB table: what it tells, and what it tells after a commit. Pure.
 *
 * @module
 */
import { utf8Length } from "../src/node.ts";
import type { RealityNodeMeta } from "../src/types.ts";

/** A node, or a tombstone that has a moment after which it may be forgotten. */
export interface NewNode extends RealityNodeMeta {
  /** For a tombstone that is not kept for ever: that moment, in seconds since 1970. */
  readonly until?: number;
}

/** The same, as some commit wrote it. Of several of one key the one of the latest commit counts. */
export interface StoredNode extends NewNode {
  /** The commit's place in the order of all commits. */
  readonly revision: number;
}

/** One step that was committed: the nodes that it wrote. */
export interface Commit {
  /** Its place in the order of all commits. */
  readonly revision: number;
  /** The highest visible version before it. */
  readonly before: number;
  /** What it wrote. */
  readonly nodes: readonly StoredNode[];
}

/** Tombstones whose time is over at the same moment. */
export interface Grave {
  /** That moment, in seconds since 1970. */
  readonly until: number;
  /** The highest version among them. */
  readonly version: number;
}

/** What the counter's item tells. */
export interface State {
  readonly epoch: string;
  readonly origin: string;
  /** How many commits there were. */
  readonly revision: number;
  /** The last version given. */
  readonly counter: number;
  /** The highest visible version. */
  readonly maxVersion: number;
  /** The highest version among tombstones swept so far. */
  readonly sweptVersion: number;
  /** How many nodes came with a version already passed. */
  readonly late: number;
  /** The last commits without a gap, the newest last. */
  readonly commits: readonly Commit[];
  /** When which tombstones may be swept. */
  readonly graves: readonly Grave[];
  /** The process whose turn it is to commit, if one has asked for it. */
  readonly turn?: string | undefined;
}

/** What a commit changes. */
export interface Draft {
  /** The nodes as they will be. */
  readonly nodes: readonly NewNode[];
  /** The last version given, then. */
  readonly counter: number;
}

/**
 * DynamoDB takes expired items away when it likes. It is told to wait this much longer, in seconds, ...
 */
export const TTL_DELAY = 86_400;

/** ... and whoever reads so much later that nobody has written since, in seconds, takes the tombstone for swept. */
const TTL_GUARD = TTL_DELAY / 2;

/** So many tombstone moments at most lie ahead. */
const GRAVES = 8;

/**
 * The text of the last commits may be so long, in bytes: then the whole item keeps below 1 KB, the unit in
 * which DynamoDB counts what is written, and telling of them costs nothing.
 */
export const MAX_COMMITS_TEXT = 512;

/** A storage on which nothing was written yet. */
export function createState(names: { epoch: string; origin: string }, counter: number): State {
  return {
    ...names,
    revision: 0,
    counter,
    maxVersion: counter,
    sweptVersion: 0,
    late: 0,
    commits: [],
    graves: [],
  };
}

/** Whether this state tells of every commit after that one. */
export function tellsSince(state: State, earlier: State): boolean {
  return state.epoch === earlier.epoch && state.revision >= earlier.revision &&
    state.revision - state.commits.length <= earlier.revision;
}

/** Whether this state tells of every node with a version above this one. */
export function tellsAfter(state: State, version: number): boolean {
  return version >= state.maxVersion || (state.commits[0]?.before ?? Infinity) <= version;
}

/** Whether one state of the same storage was there after the other. */
export function isLater(state: State, other: State): boolean {
  return state.revision > other.revision ||
    (state.revision === other.revision && state.counter >= other.counter);
}

/** When a tombstone that is made now may be forgotten, in seconds since 1970; `undefined` for never. */
export function untilWhen(now: number, timeout: number): number | undefined {
  if (timeout === Infinity) return undefined;
  // Moments are rounded up, so that however many tombstones there are, few moments have to be remembered.
  const step = Math.max(1, Math.floor(timeout / 1000 / GRAVES));
  const until = Math.ceil((now + timeout) / 1000 / step) * step;
  return Math.min(until, Number.MAX_SAFE_INTEGER - TTL_DELAY);
}

/** Whether this is a tombstone that counts as forgotten. */
export function isSwept(node: NewNode, sweptVersion: number, now: number): boolean {
  return node.deleted === true && node.until !== undefined && node.version <= sweptVersion &&
    node.until * 1000 <= now;
}

/** The highest version among tombstones that are gone, or may be. */
export function sweptVersionAt(state: State, now: number): number {
  let swept = state.sweptVersion;
  for (const { until, version } of state.graves) {
    if ((until + TTL_GUARD) * 1000 <= now) swept = Math.max(swept, version);
  }
  return swept;
}

/**
 * The state after a commit.
 *
 * @param state The state before it.
 * @param draft What it changes.
 * @param now Milliseconds since 1970; tombstones whose time is over are swept.
 */
export function nextState(state: State, draft: Draft, now: number): State {
  const before = state.maxVersion;
  const graves = new Map(state.graves.map(({ until, version }) => [until, version]));
  let [{ sweptVersion, late }, maxVersion] = [state, before];
  for (const { version, until } of draft.nodes) {
    if (version <= before) late++;
    maxVersion = Math.max(maxVersion, version);
    if (until !== undefined) graves.set(until, Math.max(graves.get(until) ?? 0, version));
  }
  for (const [until, version] of state.graves.map((grave) => [grave.until, grave.version] as const)) {
    if (until * 1000 > now) continue;
    sweptVersion = Math.max(sweptVersion, version);
    // A tombstone of this commit with the same moment waits for the next one.
    if (graves.get(until) === version) graves.delete(until);
  }
  const revision = state.revision + 1;
  return {
    epoch: state.epoch,
    origin: state.origin,
    revision,
    counter: draft.counter,
    maxVersion,
    sweptVersion,
    late,
    commits: [...state.commits, {
      revision,
      before,
      nodes: draft.nodes.map((node) => ({ ...node, revision })),
    }],
    graves: [...graves].map(([until, version]) => ({ until, version })),
  };
}

/**
 * The state with as few commits as it should tell of: the last one; those before it while they fit; and all
 * from the first one on that may not be visible in every row yet.
 *
 * @param state With all commits.
 * @param isSettled Whether all that a commit wrote is visible for certain.
 * @returns The state, and the commits that would not be in it if they were settled.
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

/** Commits as text. */
export function formatCommits(commits: readonly Commit[]): string {
  return JSON.stringify(commits.map(({ revision, before, nodes }) => [
    revision,
    before,
    nodes.map(({ key, version, hash, updatedAt, deleted, until }) => {
      const node: (string | number)[] = [key, version, hash, updatedAt];
      if (deleted) node.push(until ?? 0);
      return node;
    }),
  ]));
}

/** Commits from their text. */
export function parseCommits(text: string): Commit[] {
  const commits = JSON.parse(text) as [number, number, [string, number, string, number, number?][]][];
  return commits.map(([revision, before, nodes]) => ({
    revision,
    before,
    nodes: nodes.map(([key, version, hash, updatedAt, until]) => ({
      ...toNode({ key, version, hash, updatedAt }, until),
      revision,
    })),
  }));
}

/** A node as stored: `until` is left out for a node, and 0 for a tombstone that is kept for ever. */
export function toNode(meta: RealityNodeMeta, until: number | undefined): NewNode {
  if (until === undefined) return meta;
  return until === 0 ? { ...meta, deleted: true } : { ...meta, deleted: true, until };
}

/** A node as the caller gets it. */
export function toMeta({ key, version, hash, updatedAt, deleted }: RealityNodeMeta): RealityNodeMeta {
  const meta: RealityNodeMeta = { key, version, hash, updatedAt };
  if (deleted) meta.deleted = true;
  return meta;
}
