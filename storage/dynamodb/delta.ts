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
import { inParallel } from "./in_parallel.ts";
import type { KeyPage } from "./table_queries.ts";
import { recentNodesOf, type TableReader } from "./table_reader.ts";
import { containsDotsAfter, type State, vectorOf } from "./state.ts";
import { dotVersionOf, type StoredNode } from "./stored_node.ts";
import { bucketOf, BUCKETS, compareKeys } from "./table.ts";

/** Some 2 MB of rows in most tables. */
const MAX_ROWS = 10_000;
/** So many rows are asked for at least, where some of them may not be wanted. */
const MIN_ROWS = 100;

/** What is asked for. */
export interface DeltaQuery {
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
  /** Nodes and tombstones outside of the base, in the order of {@linkcode compareKeys}. */
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
  /** Nothing where the index has too many rows, of which those before the page would be read for every page. */
  const readBucket = async (bucket: number): Promise<KeyPage | undefined> => {
    if (isRecent) return { nodes: [], end: undefined };
    if (lowest === 0) return await readByKey(bucket);
    const range = { version: lowest, limit: maxRows };
    const { nodes, end } = await reader.queries.queryBucket(call, BUCKETS[bucket] ?? "", range);
    return end === Infinity ? { nodes, end: undefined } : undefined;
  };
  const nodes: StoredNode[] = [];
  // Most deltas are small, and have a node or two in each of the buckets. The whole table is not.
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
