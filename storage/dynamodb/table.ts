/**
 * The table that a DynamoDB storage uses: its shape, and how its items are read and written. Pure.
 *
 * @module
 */
import { utf8Length } from "../../src/store/node.ts";
import type { VersionVector } from "../../src/store/contract.ts";
import type { Fields } from "./client.ts";
import { formatCommits, parseCommits } from "./commits.ts";
import { TTL_DELAY } from "./expiry.ts";
import type { ExpiringTombstones, State } from "./state.ts";
import { dotFields, indexPositionOf, type StoredNode, toNode } from "./stored_node.ts";

/** One value of an item, in the form of the API. */
export interface Value {
  readonly S?: string;
  readonly N?: string;
  readonly BOOL?: boolean;
}

/** An item, or the key of one. */
export type Item = Readonly<Record<string, Value>>;

/** The index that puts the nodes of a bucket in order: by their attribute "version", which is a node's place. */
export const INDEX = "by_version";

/** The attribute by which DynamoDB deletes tombstones. */
export const TTL_ATTRIBUTE = "expires_at";

/** The longest sort key, in bytes. */
export const MAX_KEY_BYTES = 1024;

/**
 * The number of partition keys that nodes are spread over. Each has at most 10 GB, 1000 write units and 3000 read
 * units a second. It is part of the table's shape: with another number nodes would not be found.
 */
const BUCKET_COUNT = 16;

/** The buckets, by name. */
export const BUCKETS: readonly string[] = Array.from(
  { length: BUCKET_COUNT },
  (_, i) => i.toString(16),
);

/** The key of the counter's item, which has a bucket of its own. */
export const STATE_KEY: Item = { bucket: { S: "state" }, node_key: { S: "state" } };

/** The input of `createTable`, without the name. */
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

/** Whether the table can have this key. DynamoDB rejects a request for any other key. */
export function fitsTable(key: string): boolean {
  return key !== "" && (key.length * 3 <= MAX_KEY_BYTES || utf8Length(key) <= MAX_KEY_BYTES);
}

/** The key of a node's item. */
export function keyOf(key: string): Item {
  // FNV-1a over UTF-16 spreads keys evenly over a few buckets.
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  const bucket = BUCKETS[(hash ^ (hash >>> 16)) & (BUCKET_COUNT - 1)] ?? "";
  return { bucket: { S: bucket }, node_key: { S: key } };
}

/** The order of keys in pages, which is the order of the table. A change of a node does not move its key. */
export function compareKeys(a: string, b: string): number {
  const [one, other] = [a, b].map(bucketOf) as [number, number];
  return one - other || compareBytes(a, b);
}

/** The index of the bucket of a key. */
export function bucketOf(key: string): number {
  return BUCKETS.indexOf(keyOf(key).bucket?.S ?? "");
}

/** The order of sort keys is that of their UTF-8. It differs from the order of UTF-16 for surrogates. */
function compareBytes(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [one, other] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (one !== other) return codePointRank(one) - codePointRank(other);
  }
  return a.length - b.length;
}

/** Moves surrogates above all other units: their characters are above all others. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}

/** Whether this is the counter's item. */
export function isState(item: Item): boolean {
  return item.bucket?.S === STATE_KEY.bucket?.S;
}

/** A node as an item. */
export function formatNode(node: StoredNode): Item {
  const { key, version, hash, updatedAt, revision, deleted, until, dotVersion, replicaId } = node;
  const position = indexPositionOf(node);
  const item: Record<string, Value> = {
    ...keyOf(key),
    version: { N: String(position) },
    hash: { S: hash },
    updated_at: { N: String(updatedAt) },
    revision: { N: String(revision) },
  };
  if (deleted) item.deleted = { BOOL: true };
  if (position !== version) item.node_version = { N: String(version) };
  if (dotVersion !== undefined) item.stamp = { N: String(dotVersion) };
  if (replicaId !== undefined) item.origin = { S: replicaId };
  if (until !== undefined) item[TTL_ATTRIBUTE] = { N: String(until + TTL_DELAY) };
  return item;
}

