/**
 * Says what is wrong with a run of a cluster, from what its clients were told. Pure.
 *
 * @module
 */
import { JOIN_MARK } from "../../src/mesh/merge.ts";
import type { Change, Final, Journal } from "./journal.ts";

/** So many faults are enough to understand what is wrong. */
const MAX_FAULTS = 10;

/** When a version was first handed to a client: by any server, and by those of each storage. */
interface Handed {
  first: number;
  readonly by: Map<number, number>;
}

/** What is wrong, in sentences; nothing when all promises were kept. */
export function judge(journal: Journal): string[] {
  const handed = noteHanded(journal);
  const faults = [
    ...judgeReads(journal, handed),
    ...judgeFinals(journal, handed),
    ...(new Set(journal.storages).size === 1 ? judgeHistory(journal) : []),
  ];
  return faults.slice(0, MAX_FAULTS);
}

/** What is wrong with a piece of a run that goes on, of which nobody knows yet how it ends. */
export function judgePiece(journal: Omit<Journal, "finals" | "isolations">): string[] {
  const piece: Journal = { ...journal, finals: new Map(), isolations: [] };
  return [...judgeReads(piece, noteHanded(piece))].slice(0, MAX_FAULTS);
}

/** Key → version → when it was handed out. The one who writes is handed the version of what it wrote. */
function noteHanded({ storages, changes, reads }: Journal): Map<string, Map<number, Handed>> {
  const handed = new Map<string, Map<number, Handed>>();
  const note = (key: string, version: number, answered: number, server: number) => {
    if (version === 0) return;
    const versions = handed.get(key) ?? new Map<number, Handed>();
    handed.set(key, versions);
    const known = versions.get(version) ?? { first: Infinity, by: new Map<number, number>() };
    versions.set(version, known);
    known.first = Math.min(known.first, answered);
    const storage = storages[server]!;
    known.by.set(storage, Math.min(known.by.get(storage) ?? Infinity, answered));
  };
  for (const { key, version, answered, server } of changes) note(key, version, answered, server);
  for (const { sights, answered, server } of reads) {
    for (const { key, version } of sights) note(key, version, answered, server);
  }
  return handed;
}

/**
 * While all goes on: once a storage has acknowledged a change, none of its servers leaves a client with a version
 * that was handed out before the change was asked for.
 */
function* judgeReads(journal: Journal, handed: Map<string, Map<number, Handed>>): Iterable<string> {
  const { storages, changes, reads } = journal;
  const inStorage = ({ key, server }: { key: string; server: number }) => `${storages[server]} ${key}`;
  const acknowledged = changes.filter(({ answered }) => answered !== Infinity);
  const latest = byName(acknowledged, inStorage, latestBefore);
  const latestUpdate = byName(acknowledged.filter(isUpdate), inStorage, latestBefore);
  const deletions = byName(changes.filter(({ isDeletion }) => isDeletion), ({ key }) => key, (all) => all);
  for (const { server, asked, answered, sights } of reads) {
    for (const { key, version } of sights) {
      const name = inStorage({ key, server });
      if (version === 0) {
        const update = latestUpdate.get(name)?.(asked);
        if (update === undefined) continue;
        const mayBeGone = deletions.get(key)?.some((deletion) =>
          deletion.asked <= answered && deletion.answered >= update.asked
        );
        if (!mayBeGone) {
          yield `${key} was not there for who asked server ${server} at ${ms(asked)}, after ${told(update)}`;
        }
        continue;
      }
      const change = latest.get(name)?.(asked);
      const { first = Infinity } = handed.get(key)?.get(version) ?? {};
      if (change !== undefined && first < change.asked) {
        yield `${key} was left at ${version}, handed out at ${
          ms(first)
        }, for who asked server ${server} at ` +
          `${ms(asked)}, after ${told(change)}`;
      }
    }
  }
}

/**
 * When all is over: the version of a key that all servers have was handed to nobody before one of its changes was
 * asked for, nor by a server which that change cannot have reached by then. Whoever holds such a version would
 * never be told of the change.
 */
function* judgeFinals(journal: Journal, handed: Map<string, Map<number, Handed>>): Iterable<string> {
  const changes = byName(journal.changes, ({ key }) => key, (all) => all);
  for (const [key, all] of changes) {
    const final = journal.finals.get(key);
    if (final === undefined) {
      yield `Nobody looked at ${key} when all was over`;
      continue;
    }
    const acknowledged = all.filter(({ answered }) => answered !== Infinity);
    if (final.version === 0) {
      yield* judgeAbsence(journal, acknowledged, all.filter(({ isDeletion }) => isDeletion));
      continue;
    }
    if (!final.hash.startsWith(JOIN_MARK) && !all.some(({ hash }) => hash === final.hash)) {
      yield `${key} ended as ${final.hash}, which nobody wrote`;
    }
    const versions = handed.get(key)?.get(final.version);
    if (versions === undefined) continue;
    for (const change of acknowledged) {
      const fault = findUntold(journal, change, final, versions);
      if (fault !== undefined) yield fault;
    }
  }
}

