/**
 * Compares readings of one storage: whether they belong to the same history, and what happened between them. Pure.
 *
 * @module
 */
import type { StorageIdentity, StorageMoment } from "./contract.ts";

/** The maximum length of {@linkcode StorageMoment.recent} in characters: at least 15 commits, usually about 50. */
export const MAX_RECENT_LENGTH = 240;

/** A commit that publishes more keys than this below the counter does not name them. */
const MAX_MARKED = 16;

/** The number of marks: two characters of base 36. */
const MARKS = 36 * 36;

/** Commits that publish below the counter are numbered modulo this. */
export const LATE_CYCLE = 1000;

/** A counter, and the steps by which it got there. */
export interface HistoryMoment {
  /** As {@linkcode StorageMoment.maxVersion}. */
  readonly maxVersion: number;
  /** As {@linkcode StorageMoment.recent}. */
  readonly recent?: string | undefined;
}

/** The names of one run of history. */
export type HistoryRun = Pick<StorageMoment, "epoch" | "replicaId" | "late">;

/**
 * Whether two moments belong to the same run of history. If so, everything that happened between them has a version
 * above the earlier counter.
 */
export function isSameHistory(one: HistoryRun, other: HistoryRun): boolean {
  return one.epoch === other.epoch && one.replicaId === other.replicaId && one.late === other.late;
}

/** Whether two moments have the same epoch and the same storage. */
export function isSameData(one: StorageIdentity, other: StorageIdentity): boolean {
  return one.epoch === other.epoch && one.replicaId === other.replicaId;
}

/**
 * Whether this history once had a counter that was read earlier. If so, everything that was read then belongs to this
 * history, because no number is assigned twice. If not, an older backup was restored, or the counter was read too
 * many commits ago; what was read then may be wrong.
 *
 * @param moment The current state of the storage.
 * @param position The counter as it was read, of the same epoch and storage.
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

/** The mark of a key: two characters, which one in 1,296 other keys shares. */
export function markOf(key: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return ((hash >>> 0) % MARKS).toString(36).padStart(2, "0");
}

/** The marks of keys that a commit publishes below the counter; empty if it may be any key. */
export function marksOf(keys: readonly string[]): string {
  return keys.length > MAX_MARKED ? "" : keys.map(markOf).join("");
}

/**
 * The entry in `recent` of a commit that publishes below the counter.
 *
 * @param late The value of `late` after the commit.
 * @param marks The marks of the keys.
 */
export function lateEntry(late: number, marks: string): string {
  return `;${late % LATE_CYCLE}:${marks}`;
}

/**
 * The marks of the keys that were published below the counter since an earlier moment of the same epoch; `null` if it
 * may be any key.
 *
 * @param moment The current state of the storage.
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
    // A server of an older version counts such commits without an entry for them.
    const head = lateEntry(late + missing, "");
    if (!entry.startsWith(head) || entry === head) return null;
    for (let i = head.length; i < entry.length; i += 2) marks.add(entry.slice(i, i + 2));
    if (--missing === 0) return marks;
  }
  return null;
}

/** The entries of `recent`. Text before the first separator belongs to an entry that was cut off. */
function* newestFirst(recent: string): Generator<string> {
  for (let end = recent.length; end > 0;) {
    const start = Math.max(recent.lastIndexOf(",", end - 1), recent.lastIndexOf(";", end - 1));
    if (start === -1) return;
    yield recent.slice(start, end);
    end = start;
  }
}

/**
 * The later of two moments of the same epoch; `null` if it is not known that they belong to the same history.
 *
 * @param one A moment; `null` for an unknown one.
 * @param other Another moment; left out for none.
 */
export function laterOf(one: HistoryMoment | null, other: HistoryMoment | null = one): HistoryMoment | null {
  if (one === null || other === null) return null;
  const [earlier, later] = one.maxVersion < other.maxVersion ? [one, other] : [other, one];
  return isConfirmed(later, earlier.maxVersion) ? later : null;
}
