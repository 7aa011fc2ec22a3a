/**
 * Reads nodes from an SQL storage's table.
 *
 * @module
 */
import { type HistoryMoment, laterOf } from "../../src/store/history.ts";
import type { ReplicatedNode, StorageChanges, StorageReading } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { toMeta, toMoment, toReplicated } from "./rows.ts";
import type { TableClient } from "./table_client.ts";

/** The most characters of keys in one statement: at most 1.5 MB of UTF-8. D1 has the lowest limit, 2 MB. */
const MAX_KEYS_LENGTH = 500_000;

/** The nodes of these keys, with one statement. */
export async function readMetas(
  table: TableClient,
  operation: string,
  keys: readonly string[],
): Promise<RealityNodeMeta[]> {
  const rows = await table.ask(operation, table.dialect.readNodes(keys));
  return rows.map((row) => toMeta(row, operation));
}

/** Implements {@linkcode RealityStorage.getNodes}. */
export async function getNodes(
  table: TableClient,
  keys: readonly string[],
): Promise<Map<string, RealityNodeMeta>> {
  const nodes = new Map<string, RealityNodeMeta>();
  for (const chunk of splitKeys(keys)) {
    for (const meta of await readMetas(table, "getNodes", chunk)) nodes.set(meta.key, meta);
  }
  return nodes;
}

/** Implements {@linkcode RealityStorage.readNodes}. */
export async function readNodes(table: TableClient, keys: readonly string[]): Promise<StorageReading> {
  const chunks = splitKeys(keys);
  const first = await readMoment(table, chunks[0] ?? []);
  let { collectedVersion } = first;
  let newest: HistoryMoment | null = first;
  for (const chunk of chunks.slice(1)) {
    const next = await readMoment(table, chunk);
    // The data have another identity now. What was read before belongs to the old one.
    if (next.epoch !== first.epoch || next.replicaId !== first.replicaId) return await readNodes(table, keys);
    for (const [key, meta] of next.nodes) first.nodes.set(key, meta);
    collectedVersion = next.collectedVersion;
    newest = laterOf(newest, { maxVersion: next.maxVersion, recent: next.recent });
  }
  if (newest?.maxVersion === first.maxVersion) return { ...first, collectedVersion };
  return { ...first, collectedVersion, newest };
}

async function readMoment(
  table: TableClient,
  keys: readonly string[],
): Promise<StorageReading & { readonly nodes: Map<string, RealityNodeMeta> }> {
  const operation = "readNodes";
  const rows = await table.askWithCounter(operation, table.dialect.readMoment(keys));
  const { metas, ...moment } = toMoment(rows, operation);
  return { nodes: new Map(metas.map((meta) => [meta.key, meta])), ...moment };
}

/** Implements {@linkcode RealityStorage.readChanges}. */
export async function readChanges(
  table: TableClient,
  version: number,
  limit: number,
): Promise<StorageChanges> {
  const operation = "readChanges";
  const rows = await table.askWithCounter(operation, table.dialect.readChanges(version, limit));
  const { metas, ...moment } = toMoment(rows, operation);
  return { nodes: metas.sort((a, b) => a.version - b.version), ...moment };
}

/** Implements {@linkcode RealityStorage.listChangedSince}. */
export async function listChangedSince(
  table: TableClient,
  version: number,
  limit?: number,
): Promise<RealityNodeMeta[]> {
  if (limit !== undefined && limit < 1) return [];
  const statement = table.dialect.listChanged(version, limit === Infinity ? undefined : limit);
  const rows = await table.ask("listChangedSince", statement);
  return rows.map((row) => toMeta(row, "listChangedSince"));
}

/** Implements {@linkcode MeshStorage.readReplicated}. */
export async function readReplicated(
  table: TableClient,
  keys: readonly string[],
): Promise<Map<string, ReplicatedNode>> {
  const operation = "readReplicated";
  const nodes = new Map<string, ReplicatedNode>();
  for (const chunk of splitKeys(keys)) {
    for (const row of await table.ask(operation, table.dialect.readReplicated(chunk))) {
      const node = toReplicated(row, operation);
      nodes.set(node.key, node);
    }
  }
  return nodes;
}

/** The keys in as few lists as their length allows; no list for no keys. */
function splitKeys(keys: readonly string[]): string[][] {
  const chunks: string[][] = [];
  let chunk: string[] = [];
  let length = 0;
  for (const key of keys) {
    if (length + key.length > MAX_KEYS_LENGTH) {
      chunks.push(chunk);
      [chunk, length] = [[], 0];
    }
    chunk.push(key);
    length += key.length + 3;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}
