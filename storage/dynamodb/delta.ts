/**
 * What a DynamoDB table has and another storage has not, page by page.
 *
 * The counter's item is read first, then rows: so whatever it counts as seen is in the rows, or told by the item
 * itself where they do not show it yet. What is committed meanwhile may be among the rows, and is then newer than
 * what is told as seen; the other way round cannot be. No key is missed that moves while rows are read: in the
 * table none ever does, and in the index each goes up only.
 *
 * @module
 */
import { includesDot, lowestMissing, type VersionVector } from "../../src/store/contract.ts";
import type { Call } from "./client.ts";
import { type BucketRange, inParallel, nodesOf, type TableReader } from "./table_reader.ts";
import { seenOf, stampOf, type State, type StoredNode, tellsStampsAfter } from "./state.ts";
import { bucketOf, BUCKETS, comparePlaces } from "./table.ts";

/** Some 2 MB of rows in most tables. */
const MAX_ROWS = 10_000;
/** So many rows are asked for at least, where some of them may not be wanted. */
const MIN_ROWS = 100;

/** What is asked for. */
export interface DeltaQuestion {
  /** What the one who asks has seen. */
  readonly base: VersionVector;
  /** How many nodes a page has at most. */
  readonly limit: number;
  /** The key after which the page begins. */
  readonly after?: string | undefined;
  /** How many rows of one bucket are looked at for it, in either order. For tests. */
  readonly maxRows?: number;
}

/** One page. */
export interface DeltaPage {
  /** The counter's item as it was before the nodes were read. */
  readonly state: State;
  /** Nodes and tombstones outside of the base, in the order of {@linkcode comparePlaces}. */
  readonly nodes: readonly StoredNode[];
  /** The key after which the next page begins; `null` on the last one. */
  readonly next: string | null;
}

/** Reads one page. */
export async function readDelta(
  reader: TableReader,
  call: Call,
  question: DeltaQuestion,
): Promise<DeltaPage> {
  const { base, limit, after, maxRows = MAX_ROWS } = question;
  const state = await reader.readState(call);
  const lowest = lowestMissing(base, seenOf(state));
  if (lowest === Infinity) return { state, nodes: [], next: null };
  const start = after === undefined ? 0 : bucketOf(after);
  const told = nodesOf(state);
  const isTold = tellsStampsAfter(state, lowest);
  const isOutside = (node: StoredNode) =>
    !includesDot(base, { version: stampOf(node), replicaId: node.replicaId ?? state.replicaId });
  const readByKey = async (bucket: number): Promise<BucketRange> => {
    const nodes: StoredNode[] = [];
    let end = bucket === start ? after : undefined;
    let found = 0;
    do {
      const part = await reader.queryKeys(call, BUCKETS[bucket] ?? "", {
        after: end,
        limit: Math.min(maxRows, Math.max(MIN_ROWS, limit + 1 - found)),
      });
      nodes.push(...part.nodes);
      found += part.nodes.filter(isOutside).length;
      end = part.end;
    } while (end !== undefined && found <= limit && nodes.length < maxRows);
    return { nodes, end };
  };
  /** Nothing where the index has too many rows, of which those before the page would be read for every page. */
  const readBucket = async (bucket: number): Promise<BucketRange | undefined> => {
    if (isTold) return { nodes: [], end: undefined };
    if (lowest === 0) return await readByKey(bucket);
    const range = { version: lowest, limit: maxRows };
    const { nodes, end } = await reader.queryBucket(call, BUCKETS[bucket] ?? "", range);
    return end === Infinity ? { nodes, end: undefined } : undefined;
  };
  const nodes: StoredNode[] = [];
  // Most deltas are small, and have a node or two in each of the buckets. The whole table is not.
  let width = lowest > 0 && after === undefined ? BUCKETS.length : 1;
  for (let first = start; first < BUCKETS.length; first += width, width *= 2) {
    const buckets = [...BUCKETS.keys()].slice(first, first + width);
    const shelves = await inParallel(buckets, readBucket);
    for (const [i, bucket] of buckets.entries()) {
      const shelf = shelves[i] ?? await readByKey(bucket);
      const isWanted = (node: StoredNode) =>
        bucketOf(node.key) === bucket && isOutside(node) &&
        (after === undefined || comparePlaces(node.key, after) > 0) &&
        (shelf.end === undefined || comparePlaces(node.key, shelf.end) <= 0);
      const latest = reader.choose([...shelf.nodes, ...told], state);
      nodes.push(...[...latest.values()].filter(isWanted).sort((a, b) => comparePlaces(a.key, b.key)));
      const last = nodes[limit - 1];
      if (nodes.length > limit && last) return { state, nodes: nodes.slice(0, limit), next: last.key };
      if (shelf.end !== undefined) return { state, nodes, next: shelf.end };
    }
  }
  return { state, nodes, next: null };
}
