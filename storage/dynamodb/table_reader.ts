/**
 * Reads a DynamoDB table. Each reading belongs to one state of the counter's item.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { createEpoch, createReplicaId } from "../../src/store/contract.ts";
import { inParallel } from "./in_parallel.ts";
import { BATCH_SIZE, type IndexPage, parseItems, TableQueries } from "./table_queries.ts";
import type { ServiceClock } from "./service_clock.ts";
import { type Call, nameOf } from "./call.ts";
import { isCollected } from "./expiry.ts";
import {
  completeTo,
  containsCommitsSince,
  containsVersionsAfter,
  createState,
  isLater,
  type State,
} from "./state.ts";
import type { StoredNode } from "./stored_node.ts";
import {
  BUCKETS,
  fitsTable,
  formatState,
  isState,
  keyOf,
  parseNode,
  parseState,
  STATE_KEY,
} from "./table.ts";

/**
 * The most rounds of a reading that looks for one moment. Numbers from the clock are long, so the counter's item
 * contains few commits, and a reading takes several rounds while many processes write.
 */
export const MAX_ROUNDS = 24;

/** The result of a reading. */
export interface TableReading {
  /** The state that the nodes belong to. */
  readonly state: State;
  /** Nodes and tombstones. */
  readonly nodes: Map<string, StoredNode>;
  /** Set if some nodes may be newer than the state, because no moment was found. */
  readonly isInconsistent?: true;
}

/** Reads a table, and remembers the latest state of the counter's item. */
export class TableReader {
  /** The revisions of commits in `last` whose rows are known to be visible. */
  readonly settled: Set<number> = new Set();
  /** Reads rows and items. */
  readonly queries: TableQueries;
  readonly #tableName: string;
  readonly #clock: ServiceClock;
  readonly #drawNumber: (counter: number) => number;
  #last: State | undefined;

  /**
   * @param tableName The table's name, or its ARN.
   * @param clock Tells which tombstones count as collected.
   * @param draw Returns the number above a counter that draws the residue of a new table; 0 for none.
   */
  constructor(tableName: string, clock: ServiceClock, draw: (counter: number) => number = () => 0) {
    this.#tableName = tableName;
    this.queries = new TableQueries(tableName);
    this.#clock = clock;
    this.#drawNumber = draw;
  }

  /** The latest state that this process has read. */
  get last(): State | undefined {
    return this.#last;
  }

  /** Forgets the latest state, since the item no longer exists. */
  forget(): void {
    this.#last = undefined;
  }

