/**
 * Readings of one storage compared: whether one is of the history of the other, and what came in between. Pure.
 *
 * @module
 */
import type { StorageIdentity, StorageMoment } from "./contract.ts";

/** How much of {@linkcode StorageMoment.recent} is kept, in characters: 15 commits at least, mostly some 50. */
export const MAX_RECENT_LENGTH = 240;

/** A commit that publishes more keys than this below the counter does not name them. */
const MAX_MARKED = 16;

/** How many marks there are: two characters of base 36. */
const MARKS = 36 * 36;

/** After so many commits that publish something below the counter their numbers begin anew. */
export const LATE_CYCLE = 1000;

/** A counter, and the steps by which it came to where it is. */
export interface HistoryMoment {
  /** As {@linkcode StorageMoment.maxVersion}. */
  readonly maxVersion: number;
  /** As {@linkcode StorageMoment.recent}. */
  readonly recent?: string | undefined;
}

/** What names a run of history. */
export type HistoryRun = Pick<StorageMoment, "epoch" | "replicaId" | "late">;

/** Whether two moments lie in one run of one storage's history: what came between them is what came above. */
export function isSameHistory(one: HistoryRun, other: HistoryRun): boolean {
  return one.epoch === other.epoch && one.replicaId === other.replicaId && one.late === other.late;
}

/** Whether two moments are of one life of the data: the same epoch, and the same storage. */
export function isSameData(one: StorageIdentity, other: StorageIdentity): boolean {
  return one.epoch === other.epoch && one.replicaId === other.replicaId;
}

/**
 * Whether a counter that was read earlier is one that this history had. If it is, all that was read then is what this
 * history had as well, since no number is given twice. If not, either the data was brought back from an older copy, or
 * the counter was read too many commits ago to be told: what was read then may be wrong.
 *
 * @param moment How the storage stands now.
 * @param position The counter as it was read, of the same epoch and origin.
 */
export function isConfirmed({ maxVersion, recent }: HistoryMoment, position: number): boolean {
  if (position === maxVersion) return true;
  if (position > maxVersion || recent === undefined) return position < maxVersion;
  let counter = maxVersion;
  for (const entry of newestFirst(recent)) {
    if (entry.startsWith(",")) counter -= Number(entry.slice(1));
    if (counter <= position) break;
  }
  return counter === position;
}

/** The mark of a key: two characters that it shares with one in 1,296 others. */
export function markOf(key: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return ((hash >>> 0) % MARKS).toString(36).padStart(2, "0");
}

/** The marks of keys that a commit publishes below the counter; empty where it may be any key. */
export function marksOf(keys: readonly string[]): string {
  return keys.length > MAX_MARKED ? "" : keys.map(markOf).join("");
}

/**
 * What `recent` says of a commit that publishes something below the counter.
 *
 * @param late `late` once it has.
 * @param marks Those of the keys.
 */
export function lateEntry(late: number, marks: string): string {
  return `;${late % LATE_CYCLE}:${marks}`;
}

/**
 * The marks of the keys that were published below the counter since an earlier moment of the same life of the data;
 * `null` where it may be any key.
 *
 * @param moment How the storage stands now.
 * @param late `late` of the earlier moment.
 */
export function lateMarksSince(
  { late: now, recent = "" }: StorageMoment,
  late: number,
): ReadonlySet<string> | null {
  const marks = new Set<string>();
  let missing = now - late;
  if (missing === 0) return marks;
  if (missing < 0) return null;
  for (const entry of newestFirst(recent)) {
    if (!entry.startsWith(";")) continue;
    // A server of an older version counts what it publishes, and does not mark it.
    const head = lateEntry(late + missing, "");
    if (!entry.startsWith(head) || entry === head) return null;
    for (let i = head.length; i < entry.length; i += 2) marks.add(entry.slice(i, i + 2));
    if (--missing === 0) return marks;
  }
  return null;
}

/** The entries of a `recent`; what stands before the first separator is the rest of one that was cut off. */
function* newestFirst(recent: string): Generator<string> {
  for (let end = recent.length; end > 0;) {
    const start = Math.max(recent.lastIndexOf(",", end - 1), recent.lastIndexOf(";", end - 1));
    if (start === -1) return;
    yield recent.slice(start, end);
    end = start;
  }
}

/**
 * The later of two moments of one life of the data; `null` if the earlier one is not known to be in its history.
 *
 * @param one A moment; `null` for one that is not known.
 * @param other The same; left out for none.
 */
export function laterOf(one: HistoryMoment | null, other: HistoryMoment | null = one): HistoryMoment | null {
  if (one === null || other === null) return null;
  const [earlier, later] = one.maxVersion < other.maxVersion ? [one, other] : [other, one];
  return isConfirmed(later, earlier.maxVersion) ? later : null;
}
