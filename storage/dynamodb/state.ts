/**
 * The counter's item of a DynamoDB table: what it tells, and what it tells after a commit. Pure.
 *
 * @module
 */
import { lateEntry, markOf } from "../../src/store/history.ts";
import { utf8Length } from "../../src/store/node.ts";
import { joinVectors, type ReplicatedNode, type VersionVector } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";

/**
 * A node, or a tombstone that has a moment after which it may be forgotten. Whatever is left out is as it is for
 * a change that was made here and took the next version: most are.
 */
export interface NewNode extends RealityNodeMeta {
  /** The origin of its stamp, where it was taken from another storage. */
  readonly replicaId?: string;
  /** The stamp's number, where it is not the version. */
  readonly dotVersion?: number;
  /** Its place in the index, where that is not the stamp's number. */
  readonly place?: number;
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
export interface ExpiringTombstones {
  /** That moment, in seconds since 1970. */
  readonly until: number;
  /** The highest version among them. */
  readonly version: number;
  /** Origin → the highest stamp among them. */
  readonly stamps: VersionVector;
}

/** Nodes that do not lie at their version in the index, but above it. */
export interface DisplacedNodes {
  /** The lowest version that one of them has. */
  readonly version: number;
  /** The highest place at which one of them lies. */
  readonly place: number;
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
  /** The highest version among tombstones swept so far. */
  readonly collectedVersion: number;
  /** Origin → the highest stamp among tombstones swept so far. */
  readonly collected: VersionVector;
  /** The highest visible stamp of this storage's own. */
  readonly maxStamp: number;
  /**
   * Origin → the highest stamp that was taken in. For the own origin: the highest of which others may have been
   * told, by this storage in a state that it was set back from.
   */
  readonly vector: VersionVector;
  /** The nodes that lie elsewhere than at their version, as few stretches, lowest places first. */
  readonly strays: readonly DisplacedNodes[];
  /** How many nodes came with a version already passed. */
  readonly late: number;
  /** The last commits without a gap, the newest last. */
  readonly commits: readonly Commit[];
  /** When which tombstones may be swept. */
  readonly graves: readonly ExpiringTombstones[];
  /** The process whose turn it is to commit, if one has asked for it. */
  readonly turn?: string | undefined;
}

/** What a commit changes. */
export interface Draft {
  /** The nodes as they will be. */
  readonly nodes: readonly NewNode[];
  /** The last version given, then. */
  readonly counter: number;
  /** The number with which another residue is drawn, if one is. No node has it. */
  readonly drawn?: number;
  /** What was taken in, if that is told. */
  readonly vector?: VersionVector;
  /** What was swept elsewhere, if that is told. */
  readonly collected?: VersionVector;
  /** The epoch, if it is another one. */
  readonly epoch?: string;
  /** The origin, if it is another one: then nothing counts as seen but what is here. */
  readonly replicaId?: string;
}

/**
 * DynamoDB takes expired items away when it likes. It is told to wait this much longer, in seconds, ...
 */
export const TTL_DELAY = 86_400;

/** ... and whoever reads so much later that nobody has written since, in seconds, takes the tombstone for swept. */
const TTL_GUARD = TTL_DELAY / 2;

/** So many tombstone moments at most lie ahead. */
const GRAVES = 8;

/** So many stretches of strays are told apart. */
const STRAYS = 8;

/**
 * Each of the storages that ever stood beside this one takes some 30 bytes of the counter's item, twice where it
 * deleted something, and DynamoDB takes 400 KB.
 */
export const MAX_ORIGINS = 2000;

/**
 * The text of the last commits may be so long, in bytes: then the whole item keeps below 1 KB, the unit in
 * which DynamoDB counts what is written, and telling of them costs nothing.
 */
export const MAX_COMMITS_TEXT = 512;

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
    maxStamp: Math.max(counter, drawn),
    vector: new Map(),
    strays: counter === 0 ? [] : [{ version: 1, place: counter }],
    late: 0,
    commits: [],
    graves: [],
  };
}

/** The number of a node's stamp. */
export function stampOf({ dotVersion, version }: NewNode): number {
  return dotVersion ?? version;
}