  /** Reads nodes and tombstones as of one state. */
  async readNodes(call: Call, keys: readonly string[]): Promise<TableReading> {
    const asked = new Set(keys.filter(fitsTable));
    if (asked.size === 0) return { state: await this.readState(call), nodes: new Map() };
    const isOnePage = asked.size < BATCH_SIZE;
    // Rows are at least as new as any state that was read before them, however old that state is.
    let base = isOnePage && this.#last !== undefined ? this.#last : await this.readState(call);
    let [state, found] = await this.#readPages(call, asked, base);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (!containsCommitsSince(state, base)) {
        const isFar = isOnePage || state.replicaId !== base.replicaId || state.late !== base.late;
        const next = state;
        if (isFar) [state, found] = await this.#readPages(call, asked, next);
        else {
          // Reading many rows again takes long, and more is written meanwhile. The history since then is shorter.
          const { nodes } = await this.#queryHistory(call, base, base.maxVersion);
          state = await this.readState(call);
          found.push(...nodes, ...recentNodesOf(next), ...recentNodesOf(state));
        }
        base = next;
      } else if (found.some((node) => node.revision > state.revision)) {
        // The row belongs to a transaction that will be visible in the counter's item soon.
        if (round > 0) await call.pause(round - 1);
        state = await this.readState(call);
        found.push(...recentNodesOf(state));
      } else {
        return { state, nodes: this.latestOf(found, state, asked) };
      }
    }
    return { state: base, nodes: this.latestOf(found, base, asked), isInconsistent: true };
  }

  /** Rows, and the recent nodes of the states before and after them. */
  async #readPages(call: Call, keys: ReadonlySet<string>, base: State): Promise<[State, StoredNode[]]> {
    const before = this.#last;
    let state: State | undefined;
    let rows: StoredNode[];
    if (keys.size < BATCH_SIZE) {
      const items = await this.queries.readItems(call, [STATE_KEY, ...[...keys].map(keyOf)]);
      const item = items.find(isState);
      if (item) state = this.remember(parseItems(call, () => parseState(item)), before);
      rows = parseItems(call, () => items.filter((item) => !isState(item)).map(parseNode));
    } else {
      rows = await this.queries.readRows(call, [...keys]);
    }
    state ??= await this.readState(call);
    return [state, [...rows, ...recentNodesOf(base), ...recentNodesOf(state)]];
  }

  /** For each key the node of the latest commit, without collected tombstones. */
  latestOf(found: readonly StoredNode[], state: State, keys?: ReadonlySet<string>): Map<string, StoredNode> {
    const now = this.#clock.early;
    const nodes = new Map<string, StoredNode>();
    for (const node of found) {
      if (keys?.has(node.key) === false) continue;
      const other = nodes.get(node.key);
      if (other === undefined || node.revision > other.revision) nodes.set(node.key, node);
    }
    for (const node of nodes.values()) if (isCollected(node, state, now)) nodes.delete(node.key);
    return nodes;
  }

  /** The history after a version as of one state, up to a limit. */
  async readHistory(
    call: Call,
    version: number,
    limit: number,
  ): Promise<{ readonly state: State; readonly nodes: StoredNode[] }> {
    let base = await this.readState(call);
    if (!(limit >= 1)) return { state: base, nodes: [] };
    if (containsVersionsAfter(base, version)) {
      return { state: base, nodes: this.#selectRange(recentNodesOf(base), base, { version, limit }) };
    }
    let { nodes: found, end } = await this.#queryHistory(call, base, version, limit);
    let state = await this.readState(call);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (containsCommitsSince(state, base)) {
        const all = [...found, ...recentNodesOf(base), ...recentNodesOf(state)];
        const nodes = this.#selectRange(all, state, { version, limit, end });
        const isEnough = end === Infinity || nodes.length >= limit;
        if (isEnough && all.every((node) => node.revision <= state.revision)) return { state, nodes };
        if (isEnough) {
          // The row belongs to a transaction that will be visible in the counter's item soon.
          if (round > 0) await call.pause(round - 1);
          state = await this.readState(call);
          continue;
        }
      }
      // The counter's item does not contain all commits since then. Without a limit, the nodes found so far stay valid.
      const next = state;
      const goesOn = limit === Infinity && next.replicaId === base.replicaId && next.late === base.late;
      const more = await this.#queryHistory(call, next, goesOn ? base.maxVersion : version, limit);
      found = goesOn ? [...found, ...recentNodesOf(base), ...more.nodes] : more.nodes;
      end = more.end;
      base = next;
      state = await this.readState(call);
    }
    // Leave out changes that were made during the reading. All of them are above the counter of this state.
    end = Math.min(end, base.maxVersion);
    return {
      state: base,
      nodes: this.#selectRange([...found, ...recentNodesOf(base)], base, { version, limit, end }),
    };
  }

  /** The nodes of a range in order of version, up to a limit. Nodes of one version are not separated. */
  #selectRange(
    found: readonly StoredNode[],
    state: State,
    range: { readonly version: number; readonly limit: number; readonly end?: number },
  ): StoredNode[] {
    const { version, limit, end = Infinity } = range;
    const nodes = [...this.latestOf(found, state).values()]
      .filter((node) => node.version > version && node.version <= end)
      .sort((a, b) => a.version - b.version);
    const last = nodes[limit - 1]?.version ?? Infinity;
    return nodes.filter((node) => node.version <= last);
  }

  /** Rows above a version, at least so many from the lowest version on, or all. */
  async #queryHistory(
    call: Call,
    state: State,
    version: number,
    limit: number = Infinity,
  ): Promise<IndexPage> {
    // Nodes are spread evenly, so each bucket has about its share; and some of them may have moved on.
    const wanted = limit + recentNodesOf(state).length;
    for (let share = Math.ceil(wanted / BUCKETS.length * 1.5) + 4;; share *= 4) {
      const parts = await inParallel(
        BUCKETS,
        (bucket) => this.queries.queryBucket(call, bucket, { version, limit: share }),
      );
      const nodes = parts.flatMap((part) => part.nodes);
      const end = completeTo(state, Math.min(...parts.map((part) => part.end)));
      if (end === Infinity) return { nodes, end };
      if (this.#selectRange(nodes, state, { version, limit: Infinity, end }).length >= wanted) {
        return { nodes, end };
      }
    }
  }

  /** Reads the counter's item. Creates it if it is missing. */
  async readState(call: Call): Promise<State> {
    const before = this.#last;
    const item = await this.queries.readStateItem(call);
    if (item) return this.remember(parseItems(call, () => parseState(item)), before);
    // If only this item was deleted, the counter must not be below the stored nodes.
    const positions = await inParallel(BUCKETS, (bucket) => this.queries.highestPosition(call, bucket));
    const counter = Math.max(0, ...positions);
    const names = { epoch: createEpoch(this.#clock.early), replicaId: createReplicaId() };
    try {
      await call.request("putItem", {
        TableName: this.#tableName,
        Item: formatState(createState(names, counter, this.#drawNumber(counter))),
        ConditionExpression: "attribute_not_exists(#bucket)",
        ExpressionAttributeNames: { "#bucket": "bucket" },
      }, ["ConditionalCheckFailedException"]);
    } catch (error) {
      // Another server was first.
      if (nameOf(error) !== "ConditionalCheckFailedException") throw error;
    }
    const made = await this.queries.readStateItem(call);
    if (!made) throw new StorageError(call.operation, "the counter's item is not there");
    return this.remember(parseItems(call, () => parseState(made)));
  }

  /**
   * Remembers a state if it is later than the remembered one, or has another replica id, or if the table was set
   * back. The table was set back if the state is earlier than the one that was remembered when the request was sent.
   *
   * @param before The state that was remembered when the request was sent.
   */
  remember(state: State, before?: State): State {
    const last = this.#last;
    const isOther = last?.replicaId !== state.replicaId;
    const isSetBack = before !== undefined && !isLater(state, before);
    if (isOther || isSetBack || isLater(state, last)) {
      // Nothing is known about the commits of another history.
      if (last === undefined || !containsCommitsSince(state, last)) this.settled.clear();
      this.#last = state;
      const first = state.revision - state.commits.length;
      for (const revision of this.settled) if (revision <= first) this.settled.delete(revision);
    }
    return state;
  }
}

/** The nodes of all commits that the counter's item contains. */
export function recentNodesOf(state: State): StoredNode[] {
  return state.commits.flatMap(({ nodes }) => nodes);
}