/** A node from its item. */
export function parseNode(item: Item): StoredNode {
  const position = readInteger(item, "version");
  const version = item.node_version === undefined ? position : readInteger(item, "node_version");
  const dotVersion = item.stamp === undefined ? version : readInteger(item, "stamp");
  const meta = {
    key: readText(item, "node_key"),
    version,
    hash: readText(item, "hash"),
    updatedAt: readInteger(item, "updated_at"),
  };
  let until: number | undefined;
  if (item.deleted?.BOOL) {
    until = item[TTL_ATTRIBUTE] === undefined ? 0 : readInteger(item, TTL_ATTRIBUTE) - TTL_DELAY;
  }
  return {
    ...toNode(meta, until),
    ...dotFields(version, { dotVersion, replicaId: item.origin?.S, indexPosition: position }),
    revision: readInteger(item, "revision"),
  };
}

/** The counter's item after a commit, with which a turn ends. */
export function formatState(state: State): Item {
  const item: Record<string, Value> = {
    ...STATE_KEY,
    epoch: { S: state.epoch },
    origin: { S: state.replicaId },
    revision: { N: String(state.revision) },
    counter: { N: String(state.counter) },
    max_version: { N: String(state.maxVersion) },
    swept_version: { N: String(state.collectedVersion) },
    late: { N: String(state.late) },
    commits: { S: formatCommits(state.commits) },
    graves: { S: JSON.stringify(state.expiring.map((group) => formatExpiring(group, state.replicaId))) },
  };
  if (state.drawn > 0) item.drawn = { N: String(state.drawn) };
  // A storage that is not part of a mesh has none of these fields, so its item is smaller.
  if (state.maxDotVersion !== state.maxVersion) item.max_stamp = { N: String(state.maxDotVersion) };
  if (state.vector.size > 0) item.seen = { S: JSON.stringify([...state.vector]) };
  if (state.forgotten) item.forgot = { S: JSON.stringify([...state.forgotten]) };
  if (!isOwnOnly(state.collected, state.replicaId, state.collectedVersion)) {
    item.swept = { S: JSON.stringify([...state.collected]) };
  }
  if (state.displaced.length > 0) {
    item.strays = {
      S: JSON.stringify(state.displaced.map(({ version, indexPosition }) => [version, indexPosition])),
    };
  }
  return item;
}

/** The state from the counter's item. */
export function parseState(item: Item): State {
  const maxVersion = readInteger(item, "max_version");
  const collectedVersion = readInteger(item, "swept_version");
  const replicaId = readText(item, "origin");
  return {
    epoch: readText(item, "epoch"),
    replicaId,
    revision: readInteger(item, "revision"),
    counter: readInteger(item, "counter"),
    drawn: item.drawn === undefined ? 0 : readInteger(item, "drawn"),
    maxVersion,
    maxDotVersion: item.max_stamp === undefined ? maxVersion : readInteger(item, "max_stamp"),
    vector: parseVector(item, "seen"),
    ...(item.forgot ? { forgotten: parseVector(item, "forgot") } : {}),
    collectedVersion,
    collected: item.swept === undefined ? ownVector(replicaId, collectedVersion) : parseVector(item, "swept"),
    displaced: (JSON.parse(item.strays?.S ?? "[]") as [number, number][]).map(
      ([version, position]) => ({ version, indexPosition: position }),
    ),
    late: readInteger(item, "late"),
    commits: parseCommits(readText(item, "commits")),
    expiring: (JSON.parse(readText(item, "graves")) as ExpiringText[]).map((group) =>
      parseExpiring(group, replicaId)
    ),
    turn: item.turn?.S,
  };
}

/** A time, a version, and the dots if they are not only that version of the own replica. */
type ExpiringText = [number, number, (readonly [string, number])[]?];

function formatExpiring({ until, version, vector }: ExpiringTombstones, own: string): ExpiringText {
  return isOwnOnly(vector, own, version) ? [until, version] : [until, version, [...vector]];
}

function parseExpiring([until, version, dots]: ExpiringText, own: string): ExpiringTombstones {
  return { until, version, vector: dots ? new Map(dots) : ownVector(own, version) };
}

/** Whether a version vector has only the storage's own entry, and this is the version. */
function isOwnOnly(vector: VersionVector, own: string, version: number): boolean {
  return version === 0 ? vector.size === 0 : vector.size === 1 && vector.get(own) === version;
}

function ownVector(own: string, version: number): VersionVector {
  return new Map(version === 0 ? [] : [[own, version]]);
}

/** A map as pairs, since an object cannot have every name, such as `__proto__`. */
function parseVector(item: Item, name: string): VersionVector {
  return new Map(JSON.parse(item[name]?.S ?? "[]") as [string, number][]);
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