/**
 * Where a node lies in the index: at its stamp or above, and never below a place that its key had before. So
 * whoever goes up the index meets every key that was there when they began.
 */
export function placeOf(node: NewNode): number {
  return node.place ?? stampOf(node);
}

/** The node as it lies in the index in the place of another one of its key. */
export function inPlaceOf(node: NewNode, other: NewNode | undefined): NewNode {
  const place = other === undefined ? 0 : placeOf(other);
  return place > stampOf(node) ? { ...node, place } : node;
}

/** Whether this state tells of every commit after that one. */
export function tellsSince(state: State, earlier: State): boolean {
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

/** What was taken in as of a state, and can be told: of its own, all that is visible. */
export function seenOf({ vector, replicaId, maxStamp }: State): Map<string, number> {
  return new Map(vector).set(replicaId, maxStamp);
}

/** The highest number of its own that others may have been told as seen: nothing may be published below it. */
export function toldStamp({ vector, replicaId, maxStamp }: State): number {
  return Math.max(maxStamp, vector.get(replicaId) ?? 0);
}

/**
 * Up to which version everything is known when the index was read up to this place: some of what lies above may
 * have a lower version.
 */
export function completeTo({ strays }: State, place: number): number {
  return strays.reduce((end, stray) => stray.place > place ? Math.min(end, stray.version - 1) : end, place);
}

/** Whether this state tells of every node with a stamp above this one. */
export function tellsStampsAfter(state: State, dotVersion: number): boolean {
  return tellsAfter(state, dotVersion) && state.strays.every(({ place }) => place <= dotVersion);
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
export function isCollected(
  node: NewNode,
  { collectedVersion, collected, replicaId }: State,
  now: number,
): boolean {
  return node.deleted === true && node.until !== undefined && node.version <= collectedVersion &&
    stampOf(node) <= (collected.get(node.replicaId ?? replicaId) ?? 0) && node.until * 1000 <= now;
}

/** The highest version among tombstones that are gone, or may be. */
export function collectedVersionAt(state: State, now: number): number {
  let collected = state.collectedVersion;
  for (const { until, version } of state.graves) {
    if ((until + TTL_GUARD) * 1000 <= now) collected = Math.max(collected, version);
  }
  return collected;
}

/** For each origin the highest stamp among tombstones that are gone, or may be. */
export function collectedAt(state: State, now: number): Map<string, number> {
  let collected = new Map(state.collected);
  for (const { until, stamps } of state.graves) {
    if ((until + TTL_GUARD) * 1000 <= now) collected = joinVectors(collected, stamps);
  }
  return collected;
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
  let [{ late, maxStamp, strays }, maxVersion] = [state, before];
  const replicaId = draft.replicaId ?? state.replicaId;
  let vector = draft.vector ? joinVectors(state.vector, draft.vector) : state.vector;
  if (draft.replicaId !== undefined) vector = new Map();
  for (const node of draft.nodes) {
    if (node.version <= before) late++;
    maxVersion = Math.max(maxVersion, node.version);
    if (placeOf(node) !== node.version) {
      strays = addStray(strays, { version: node.version, place: placeOf(node) });
    }
    if (node.replicaId === undefined) maxStamp = Math.max(maxStamp, stampOf(node));
    // One of its own comes back, so it was set back to an earlier state.
    else if (node.replicaId === replicaId) {
      vector = joinVectors(vector, new Map([[replicaId, stampOf(node)]]));
    }
  }
  maxStamp = Math.max(maxStamp, draft.drawn ?? 0);
  // What it tells by itself need not be kept twice.
  if ((vector.get(replicaId) ?? Infinity) <= maxStamp) {
    vector = new Map([...vector].filter(([other]) => other !== replicaId));
  }
  const revision = state.revision + 1;
  return {
    epoch: draft.epoch ?? state.epoch,
    replicaId,
    revision,
    counter: draft.counter,
    drawn: draft.drawn ?? state.drawn,
    maxVersion,
    maxStamp,
    vector,
    strays,
    late,
    commits: [...state.commits, {
      revision,
      before,
      nodes: draft.nodes.map((node) => ({ ...node, revision })),
    }],
    ...dig(rename(state, replicaId), draft, now),
  };
}

/** The state with what is told of its own tombstones told of the same under another origin. */
function rename(state: State, replicaId: string): State {
  if (replicaId === state.replicaId) return state;
  const copy = (stamps: VersionVector): VersionVector => {
    const dotVersion = stamps.get(state.replicaId);
    return dotVersion === undefined ? stamps : new Map(stamps).set(replicaId, dotVersion);
  };
  const graves = state.graves.map((grave) => ({ ...grave, stamps: copy(grave.stamps) }));
  return { ...state, replicaId, collected: copy(state.collected), graves };
}

/** What is swept, and which tombstones are to be. */
function dig(
  state: State,
  draft: Draft,
  now: number,
): Pick<State, "collectedVersion" | "collected" | "graves"> {
  const graves = new Map(state.graves.map((grave) => [grave.until, grave]));
  for (const node of draft.nodes) {
    const { version, until, replicaId = state.replicaId } = node;
    if (until === undefined) continue;
    const grave = graves.get(until) ?? { until, version, stamps: new Map() };
    graves.set(until, {
      until,
      version: Math.max(grave.version, version),
      stamps: joinVectors(grave.stamps, new Map([[replicaId, stampOf(node)]])),
    });
  }
  let { collectedVersion } = state;
  let collected = draft.collected ? joinVectors(state.collected, draft.collected) : state.collected;
  for (const grave of state.graves) {
    if (grave.until * 1000 > now) continue;
    collectedVersion = Math.max(collectedVersion, grave.version);
    collected = joinVectors(collected, grave.stamps);
    // A tombstone of this commit with the same moment waits for the next one.
    if (graves.get(grave.until) === grave) graves.delete(grave.until);
  }
  return { collectedVersion, collected, graves: [...graves.values()] };
}

/** Few stretches that hold all strays: the lowest places, which are looked for least, are told apart least. */
function addStray(strays: readonly DisplacedNodes[], stray: DisplacedNodes): readonly DisplacedNodes[] {
  if (strays.some(({ version, place }) => version <= stray.version && place >= stray.place)) return strays;
  const all = [...strays, stray].sort((a, b) => a.place - b.place);
  const [first, second, ...rest] = all;
  if (all.length <= STRAYS || !first || !second) return all;
  return [{ version: Math.min(first.version, second.version), place: second.place }, ...rest];
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
    nodes.map(({ key, version, hash, updatedAt, deleted, until, dotVersion, replicaId, place }) => {
      const more = [deleted ? until ?? 0 : null, dotVersion ?? null, replicaId ?? null, place ?? null];
      while (more.at(-1) === null) more.pop();
      return [key, version, hash, updatedAt, ...more];
    }),
  ]));
}

