/**
 * Taking in what another storage wrote: the four cases, and nodes that stand for several changes. Pure.
 *
 * @module
 */
import {
  coversVector,
  type Dot,
  dotOf,
  includesDot,
  isSameDot,
  type NodeMerge,
  type ReplicatedNode,
  type VersionVector,
} from "../store/contract.ts";

/** What the hash of a joined node begins with: a control character, which no hash of an application has. */
export const JOIN_MARK = "\u0001";

/** Characters in the print of one change: 48 bits of it. */
const FINGERPRINT_LENGTH = 8;

/** So many prints fit into the shortest hash that every storage takes, 256 bytes. */
const MAX_FINGERPRINTS = 31;

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/** What is known of both sides when a node is judged. */
export interface MergeContext {
  /** What the storage here has taken in. */
  readonly mine: VersionVector;
  /** What the storage there had taken in when it gave its node, or before. */
  readonly theirs: VersionVector;
  /** The tombstones that were swept on the side that does not have the node. */
  readonly collected: VersionVector;
}

/**
 * Decides what becomes of a node that another storage has.
 *
 * @param theirs Their node or tombstone.
 * @param mine The node or tombstone of the same key here, if there is one.
 * @param context What either side has seen.
 * @returns What to write, or `null` to leave all as it is.
 */
export function mergeNode(
  theirs: ReplicatedNode,
  mine: ReplicatedNode | undefined,
  context: MergeContext,
): NodeMerge | null {
  // 1. Taken in before, it or what it was replaced with.
  const dot = dotOf(theirs);
  if (includesDot(context.mine, dot)) return null;
  if (mine === undefined) {
    // 2. Nothing is here; nor has anything been forgotten here that they never heard of.
    if (coversVector(context.theirs, context.collected)) return { node: theirs, replaces: null };
    return joinNodes(
      theirs,
      theirs,
      unite(changesOf(theirs), unseenChanges(context.collected, context.theirs)),
      null,
    );
  }
  const own = dotOf(mine);
  if (isSameDot(own, dot)) return null;
  // Beside a tombstone, too, deletions may have been forgotten here that they never heard of.
  const forgotten = mine.deleted && !theirs.deleted ? unseenChanges(context.collected, context.theirs) : [];
  // 3. They knew mine when they kept theirs.
  if (includesDot(context.theirs, own)) {
    if (forgotten.length === 0) return { node: theirs, replaces: own };
    return joinNodes(theirs, theirs, unite(changesOf(theirs), forgotten), own);
  }
  // 4. Neither knew of the other. Whichever has the lower version may be held by a client that was never told
  // of the other change, so the one that stays must stand for both, with a version above both.
  const changes = unite(unite(changesOf(mine), changesOf(theirs)), forgotten);
  const ahead = isAhead(mine, theirs) ? mine : theirs;
  const behind = ahead === mine ? theirs : mine;
  const standsForAll = (node: ReplicatedNode) => changesOf(node).length === changes.length;
  const isClear = ahead.version > behind.version || standsForAll(behind);
  if (isClear && standsForAll(ahead)) return ahead === mine ? null : { node: theirs, replaces: own };
  return joinNodes(mine, theirs, changes, own);
}

/**
 * Decides what becomes of a node here that a full copy does not have.
 *
 * @param mine The node.
 * @param knowledge What had been seen on either side before the copy, and the tombstones that were swept there.
 * @returns What to write, or `null` to leave all as it is.
 */
export function mergeMissing(
  mine: ReplicatedNode,
  { mine: vector, theirs, collected: collected }: MergeContext,
): NodeMerge | null {
  if (mine.deleted) return null;
  const { key, updatedAt } = mine;
  const replaces = dotOf(mine);
  const changes = unite(changesOf(mine), unseenChanges(collected, vector));
  const hasUnseen = changes.length > changesOf(mine).length;
  if (includesDot(theirs, replaces)) {
    // They knew it: it was deleted there, and forgotten. The tombstone stands for the same changes on every server
    // that finds this out, so that these tombstones need not be joined with each other.
    const hash = hasUnseen ? joinedHash(changes) : "";
    return { node: { key, hash, updatedAt, deleted: true }, above: mine.version, replaces };
  }
  // They did not know it, and may have deleted and forgotten the key as they had it: the counterpart of case 2.
  return hasUnseen ? joinNodes(mine, mine, changes, replaces) : null;
}

/**
 * The changes that a node stands for, each by its print, in order: its own, or, for a joined node, those that its
 * hash spells out.
 */
export function changesOf(node: ReplicatedNode): readonly string[] {
  if (!node.hash.startsWith(JOIN_MARK)) return [fingerprintOf(dotOf(node))];
  const fingerprints: string[] = [];
  for (let i = JOIN_MARK.length; i < node.hash.length; i += FINGERPRINT_LENGTH) {
    fingerprints.push(node.hash.slice(i, i + FINGERPRINT_LENGTH));
  }
  return fingerprints;
}

/** The hash of a node that stands for these changes. */
export function joinedHash(changes: readonly string[]): string {
  // Too many to spell out: one print of them all stands for them. Whoever has only some of them joins once more.
  return JOIN_MARK + (changes.length > MAX_FINGERPRINTS ? digest(changes.join("")) : changes.join(""));
}

/** Both lists as one, in order, nothing twice. */
export function unite(a: readonly string[], b: readonly string[]): readonly string[] {
  return [...new Set([...a, ...b])].sort();
}

/** The short print of one change. */
export function fingerprintOf({ version, replicaId }: Dot): string {
  return digest(`${version}@${replicaId}`);
}

/** A new change of this storage's own that stands for several. */
function joinNodes(
  mine: ReplicatedNode,
  theirs: ReplicatedNode,
  changes: readonly string[],
  replaces: Dot | null,
): NodeMerge {
  const updatedAt = Math.max(mine.updatedAt, theirs.updatedAt);
  const node = { key: theirs.key, hash: joinedHash(changes), updatedAt };
  return {
    node: mine.deleted && theirs.deleted ? { ...node, deleted: true } : node,
    above: Math.max(mine.version, theirs.version),
    replaces,
  };
}

/** What one side has forgotten before the other heard of it: any of it may have been the deletion of one key. */
function unseenChanges(collected: VersionVector, vector: VersionVector): readonly string[] {
  const forgotten = [...collected].map(([replicaId, version]) => ({ replicaId, version }));
  return forgotten.filter((dot) => !includesDot(vector, dot)).map(fingerprintOf);
}

/** Of two nodes of one key: the higher version, and of the same version the lesser origin. */
function isAhead(a: ReplicatedNode, b: ReplicatedNode): boolean {
  return a.version !== b.version ? a.version > b.version : a.replicaId < b.replicaId;
}

/** 48 bits of a text, in eight characters. Spreads well; keeps no secret. */
function digest(text: string): string {
  let [low, high] = [0x9e3779b9, 0x85ebca6b];
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(high ^ unit, 0x5bd1e995);
    low ^= high >>> 15;
    high ^= low >>> 13;
  }
  low = Math.imul(low ^ (low >>> 16), 0x7feb352d);
  high = Math.imul(high ^ (high >>> 15), 0x846ca68b) ^ (low >>> 14);
  return encode24Bits(low ^ (high >>> 16)) + encode24Bits(high ^ (low >>> 11));
}

/** 24 bits as four characters. */
function encode24Bits(bits: number): string {
  return [18, 12, 6, 0].map((shift) => DIGITS[(bits >>> shift) & 63]).join("");
}
