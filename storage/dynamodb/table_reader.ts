/**
 * Readings of a DynamoDB table, each as of one state of the counter's item.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { createEpoch, createReplicaId } from "../../src/store/contract.ts";
import type { ServiceClock } from "./service_clock.ts";
import { type Call, nameOf } from "./client.ts";
import {
  completeTo,
  createState,
  isCollected,
  isLater,
  placeOf,
  type State,
  type StoredNode,
  tellsAfter,
  tellsSince,
} from "./state.ts";
import {
  BUCKETS,
  fitsTable,
  formatState,
  INDEX,
  isState,
  type Item,
  keyOf,
  parseNode,
  parseState,
  STATE_KEY,
} from "./table.ts";

/** The most items that one batch read takes. */
const PAGE = 100;
/** So many pages, or buckets, are asked for at once. */
const MAX_REQUESTS = 16;
/**
 * So often a reading is brought forward to one moment before it is given as it is. Numbers from the clock are long, so
 * the counter's item tells of few commits, and a reading beside many writers takes several rounds.
 */
export const MAX_ROUNDS = 24;

/** What a reading found. */
export interface View {
  /** As of when. */
  readonly state: State;
  /** Nodes and tombstones. */
  readonly nodes: Map<string, StoredNode>;
  /** Whether some of them may be newer: so much was written meanwhile that no moment was found. */
  readonly isMixed?: true;
}

/** A part of the history. */
export interface IndexRange {
  readonly nodes: readonly StoredNode[];
  /** It is complete up to this version, or place in the index. */
  readonly end: number;
}

/** A part of a bucket. */
export interface BucketRange {
  readonly nodes: readonly StoredNode[];
  /** It is complete up to this key; `undefined` for all that follows. */
  readonly end: string | undefined;
}

/** Reads a table, and remembers how its counter's item stood. */
export class TableReader {
  /** Commits in `last` of which this process knows that all they wrote is visible. */
  readonly settled: Set<number> = new Set();
  readonly #tableName: string;
  readonly #clock: ServiceClock;
  readonly #draw: (counter: number) => number;
  #last: State | undefined;

  /**
   * @param tableName The table's name, or its ARN.
   * @param clock Tells which tombstones count as forgotten.
   * @param draw Gives a number above a counter, with which a new table's residue is drawn; 0 for none.
   */
  constructor(tableName: string, clock: ServiceClock, draw: (counter: number) => number = () => 0) {
    this.#tableName = tableName;
    this.#clock = clock;
    this.#draw = draw;
  }

  /** The latest state that this process has met. */
  get last(): State | undefined {
    return this.#last;
  }

  /** Forgets it: the item is not there any more. */
  forget(): void {
    this.#last = undefined;
  }