/** A node in the text of commits; what is left out at its end, or null, is not there. */
type NodeText = [
  string,
  number,
  string,
  number,
  (number | null)?,
  (number | null)?,
  (string | null)?,
  number?,
];

/** Commits from their text. */
export function parseCommits(text: string): Commit[] {
  const commits = JSON.parse(text) as [number, number, NodeText[]][];
  return commits.map(([revision, before, nodes]) => ({
    revision,
    before,
    nodes: nodes.map(([key, version, hash, updatedAt, until, dotVersion, replicaId, place]) => ({
      ...toNode({ key, version, hash, updatedAt }, until ?? undefined),
      ...toTrace(version, { dotVersion, replicaId, place }),
      revision,
    })),
  }));
}

/** What a node keeps of its stamp and its place: only what its version does not say. */
export function toTrace(
  version: number,
  trace: {
    readonly dotVersion?: number | null | undefined;
    readonly replicaId?: string | null | undefined;
    readonly place?: number | null | undefined;
  },
): Pick<NewNode, "dotVersion" | "replicaId" | "place"> {
  const dotVersion = trace.dotVersion ?? version;
  const place = trace.place ?? dotVersion;
  return {
    ...(dotVersion === version ? {} : { dotVersion }),
    ...(trace.replicaId ? { replicaId: trace.replicaId } : {}),
    ...(place === dotVersion ? {} : { place }),
  };
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

/** A node as other storages get it. */
export function toStamped(node: NewNode, own: string): ReplicatedNode {
  return { ...toMeta(node), replicaId: node.replicaId ?? own, dotVersion: stampOf(node) };
}
