/**
 * The requests that read a DynamoDB table. All of them are strongly consistent.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import type { Call } from "./call.ts";
import { inParallel } from "./in_parallel.ts";
import { indexPositionOf, type StoredNode } from "./stored_node.ts";
import { INDEX, type Item, keyOf, parseNode, STATE_KEY } from "./table.ts";

/** The most items in one batch. */
export const BATCH_SIZE = 100;

/** A part of the history. */
export interface IndexPage {
  /** Nodes and tombstones. */
  readonly nodes: readonly StoredNode[];
  /** The part is complete up to this version, or position in the index. */
  readonly end: number;
}

/** A part of a bucket. */
export interface KeyPage {
  /** Nodes and tombstones. */
  readonly nodes: readonly StoredNode[];
  /** The part is complete up to this key; `undefined` for the end of the bucket. */
  readonly end: string | undefined;
}

/** Reads rows and items of one table. */
export class TableQueries {
  readonly #tableName: string;

  /** @param tableName The table's name, or its ARN. */
  constructor(tableName: string) {
    this.#tableName = tableName;
  }

  /** Rows of a bucket in order of index position, above one: about `limit`, or all. */
  async queryBucket(
    call: Call,
    bucket: string,
    { version, limit }: { readonly version: number; readonly limit: number },
  ): Promise<IndexPage> {
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
      nodes.push(...parseItems(call, () => (Items as Item[]).map(parseNode)));
      start = LastEvaluatedKey;
    } while (start && nodes.length < limit);
    // The next row may have the same position as the last one.
    const last = nodes.at(-1);
    return { nodes, end: start ? (last ? indexPositionOf(last) - 1 : version) : Infinity };
  }

  /** Rows of a bucket in order of key, after one or from the first on: about `limit`, or all. */
  async queryKeys(
    call: Call,
    bucket: string,
    { after, limit }: { readonly after: string | undefined; readonly limit: number },
  ): Promise<KeyPage> {
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
      nodes.push(...parseItems(call, () => (Items as Item[]).map(parseNode)));
      end = (LastEvaluatedKey as Item | undefined)?.node_key?.S;
    } while (end !== undefined && nodes.length < limit);
    return { nodes, end };
  }

  /** The rows of these keys. */
  async readRows(call: Call, keys: readonly string[]): Promise<StoredNode[]> {
    const items = await this.readItems(call, [...new Set(keys)].map(keyOf));
    return parseItems(call, () => items.map(parseNode));
  }

  /** Reads items in batches. Items that DynamoDB leaves out of a batch are requested again. */
  async readItems(call: Call, keys: readonly Item[]): Promise<Item[]> {
    const pages: (readonly Item[])[] = [];
    for (let i = 0; i < keys.length; i += BATCH_SIZE) pages.push(keys.slice(i, i + BATCH_SIZE));
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

  /** The counter's item; `undefined` if there is none. */
  async readStateItem(call: Call): Promise<Item | undefined> {
    const { Item: item } = await call.request("getItem", {
      TableName: this.#tableName,
      Key: STATE_KEY,
      ConsistentRead: true,
    });
    return item as Item | undefined;
  }

  /** The highest index position in a bucket; 0 for an empty one. */
  async highestPosition(call: Call, bucket: string): Promise<number> {
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
    return parseItems(call, () => (Items as Item[]).map(parseNode)).map(indexPositionOf)[0] ?? 0;
  }
}

/**
 * Parses what DynamoDB returned.
 *
 * @throws {StorageError} When an item cannot be parsed.
 */
export function parseItems<T>(call: Call, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new StorageError(call.operation, error);
  }
}
