/**
 * The nodes that a DynamoDB table has and another storage lacks, page by page.
 *
 * Read the counter's item before the rows. Then each node that the version vector includes is in the rows, or in the
 * item's commits if its row is not visible yet. A change that is committed meanwhile may be in the rows. It is then
 * newer than the version vector, which is harmless. A key that moves while rows are read is not missed: in the table
 * a key never moves, and in the index it only moves up.
 *
 * @module
 */
import { includesDot, lowestMissing, type VersionVector } from "../../src/store/contract.ts";
import type { Call } from "./call.ts";
import { inParallel } from "./in_parallel.ts";
import type { KeyPage } from "./table_queries.ts";
import { recentNodesOf, type TableReader } from "./table_reader.ts";
import { containsDotsAfter, type State, vectorOf } from "./state.ts";
import { dotVersionOf, type StoredNode } from "./stored_node.ts";
import { bucketOf, BUCKETS, compareKeys } from "./table.ts";

/** The most rows of one bucket for a page, about 2 MB in most tables. */
const MAX_ROWS = 10_000;
/** The fewest rows of one request, since `base` may include some of them. */
const MIN_ROWS = 100;

/** The page to read. */
export interface DeltaQuery {
  /** The version vector of the storage that asks. */
  readonly base: VersionVector;
  /** The most nodes of a page. */
  readonly limit: number;
  /** The key after which the page begins. */
  readonly after?: string | undefined;
  /** The most rows of one bucket that are read, in either order. For tests. */
  readonly maxRows?: number;
}

/** One page. */
export interface DeltaPage {
  /** The counter's item as it was before the nodes were read. */
  readonly state: State;
  /** Nodes and tombstones whose dots the base does not include, in the order of {@linkcode compareKeys}. */
  readonly nodes: readonly StoredNode[];
  /** The key after which the next page begins; `null` on the last one. */
  readonly next: string | null;
}

/** Reads one page. */
export async function readDelta(
  reader: TableReader,
  call: Call,
  query: DeltaQuery,
): Promise<DeltaPage> {
  const { base, limit, after, maxRows = MAX_ROWS } = query;
  const state = await reader.readState(call);
  const lowest = lowestMissing(base, vectorOf(state));
  if (lowest === Infinity) return { state, nodes: [], next: null };
  const start = after === undefined ? 0 : bucketOf(after);
  const recent = recentNodesOf(state);
  const isRecent = containsDotsAfter(state, lowest);
  const isOutside = (node: StoredNode) =>
    !includesDot(base, { version: dotVersionOf(node), replicaId: node.replicaId ?? state.replicaId });
  const readByKey = async (bucket: number): Promise<KeyPage> => {
    const nodes: StoredNode[] = [];
    let end = bucket === start ? after : undefined;
    let found = 0;
    do {
      const part = await reader.queries.queryKeys(call, BUCKETS[bucket] ?? "", {
        after: end,
        limit: Math.min(maxRows, Math.max(MIN_ROWS, limit + 1 - found)),
      });
      nodes.push(...part.nodes);
      found += part.nodes.filter(isOutside).length;
      end = part.end;
    } while (end !== undefined && found <= limit && nodes.length < maxRows);
    return { nodes, end };
  };
  /** `undefined` if the index has too many rows: each page would read the rows of the pages before it again. */
  const readBucket = async (bucket: number): Promise<KeyPage | undefined> => {
    if (isRecent) return { nodes: [], end: undefined };
    if (lowest === 0) return await readByKey(bucket);
    const range = { version: lowest, limit: maxRows };
    const { nodes, end } = await reader.queries.queryBucket(call, BUCKETS[bucket] ?? "", range);
    return end === Infinity ? { nodes, end: undefined } : undefined;
  };
  const nodes: StoredNode[] = [];
  // Most deltas are small and have a few nodes in each bucket, so read all buckets at once. A full copy is large.
  let width = lowest > 0 && after === undefined ? BUCKETS.length : 1;
  for (let first = start; first < BUCKETS.length; first += width, width *= 2) {
    const buckets = [...BUCKETS.keys()].slice(first, first + width);
    const pages = await inParallel(buckets, readBucket);
    for (const [i, bucket] of buckets.entries()) {
      const page = pages[i] ?? await readByKey(bucket);
      const isWanted = (node: StoredNode) =>
        bucketOf(node.key) === bucket && isOutside(node) &&
        (after === undefined || compareKeys(node.key, after) > 0) &&
        (page.end === undefined || compareKeys(node.key, page.end) <= 0);
      const latest = reader.latestOf([...page.nodes, ...recent], state);
      nodes.push(...[...latest.values()].filter(isWanted).sort((a, b) => compareKeys(a.key, b.key)));
      const last = nodes[limit - 1];
      if (nodes.length > limit && last) return { state, nodes: nodes.slice(0, limit), next: last.key };
      if (page.end !== undefined) return { state, nodes, next: page.end };
    }
  }
  return { state, nodes, next: null };
}
