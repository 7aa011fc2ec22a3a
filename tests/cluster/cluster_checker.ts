/**
 * Checks a run of a cluster by the answers that its clients got. Pure.
 *
 * @module
 */
import { JOIN_MARK } from "../../src/mesh/merge.ts";
import type { Change, Final, Journal } from "./journal.ts";

/** The number of reported faults. */
const MAX_FAULTS = 10;

/** When a version was first sent to a client: by any server, and by the servers of each storage. */
interface Sent {
  first: number;
  readonly by: Map<number, number>;
}

/** Returns the faults; none if all guarantees hold. */
export function checkCluster(journal: Journal): string[] {
  const sent = collectSent(journal);
  const faults = [
    ...checkReads(journal, sent),
    ...checkFinals(journal, sent),
    ...(new Set(journal.storages).size === 1 ? checkHistory(journal) : []),
  ];
  return faults.slice(0, MAX_FAULTS);
}

/** Returns the faults of a part of a run whose end is not known yet. */
export function checkPiece(journal: Omit<Journal, "finals" | "isolations">): string[] {
  const piece: Journal = { ...journal, finals: new Map(), isolations: [] };
  return [...checkReads(piece, collectSent(piece))].slice(0, MAX_FAULTS);
}

/** Key → version → when it was sent. A writer receives the version of its own write. */
function collectSent({ storages, changes, reads }: Journal): Map<string, Map<number, Sent>> {
  const sent = new Map<string, Map<number, Sent>>();
  const note = (key: string, version: number, answered: number, server: number) => {
    if (version === 0) return;
    const versions = sent.get(key) ?? new Map<number, Sent>();
    sent.set(key, versions);
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
  return sent;
}

/**
 * During the run: once a storage has acknowledged a change, none of its servers leaves a client at
 * a version that was sent before the change was requested.
 */
function* checkReads(journal: Journal, sent: Map<string, Map<number, Sent>>): Iterable<string> {
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
          yield `${key} was not there for a client that asked server ${server} at ${ms(asked)}, after ${
            describe(update)
          }`;
        }
        continue;
      }
      const change = latest.get(name)?.(asked);
      const { first = Infinity } = sent.get(key)?.get(version) ?? {};
      if (change !== undefined && first < change.asked) {
        yield `${key} was left at ${version}, sent at ${
          ms(first)
        }, for a client that asked server ${server} at ` +
          `${ms(asked)}, after ${describe(change)}`;
      }
    }
  }
}

/**
 * At the end: the final version of a key was sent to no client before one of its changes
 * was requested, nor by a server that the change cannot have reached by then. A client with such a version would miss the change for ever.
 */
function* checkFinals(journal: Journal, sent: Map<string, Map<number, Sent>>): Iterable<string> {
  const changes = byName(journal.changes, ({ key }) => key, (all) => all);
  for (const [key, all] of changes) {
    const final = journal.finals.get(key);
    if (final === undefined) {
      yield `The final state of ${key} was not read`;
      continue;
    }
    const acknowledged = all.filter(({ answered }) => answered !== Infinity);
    if (final.version === 0) {
      yield* checkAbsence(journal, acknowledged, all.filter(({ isDeletion }) => isDeletion));
      continue;
    }
    if (!final.hash.startsWith(JOIN_MARK) && !all.some(({ hash }) => hash === final.hash)) {
      yield `${key} ended as ${final.hash}, which no client wrote`;
    }
    const versions = sent.get(key)?.get(final.version);
    if (versions === undefined) continue;
    for (const change of acknowledged) {
      const fault = findUntold(journal, change, final, versions);
      if (fault !== undefined) yield fault;
    }
  }
}

/** Finds a client that has the final version, but cannot have received a change. */
function findUntold(
  { storages, isolations }: Journal,
  change: Change,
  { version }: Final,
  { first, by }: Sent,
): string | undefined {
  const { key } = change;
  if (first < change.asked) {
    return `${key} ended at ${version}, sent at ${ms(first)}, before ${describe(change)}`;
  }
  for (const { servers, begin, end } of isolations) {
    if (change.asked < begin) continue;
    const inside = new Set(servers.map((server) => storages[server]!));
    const isInside = inside.has(storages[change.server]!);
    for (const [storage, answered] of by) {
      if (inside.has(storage) === isInside || answered > end) continue;
      return `${key} ended at ${version}, sent at ${ms(answered)} by storage ${storage}, cut off from ` +
        `${ms(begin)} to ${ms(end)} from ${describe(change)}`;
    }
  }
  return undefined;
}

/** A missing key was deleted by a client that may have known each of its changes. */
function* checkAbsence(
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
    if (!deletions.some(mayKnow)) {
      yield `${change.key} ended deleted, but no deletion knew of ${describe(change)}`;
    }
  }
}

/** With one storage, no version has two hashes, and a key whose last change is a deletion stays deleted. */
function* checkHistory({ changes, reads, finals }: Journal): Iterable<string> {
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
    if (!isWritten) yield `${key} is there after ${describe(change)}`;
  }
}

/** Of the changes acknowledged before a moment, the one requested last. */
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

function describe({ hash, isDeletion, server, asked, answered }: Change): string {
  const what = isDeletion ? "a deletion" : hash;
  return `${what}, asked of server ${server} at ${ms(asked)} and acknowledged at ${ms(answered)}`;
}

function ms(moment: number): string {
  return moment.toFixed(1);
}