  /** Reads nodes and tombstones as of one state. */
  async look(call: Call, keys: readonly string[]): Promise<View> {
    const asked = new Set(keys.filter(fitsTable));
    if (asked.size === 0) return { state: await this.readState(call), nodes: new Map() };
    const isOnePage = asked.size < PAGE;
    // Rows are as new as the state that was known before they were asked for, however long before.
    let base = isOnePage && this.#last !== undefined ? this.#last : await this.readState(call);
    let [state, found] = await this.#readPages(call, asked, base);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (!tellsSince(state, base)) {
        const isFar = isOnePage || state.replicaId !== base.replicaId || state.late !== base.late;
        const next = state;
        if (isFar) [state, found] = await this.#readPages(call, asked, next);
        else {
          // Reading many rows again takes as long as it did, so that more is written; what was is less.
          const { nodes } = await this.#queryHistory(call, base, base.maxVersion);
          state = await this.readState(call);
          found.push(...nodes, ...nodesOf(next), ...nodesOf(state));
        }
        base = next;
      } else if (found.some((node) => node.revision > state.revision)) {
        // A row of a transaction that the counter's item will show in a moment.
        if (round > 0) await call.pause(round - 1);
        state = await this.readState(call);
        found.push(...nodesOf(state));
      } else {
        return { state, nodes: this.choose(found, state, asked) };
      }
    }
    return { state: base, nodes: this.choose(found, base, asked), isMixed: true };
  }

  /** Rows, with what the states before and after them tell. */
  async #readPages(call: Call, keys: ReadonlySet<string>, base: State): Promise<[State, StoredNode[]]> {
    const before = this.#last;
    let state: State | undefined;
    let rows: StoredNode[];
    if (keys.size < PAGE) {
      const items = await this.#readItems(call, [STATE_KEY, ...[...keys].map(keyOf)]);
      const item = items.find(isState);
      if (item) state = this.note(this.parse(call, () => parseState(item)), before);
      rows = this.parse(call, () => items.filter((item) => !isState(item)).map(parseNode));
    } else {
      rows = await this.readRows(call, [...keys]);
    }
    state ??= await this.readState(call);
    return [state, [...rows, ...nodesOf(base), ...nodesOf(state)]];
  }

  /** Of each key what the latest commit wrote, without tombstones that are forgotten. */
  choose(found: readonly StoredNode[], state: State, keys?: ReadonlySet<string>): Map<string, StoredNode> {
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

  /** The history after a version as of one state: the first so many, or all. */
  async readHistory(
    call: Call,
    version: number,
    limit: number,
  ): Promise<{ readonly state: State; readonly nodes: StoredNode[] }> {
    let base = await this.readState(call);
    if (!(limit >= 1)) return { state: base, nodes: [] };
    if (tellsAfter(base, version)) {
      return { state: base, nodes: this.#cut(nodesOf(base), base, { version, limit }) };
    }
    let { nodes: found, end } = await this.#queryHistory(call, base, version, limit);
    let state = await this.readState(call);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (tellsSince(state, base)) {
        const all = [...found, ...nodesOf(base), ...nodesOf(state)];
        const nodes = this.#cut(all, state, { version, limit, end });
        const isEnough = end === Infinity || nodes.length >= limit;
        if (isEnough && all.every((node) => node.revision <= state.revision)) return { state, nodes };
        if (isEnough) {
          // A row of a transaction that the counter's item will show in a moment.
          if (round > 0) await call.pause(round - 1);
          state = await this.readState(call);
          continue;
        }
      }
      // More was written than the counter's item tells. All that was found stays right where nothing is cut.
      const next = state;
      const goesOn = limit === Infinity && next.replicaId === base.replicaId && next.late === base.late;
      const more = await this.#queryHistory(call, next, goesOn ? base.maxVersion : version, limit);
      found = goesOn ? [...found, ...nodesOf(base), ...more.nodes] : more.nodes;
      end = more.end;
      base = next;
      state = await this.readState(call);
    }
    // Of what came while this was read nothing is told: all of it lies above the counter that goes with it.
    end = Math.min(end, base.maxVersion);
    return { state: base, nodes: this.#cut([...found, ...nodesOf(base)], base, { version, limit, end }) };
  }

  /** Nodes in order of version: those in a range, the first so many without cutting a version apart. */
  #cut(
    found: readonly StoredNode[],
    state: State,
    range: { readonly version: number; readonly limit: number; readonly end?: number },
  ): StoredNode[] {
    const { version, limit, end = Infinity } = range;
    const nodes = [...this.choose(found, state).values()]
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
  ): Promise<IndexRange> {
    // Nodes are spread evenly, so each bucket has about its share; and some of them may have moved on.
    const wanted = limit + nodesOf(state).length;
    for (let share = Math.ceil(wanted / BUCKETS.length * 1.5) + 4;; share *= 4) {
      const parts = await inParallel(
        BUCKETS,
        (bucket) => this.queryBucket(call, bucket, { version, limit: share }),
      );
      const nodes = parts.flatMap((part) => part.nodes);
      const end = completeTo(state, Math.min(...parts.map((part) => part.end)));
      if (end === Infinity) return { nodes, end };
      if (this.#cut(nodes, state, { version, limit: Infinity, end }).length >= wanted) return { nodes, end };
    }
  }

  /** Rows of a bucket in order of place, above one: about so many, or all. */
  async queryBucket(
    call: Call,
    bucket: string,
    { version, limit }: { readonly version: number; readonly limit: number },
  ): Promise<IndexRange> {
    const nodes: StoredNode[] = [];
    let start: unknown;
    do {
      const { Items = [], LastEvaluatedKey } = await call.request("query", {
        TableName: this.#tableName,
        IndexName: INDEX,
        ConsistentRead: true,
        KeyConditionExpression: "#bucket = :bucket AND #version > :version",
        ExpressionAttributeNames: { "#bucket": "bucket", "#version": "version" },
        ExpressionAttributeValues: { ":bucket": { S: bucket }, ":version": { N: String(version) } },
        ...(limit < Infinity ? { Limit: limit - nodes.length } : {}),
        ...(start ? { ExclusiveStartKey: start } : {}),
      });
      nodes.push(...this.parse(call, () => (Items as Item[]).map(parseNode)));
      start = LastEvaluatedKey;
    } while (start && nodes.length < limit);
    // The next row may have the place of the last one.
    const last = nodes.at(-1);
    return { nodes, end: start ? (last ? placeOf(last) - 1 : version) : Infinity };
  }

  /** Rows of a bucket in order of key, after one or from the first on: about so many, or all. */
  async queryKeys(
    call: Call,
    bucket: string,
    { after, limit }: { readonly after: string | undefined; readonly limit: number },
  ): Promise<BucketRange> {
    const nodes: StoredNode[] = [];
    let end = after;
    do {
      const { Items = [], LastEvaluatedKey } = await call.request("query", {
        TableName: this.#tableName,
        ConsistentRead: true,
        KeyConditionExpression: "#bucket = :bucket" + (end === undefined ? "" : " AND #key > :end"),
        ExpressionAttributeNames: {
          "#bucket": "bucket",
          ...(end === undefined ? {} : { "#key": "node_key" }),
        },
        ExpressionAttributeValues: {
          ":bucket": { S: bucket },
          ...(end === undefined ? {} : { ":end": { S: end } }),
        },
        ...(limit < Infinity ? { Limit: limit - nodes.length } : {}),
      });
      nodes.push(...this.parse(call, () => (Items as Item[]).map(parseNode)));
      end = (LastEvaluatedKey as Item | undefined)?.node_key?.S;
    } while (end !== undefined && nodes.length < limit);
    return { nodes, end };
  }

  async readRows(call: Call, keys: readonly string[]): Promise<StoredNode[]> {
    const items = await this.#readItems(call, [...new Set(keys)].map(keyOf));
    return this.parse(call, () => items.map(parseNode));
  }

  /** Reads items in pages; what DynamoDB leaves out of a page is asked for again. */
  async #readItems(call: Call, keys: readonly Item[]): Promise<Item[]> {
    const pages: (readonly Item[])[] = [];
    for (let i = 0; i < keys.length; i += PAGE) pages.push(keys.slice(i, i + PAGE));
    const items = await inParallel(pages, async (page) => {
      const found: Item[] = [];
      let left = page;
      for (let attempt = 0; left.length > 0; attempt++) {
        if (attempt > 0) await call.pause(attempt - 1);
        const { Responses = {}, UnprocessedKeys = {} } = await call.request("batchGetItem", {
          RequestItems: { [this.#tableName]: { Keys: left, ConsistentRead: true } },
        });
        found.push(...Object.values(Responses as Record<string, readonly Item[]>).flat());
        left = Object.values(UnprocessedKeys as Record<string, { Keys?: readonly Item[] }>)
          .flatMap(({ Keys = [] }) => Keys);
      }
      return found;
    });
    return items.flat();
  }

  /** Reads the counter's item; makes it where it is not there. */
  async readState(call: Call): Promise<State> {
    const before = this.#last;
    const item = await this.#readStateItem(call);
    if (item) return this.note(this.parse(call, () => parseState(item)), before);
    // Never below what is there already, should somebody have taken away this one item.
    const tops = await inParallel(BUCKETS, (bucket) => this.#readTop(call, bucket));
    const counter = Math.max(0, ...tops);
    const names = { epoch: createEpoch(this.#clock.early), replicaId: createReplicaId() };
    try {
      await call.request("putItem", {
        TableName: this.#tableName,
        Item: formatState(createState(names, counter, this.#draw(counter))),
        ConditionExpression: "attribute_not_exists(#bucket)",
        ExpressionAttributeNames: { "#bucket": "bucket" },
      }, ["ConditionalCheckFailedException"]);
    } catch (error) {
      // Another server was first.
      if (nameOf(error) !== "ConditionalCheckFailedException") throw error;
    }
    const made = await this.#readStateItem(call);
    if (!made) throw new StorageError(call.operation, "the counter's item is not there");
    return this.note(this.parse(call, () => parseState(made)));
  }

  async #readStateItem(call: Call): Promise<Item | undefined> {
    const { Item: item } = await call.request("getItem", {
      TableName: this.#tableName,
      Key: STATE_KEY,
      ConsistentRead: true,
    });
    return item as Item | undefined;
  }

  async #readTop(call: Call, bucket: string): Promise<number> {
    const { Items = [] } = await call.request("query", {
      TableName: this.#tableName,
      IndexName: INDEX,
      ConsistentRead: true,
      ScanIndexForward: false,
      Limit: 1,
      KeyConditionExpression: "#bucket = :bucket",
      ExpressionAttributeNames: { "#bucket": "bucket" },
      ExpressionAttributeValues: { ":bucket": { S: bucket } },
    });
    return this.parse(call, () => (Items as Item[]).map(parseNode)).map(placeOf)[0] ?? 0;
  }

  /**
   * Remembers a state if it is later than the one remembered, or of another life of the data, or if the table was set
   * back: if it is earlier than what had been met when it was asked for.
   *
   * @param before What was remembered when it was asked for.
   */
  note(state: State, before?: State): State {
    const last = this.#last;
    const isOther = last?.replicaId !== state.replicaId;
    const isSetBack = before !== undefined && !isLater(state, before);
    if (isOther || isSetBack || isLater(state, last)) {
      // Of commits that are not of this history nothing is known.
      if (last === undefined || !tellsSince(state, last)) this.settled.clear();
      this.#last = state;
      const first = state.revision - state.commits.length;
      for (const revision of this.settled) if (revision <= first) this.settled.delete(revision);
    }
    return state;
  }

  parse<T>(call: Call, read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw new StorageError(call.operation, error);
    }
  }
}

/** All that the counter's item tells. */
export function nodesOf(state: State): StoredNode[] {
  return state.commits.flatMap(({ nodes }) => nodes);
}

/**
 * Does something for each, several at once, and gives the results in order. After one failure nothing more is begun,
 * and what is under way comes to its end first: no request outlives the call that sent it.
 */
export async function inParallel<T, U>(values: readonly T[], work: (value: T) => Promise<U>): Promise<U[]> {
  const results: U[] = [];
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    while (next < values.length && failures.length === 0) {
      const i = next++;
      try {
        results[i] = await work(values[i] as T);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_REQUESTS, values.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}
