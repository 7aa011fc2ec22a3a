/**
 * Checks a race by the answers that its processes got. Pure.
 *
 * @module
 */
import type { Acknowledged, Failed, Page, Read, Sight } from "./journal.ts";
import { readHash } from "./journal.ts";

/** The record of a race. */
export interface Race {
  readonly acknowledged: readonly Acknowledged[];
  readonly failed: readonly Failed[];
  readonly reads: readonly Read[];
  /** The pages of the history that the walker read. */
  readonly pages: readonly Page[];
  /** The nodes in the storage at the end. */
  readonly stored: readonly Sight[];
  /** The killed processes: their changes may be applied without an acknowledgement. */
  readonly killed: readonly string[];
  /** Whether the storage promises that versions become visible in order. */
  readonly ordered: boolean;
}

/** The number of reported faults. */
const MAX_FAULTS = 10;

/** Returns the faults; none if all guarantees hold. */
export function checkRace(race: Race): string[] {
  const faults = [
    ...checkVersions(race),
    ...checkGrowth(race),
    ...checkSights(race),
    ...checkReads(race),
    ...checkStored(race),
    ...(race.ordered ? checkPages(race) : []),
  ];
  return faults.slice(0, MAX_FAULTS);
}

/** Each change has a version of its own. Changes of one write share it, and the last of them is stored. */
function* checkVersions({ acknowledged, killed }: Race): Iterable<string> {
  const together = new Map<number, Acknowledged[]>();
  for (const change of acknowledged) {
    const others = together.get(change.version);
    if (others) others.push(change);
    else together.set(change.version, [change]);
  }
  for (const [version, changes] of together) {
    const [first] = changes;
    if (first === undefined) continue;
    const { key, written } = first;
    const { name, count } = readHash(written);
    for (const change of changes) {
      if (change.key !== key || change.written !== written || readHash(change.hash).name !== name) {
        yield `Version ${version} was given to ${key} as ${written} and to ${change.key} as ${change.written}`;
      }
      if (readHash(change.hash).count > count) {
        yield `Version ${version} of ${key} holds ${written}, though ${change.hash} came later`;
      }
    }
    if (!killed.includes(name) && !changes.some(({ hash }) => hash === written)) {
      yield `Version ${version} of ${key} holds ${written}, which was acknowledged to no client`;
    }
  }
}

/** A change requested after an acknowledgement, in any process, gets a larger version. */
function* checkGrowth({ acknowledged }: Race): Iterable<string> {
  const highest = highestBefore(acknowledged);
  for (const { key, hash, asked, version } of acknowledged) {
    const before = highest(asked);
    if (version <= before) yield `${hash} of ${key} got version ${version} after ${before} was acknowledged`;
  }
}

/** No client saw a version with another hash than the written one. */
function* checkSights({ acknowledged, reads, pages, stored }: Race): Iterable<string> {
  const written = new Map<number, Acknowledged>();
  for (const change of acknowledged) written.set(change.version, change);
  const seen = [...reads.map(({ sights }) => sights), ...pages.map(({ sights }) => sights), stored].flat();
  for (const [key, version, hash] of seen) {
    const change = written.get(version);
    if (change !== undefined && (change.key !== key || change.written !== hash)) {
      yield `Version ${version} was ${change.key} as ${change.written} and was seen as ${key} as ${hash}`;
    }
    written.set(version, change ?? { ...NOTHING, key, version, written: hash });
  }
}

const NOTHING: Acknowledged = {
  kind: "acknowledged",
  key: "",
  hash: "",
  asked: 0,
  answered: 0,
  version: 0,
  written: "",
};

/** No sync was told less than what had been acknowledged before it asked. */
function* checkReads({ acknowledged, reads }: Race): Iterable<string> {
  const highest = new Map<string, (moment: number) => number>();
  for (const [key, changes] of byKey(acknowledged)) highest.set(key, highestBefore(changes));
  for (const { asked, keys, sights } of reads) {
    const versions = new Map(sights.map(([key, version]) => [key, version]));
    for (const key of keys) {
      const before = highest.get(key)?.(asked) ?? 0;
      const version = versions.get(key) ?? 0;
      if (version < before) {
        yield `A sync was told version ${version} of ${key} after ${before} was acknowledged`;
      }
    }
  }
}

/** The last acknowledged change is stored, unless one without an acknowledgement replaced it. */
function* checkStored({ acknowledged, failed, stored, killed }: Race): Iterable<string> {
  const uncertain = new Set(failed.map(({ hash }) => hash));
  const nodes = new Map(stored.map((sight) => [sight[0], sight]));
  for (const [key, changes] of byKey(acknowledged)) {
    const last = changes.reduce((a, b) => a.version >= b.version ? a : b);
    const [, version = 0, hash = ""] = nodes.get(key) ?? [];
    const isLast = version === last.version && hash === last.written;
    const isLater = version > last.version && (uncertain.has(hash) || killed.includes(readHash(hash).name));
    if (!isLast && !isLater) {
      yield `${key} was acknowledged as ${last.version}, ${last.written}, and is stored as ${version}, ${hash}`;
    }
  }
}

/** A reader of the history sees each change, or one that replaced it before. */
function* checkPages({ acknowledged, pages }: Race): Iterable<string> {
  let cursor = 0;
  const seen = new Map<string, number[]>();
  /** The version read so far at each moment. */
  const passed: { readonly version: number; readonly answered: number }[] = [];
  for (const { sights, answered } of pages) {
    for (const [key, version] of sights) {
      if (version <= cursor) yield `The history told version ${version} after ${cursor}`;
      cursor = Math.max(cursor, version);
      const versions = seen.get(key);
      if (versions) versions.push(version);
      else seen.set(key, [version]);
    }
    passed.push({ version: cursor, answered });
  }
  const askedFor = new Map<number, number>();
  for (const { version, asked } of acknowledged) {
    askedFor.set(version, Math.min(asked, askedFor.get(version) ?? Infinity));
  }
  for (const { key, version } of acknowledged) {
    const next = seen.get(key)?.find((other) => other >= version);
    if (next === version) continue;
    if (next === undefined) {
      yield `Version ${version} of ${key} was never told, nor what took its place`;
      continue;
    }
    // The page that went past it must have been read when the next one was already on its way.
    const page = passed.find((page) => page.version >= version);
    if (page !== undefined && page.answered < (askedFor.get(next) ?? 0)) {
      yield `Version ${version} of ${key} was passed over, before ${next} took its place`;
    }
  }
}

/** The highest version that was acknowledged before a moment. */
function highestBefore(acknowledged: readonly Acknowledged[]): (moment: number) => number {
  const sorted = [...acknowledged].sort((a, b) => a.answered - b.answered);
  let highest = 0;
  const steps = sorted.map(({ version }) => highest = Math.max(highest, version));
  return (moment) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sorted[middle]?.answered ?? 0) < moment) low = middle + 1;
      else high = middle;
    }
    return steps[low - 1] ?? 0;
  };
}

function byKey(acknowledged: readonly Acknowledged[]): Map<string, Acknowledged[]> {
  const keys = new Map<string, Acknowledged[]>();
  for (const change of acknowledged) {
    const others = keys.get(change.key);
    if (others) others.push(change);
    else keys.set(change.key, [change]);
  }
  return keys;
}
