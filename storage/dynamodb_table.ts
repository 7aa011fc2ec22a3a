/**
 * The table that a DynamoDB storage uses: its shape, and how its items are read and written. Pure.
 *
 * @module
 */
import { utf8Length } from "../src/node.ts";
import type { Fields } from "./dynamodb_client.ts";
import {
  formatCommits,
  type Grave,
  parseCommits,
  type State,
  type StoredNode,
  toNode,
  TTL_DELAY,
} from "./dynamodb_state.ts";

/** One value of an item, in the form of the API. */
export interface Value {
  readonly S?: string;
  readonly N?: string;
  readonly BOOL?: boolean;
}

/** An item, or the key of one. */
export type Item = Readonly<Record<string, Value>>;

/** The index that puts the nodes of a bucket in order of version. */
export const INDEX = "by_version";

/** The attribute by which DynamoDB takes tombstones away. */
export const TTL_ATTRIBUTE = "expires_at";

/** The most bytes that a sort key takes. */
export const MAX_KEY_BYTES = 1024;

/**
 * Nodes are spread over so many partition keys, each of which takes 10 GB, 1000 written and 3000 read units a
 * second. Part of the table's shape: with another number nodes would not be found.
 */
const BUCKET_COUNT = 16;

/** The buckets, by name. */
export const BUCKETS: readonly string[] = Array.from(
  { length: BUCKET_COUNT },
  (_, i) => i.toString(16),
);

/** The counter's item: beside the nodes, in a bucket of its own. */
export const STATE_KEY: Item = { bucket: { S: "state" }, node_key: { S: "state" } };

/** What makes the table, without its name. */
export const TABLE_SHAPE: Fields = {
  AttributeDefinitions: [
    { AttributeName: "bucket", AttributeType: "S" },
    { AttributeName: "node_key", AttributeType: "S" },
    { AttributeName: "version", AttributeType: "N" },
  ],
  KeySchema: [
    { AttributeName: "bucket", KeyType: "HASH" },
    { AttributeName: "node_key", KeyType: "RANGE" },
  ],
  LocalSecondaryIndexes: [{
    IndexName: INDEX,
    KeySchema: [
      { AttributeName: "bucket", KeyType: "HASH" },
      { AttributeName: "version", KeyType: "RANGE" },
    ],
    Projection: { ProjectionType: "ALL" },
  }],
  BillingMode: "PAY_PER_REQUEST",
};

/** Whether a key can be one of this table's, so that asking for it is no mistake. */
export function fitsTable(key: string): boolean {
  return key !== "" && (key.length * 3 <= MAX_KEY_BYTES || utf8Length(key) <= MAX_KEY_BYTES);
}

/** Where a node lies. */
export function keyOf(key: string): Item {
  // FNV-1a over UTF-16: short, and evenly spread over few buckets.
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  const bucket = BUCKETS[(hash ^ (hash >>> 16)) & (BUCKET_COUNT - 1)] ?? "";
  return { bucket: { S: bucket }, node_key: { S: key } };
}

/** Whether this is the counter's item. */
export function isState(item: Item): boolean {
  return item.bucket?.S === STATE_KEY.bucket?.S;
}

/** A node as an item. */
export function formatNode(node: StoredNode): Item {
  const { key, version, hash, updatedAt, revision, deleted, until } = node;
  const item: Record<string, Value> = {
    ...keyOf(key),
    version: { N: String(version) },
    hash: { S: hash },
    updated_at: { N: String(updatedAt) },
    revision: { N: String(revision) },
  };
  if (deleted) item.deleted = { BOOL: true };
  if (until !== undefined) item[TTL_ATTRIBUTE] = { N: String(until + TTL_DELAY) };
  return item;
}

/** A node from its item. */
export function parseNode(item: Item): StoredNode {
  const meta = {
    key: readText(item, "node_key"),
    version: readInteger(item, "version"),
    hash: readText(item, "hash"),
    updatedAt: readInteger(item, "updated_at"),
  };
  const revision = readInteger(item, "revision");
  if (!item.deleted?.BOOL) return { ...meta, revision };
  const until = item[TTL_ATTRIBUTE] === undefined ? 0 : readInteger(item, TTL_ATTRIBUTE) - TTL_DELAY;
  return { ...toNode(meta, until), revision };
}

/** The counter's item after a commit, with which a turn ends. */
export function formatState(state: State): Item {
  return {
    ...STATE_KEY,
    epoch: { S: state.epoch },
    origin: { S: state.origin },
    revision: { N: String(state.revision) },
    counter: { N: String(state.counter) },
    max_version: { N: String(state.maxVersion) },
    swept_version: { N: String(state.sweptVersion) },
    late: { N: String(state.late) },
    commits: { S: formatCommits(state.commits) },
    graves: { S: JSON.stringify(state.graves.map(({ until, version }) => [until, version])) },
  };
}

/** What the counter's item tells. */
export function parseState(item: Item): State {
  return {
    epoch: readText(item, "epoch"),
    origin: readText(item, "origin"),
    revision: readInteger(item, "revision"),
    counter: readInteger(item, "counter"),
    maxVersion: readInteger(item, "max_version"),
    sweptVersion: readInteger(item, "swept_version"),
    late: readInteger(item, "late"),
    commits: parseCommits(readText(item, "commits")),
    graves: (JSON.parse(readText(item, "graves")) as [number, number][]).map(
      ([until, version]): Grave => ({ until, version }),
    ),
    turn: item.turn?.S,
  };
}

function readText(item: Item, name: string): string {
  const text = item[name]?.S;
  if (typeof text !== "string") throw unreadable(item, name, "a text");
  return text;
}

function readInteger(item: Item, name: string): number {
  const number = Number(item[name]?.N);
  if (!Number.isSafeInteger(number)) throw unreadable(item, name, "an integer below 2^53");
  return number;
}

function unreadable(item: Item, name: string, expected: string): Error {
  const where = JSON.stringify([item.bucket?.S, item.node_key?.S]);
  return new Error(`item ${where}: expected ${expected} as "${name}", got ${JSON.stringify(item[name])}`);
}
