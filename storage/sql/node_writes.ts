/**
 * Writes changes of the storage's own to an SQL storage's table.
 *
 * @module
 */
import { marksOf } from "../../src/store/history.ts";
import { utf8Length } from "../../src/store/node.ts";
import type { NodeChange, ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { lastVersionOf, toNumber } from "./rows.ts";
import type { TableClient } from "./table_client.ts";

/** Writes changes, which must be checked and at least one. */
export async function applyChanges(
  table: TableClient,
  operation: string,
  changes: readonly NodeChange[],
): Promise<RealityNodeMeta[]> {
  const next = await table.nextNumbers(operation);
  let offset = 0;
  const placed = changes.map(({ key, hash, updatedAt, deleted }) => {
    offset += next.step;
    return { key, offset, hash, updatedAt, expiresAt: deleted ? table.expiresAt() : null };
  });
  const statement = table.dialect.applyChanges(placed, next);
  const lastOf = (last: number) => Math.max(last, next.floor) + offset;
  const rows = await table.askForNumbers(operation, statement, lastOf);
  const base = lastVersionOf(rows, operation) - offset;
  return changes.map(({ key, hash, updatedAt, deleted }, i) => {
    const meta: RealityNodeMeta = { key, version: base + (placed[i]?.offset ?? 0), hash, updatedAt };
    if (deleted) meta.deleted = true;
    return meta;
  });
}

/** Publishes a node, which must be checked. */
export async function setNode(table: TableClient, meta: RealityNodeMeta): Promise<void> {
  const operation = "setNode";
  const next = await table.nextNumbers(operation);
  const expiresAt = meta.deleted ? table.expiresAt() : null;
  const statement = table.dialect.setNode(meta, expiresAt, { ...next, marks: marksOf([meta.key]) });
  // A node that is published late moves the counter as a reservation does.
  await table.askForNumbers(operation, statement, (last) => Math.max(last, next.floor) + next.step);
}

/** Implements {@linkcode RealityStorage.incrementVersion}. */
export async function incrementVersion(table: TableClient): Promise<number> {
  const operation = "incrementVersion";
  const next = await table.nextNumbers(operation);
  const statement = table.dialect.increment(next);
  const nextOf = (last: number) => Math.max(last, next.floor) + next.step;
  const [row] = await table.askForNumbers(operation, statement, nextOf);
  return toNumber(row?.version, operation);
}

/**
 * Checks that a node fits into the columns. A database that is not strict truncates a longer key, and then two keys are
 * one.
 *
 * @throws {RangeError} When a field is too long.
 */
export function checkLengths(table: TableClient, node: NodeChange | RealityNodeMeta | ReplicatedNode): void {
  const { maxBytes } = table.dialect;
  if (maxBytes === undefined) return;
  const fields = [
    ["key", node.key, maxBytes.key],
    ["hash", node.hash, maxBytes.hash],
    ["origin", "replicaId" in node ? node.replicaId : "", maxBytes.origin],
  ] as const;
  for (const [name, value, most] of fields) {
    if (utf8Length(value) <= most) continue;
    throw new RangeError(`Cannot write a node: its ${name} is longer than ${most} bytes`);
  }
}