/** Whether somebody holds the final version who cannot have been told of a change. */
function findUntold(
  { storages, isolations }: Journal,
  change: Change,
  { version }: Final,
  { first, by }: Handed,
): string | undefined {
  const { key } = change;
  if (first < change.asked) {
    return `${key} ended at ${version}, handed out at ${ms(first)}, before ${told(change)}`;
  }
  for (const { servers, begin, end } of isolations) {
    if (change.asked < begin) continue;
    const inside = new Set(servers.map((server) => storages[server]!));
    const isInside = inside.has(storages[change.server]!);
    for (const [storage, answered] of by) {
      if (inside.has(storage) === isInside || answered > end) continue;
      return `${key} ended at ${version}, handed out at ${
        ms(answered)
      } by storage ${storage}, cut off from ` +
        `${ms(begin)} to ${ms(end)} from ${told(change)}`;
    }
  }
  return undefined;
}

/** A key that is not there was deleted by somebody who may have known of each of its changes. */
function* judgeAbsence(
  { storages, isolations }: Journal,
  acknowledged: readonly Change[],
  deletions: readonly Change[],
): Iterable<string> {
  for (const change of acknowledged.filter(isUpdate)) {
    const mayKnow = (deletion: Change) => {
      if (deletion.answered < change.asked) return false;
      return !isolations.some(({ servers, begin, end }) => {
        const inside = new Set(servers.map((server) => storages[server]!));
        return change.asked >= begin && deletion.answered <= end &&
          inside.has(storages[change.server]!) !== inside.has(storages[deletion.server]!);
      });
    };
    if (!deletions.some(mayKnow)) yield `${change.key} ended deleted, by nobody who knew of ${told(change)}`;
  }
}

/** Of one storage, more is known: no version has two hashes, and what was deleted last stays deleted. */
function* judgeHistory({ changes, reads, finals }: Journal): Iterable<string> {
  const hashes = new Map<string, string>();
  for (const { key, version, hash } of reads.flatMap(({ sights }) => sights)) {
    if (hash === undefined || version === 0) continue;
    const known = hashes.get(`${key} ${version}`) ?? hash;
    hashes.set(`${key} ${version}`, known);
    if (known !== hash) yield `Version ${version} of ${key} was seen as ${known} and as ${hash}`;
  }
  const updates = byName(changes.filter(isUpdate), ({ key }) => key, (all) => all);
  for (const change of changes) {
    const { key, isDeletion, asked, answered } = change;
    if (!isDeletion || answered === Infinity || finals.get(key)?.version === 0) continue;
    const isWritten = updates.get(key)?.some((update) => update.answered >= asked);
    if (!isWritten) yield `${key} is there after ${told(change)}`;
  }
}

/** Of changes with a time of asking and one of the answer: the one asked for last among those answered before. */
function latestBefore(changes: readonly Change[]): (moment: number) => Change | undefined {
  const sorted = [...changes].sort((a, b) => a.answered - b.answered);
  let last: Change | undefined;
  const steps = sorted.map((change) =>
    last = last === undefined || change.asked > last.asked ? change : last
  );
  return (moment) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle]!.answered < moment) low = middle + 1;
      else high = middle;
    }
    return steps[low - 1];
  };
}

function byName<T>(
  changes: readonly Change[],
  nameOf: (change: Change) => string,
  sum: (changes: readonly Change[]) => T,
): Map<string, T> {
  const names = new Map<string, Change[]>();
  for (const change of changes) {
    const others = names.get(nameOf(change));
    if (others) others.push(change);
    else names.set(nameOf(change), [change]);
  }
  return new Map([...names].map(([name, all]) => [name, sum(all)]));
}

function isUpdate({ isDeletion }: Change): boolean {
  return !isDeletion;
}

function told({ hash, isDeletion, server, asked, answered }: Change): string {
  const what = isDeletion ? "a deletion" : hash;
  return `${what}, asked of server ${server} at ${ms(asked)} and acknowledged at ${ms(answered)}`;
}

function ms(moment: number): string {
  return moment.toFixed(1);
}
