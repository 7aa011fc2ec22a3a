/**
 * Merges nodes of another storage: the four cases, and joined nodes that stand for several changes. Pure.
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
  RESIDUES,
  type VersionVector,
} from "../store/contract.ts";

/** What the hash of a joined node begins with: a control character, which no hash of an application has. */
export const JOIN_MARK = "\u0001";

/** The length of a change's fingerprint, in characters: four for the replica, eight for the number. */
const FINGERPRINT_LENGTH = 12;
const REPLICA_LENGTH = 4;

/** How many fingerprints fit into 256 bytes, the shortest maximum length of a hash. */
const MAX_FINGERPRINTS = 21;

/** The highest of 24 bits: set in the fingerprint of what no later change of its replica includes. */
const EXACT = 0x800000;

/** In the order of their character codes, so that fingerprints of one replica are sorted by number. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/** What is known of both sides when a node is merged. */
export interface MergeContext {
  /** The version vector here. */
  readonly mine: VersionVector;
  /** The version vector there, not later than the node. */
  readonly theirs: VersionVector;
  /** The dots of tombstones that were collected on the side that does not have the node. */
  readonly collected: VersionVector;
}

/**
 * Decides how to merge a node of another storage.
 *
 * @param theirs Their node or tombstone.
 * @param mine The node or tombstone of the same key here, if it exists.
 * @param context The version vectors and the collected dots.
 * @returns What to write, or `null` for nothing.
 */
export function mergeNode(
  theirs: ReplicatedNode,
  mine: ReplicatedNode | undefined,
  context: MergeContext,
): NodeMerge | null {
  // 1. It was merged before, or its replacement was.
  const dot = dotOf(theirs);
  if (includesDot(context.mine, dot)) return null;
  if (mine === undefined) {
    // 2. Nothing is here, and nothing was collected here that they do not cover.
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
  // Beside a tombstone, too, deletions may have been collected here that they do not cover.
  const forgotten = mine.deleted && !theirs.deleted ? unseenChanges(context.collected, context.theirs) : [];
  // 3. They knew my node when they kept theirs.
  if (includesDot(context.theirs, own)) {
    if (forgotten.length === 0) return { node: theirs, replaces: own };
    return joinNodes(theirs, theirs, unite(changesOf(theirs), forgotten), own);
  }
  // 4. Neither knew of the other. A client may hold the node with the lower version and not know of the other change,
  // so the node that is kept must stand for both, with a version above both.
  const changes = unite(unite(changesOf(mine), changesOf(theirs)), forgotten);
  const ahead = isAhead(mine, theirs) ? mine : theirs;
  const behind = ahead === mine ? theirs : mine;
  const standsForAll = (node: ReplicatedNode) => changesOf(node).join("") === changes.join("");
  const isClear = ahead.version > behind.version || standsForAll(behind);
  if (isClear && standsForAll(ahead)) return ahead === mine ? null : { node: theirs, replaces: own };
  return joinNodes(mine, theirs, changes, own);
}

/**
 * Decides how to merge a node here that a full copy lacks.
 *
 * @param mine The node.
 * @param context The version vectors before the copy, and the dots that were collected there.
 * @returns What to write, or `null` for nothing.
 */
export function mergeMissing(
  mine: ReplicatedNode,
  { mine: vector, theirs, collected }: MergeContext,
): NodeMerge | null {
  if (mine.deleted) return null;
  const { key, updatedAt } = mine;
  const replaces = dotOf(mine);
  const changes = unite(changesOf(mine), unseenChanges(collected, vector));
  const hasUnseen = changes.length > changesOf(mine).length;
  if (includesDot(theirs, replaces)) {
    // They knew it: it was deleted there, and the tombstone was collected. The new tombstone stands for the same changes
    // on every server that gets the copy, so these tombstones are not joined with each other.
    const hash = hasUnseen ? joinedHash(changes) : "";
    return { node: { key, hash, updatedAt, deleted: true }, above: mine.version, replaces };
  }
  // They did not know it, and may have deleted the key and collected its tombstone: the counterpart of case 2.
  return hasUnseen ? joinNodes(mine, mine, changes, replaces) : null;
}

/** Decides to write a node here once more, as a change of this storage itself that stands for the same changes. */
export function rejoinNode(mine: ReplicatedNode): NodeMerge {
  return joinNodes(mine, mine, changesOf(mine), dotOf(mine));
}

/**
 * The sorted fingerprints of the changes that a node stands for: its own, or, for a joined node, those in its hash.
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
  // Too many to list: one fingerprint stands for all. A storage that has only some of them joins once more.
  return JOIN_MARK + (changes.length > MAX_FINGERPRINTS ? digest(changes.join("")) : changes.join(""));
}

/** The sorted union of both lists. A later change of a replica includes its earlier ones of the same key. */
export function unite(a: readonly string[], b: readonly string[]): readonly string[] {
  const all = [...new Set([...a, ...b])].sort();
  return all.filter((fingerprint, i) =>
    isExact(fingerprint) || replicaOf(fingerprint) !== replicaOf(all[i + 1] ?? "")
  );
}

/**
 * The fingerprint of one change. The remainder of its number stands beside the replica, since storages that know each
 * other have different ones.
 */
export function fingerprintOf({ version, replicaId }: Dot): string {
  const [hash] = hashOf(replicaId);
  const number = Math.floor(version / RESIDUES);
  return encode24Bits((hash << 8 | version % RESIDUES) & ~EXACT) +
    encode24Bits(Math.floor(number / 2 ** 24)) + encode24Bits(number % 2 ** 24);
}

function replicaOf(fingerprint: string): string {
  return fingerprint.slice(0, REPLICA_LENGTH);
}

function isExact(fingerprint: string): boolean {
  return DIGITS.indexOf(fingerprint[0]!) >= 32;
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

/** The collected dots that the other side does not cover: any of them may have been the deletion of a key. */
function unseenChanges(collected: VersionVector, vector: VersionVector): readonly string[] {
  const forgotten = [...collected].map(([replicaId, version]) => ({ replicaId, version }));
  // The storage that collected them need not have merged all earlier changes of that replica.
  return forgotten.filter((dot) => !includesDot(vector, dot)).map(({ version, replicaId }) =>
    digest(`${version}@${replicaId}`)
  );
}

/** Orders two nodes of one key: the higher version, and of equal versions the lesser replica id. */
function isAhead(a: ReplicatedNode, b: ReplicatedNode): boolean {
  return a.version !== b.version ? a.version > b.version : a.replicaId < b.replicaId;
}

/** An exact fingerprint: 47 bits of a text's hash. */
function digest(text: string): string {
  const [low, high] = hashOf(text);
  return (encode24Bits(low | EXACT) + encode24Bits(high)).padEnd(FINGERPRINT_LENGTH, DIGITS[0]);
}

/** Two 24-bit hashes of a text, with further bits above them. Well distributed; not cryptographic. */
function hashOf(text: string): [number, number] {
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
  return [low ^ (high >>> 16), high ^ (low >>> 11)];
}

/** The lowest 24 bits as four characters. */
function encode24Bits(bits: number): string {
  return [18, 12, 6, 0].map((shift) => DIGITS[(bits >>> shift) & 63]).join("");
}
