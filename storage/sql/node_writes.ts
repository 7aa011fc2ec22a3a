/**
 * Writes changes of the storage's own to an SQL storage's table.
 *
 * @module
 */
import { marksOf } from "../../src/store/history.ts";
import { utf8Length } from "../../src/store/node.ts";
import { StorageError } from "../../src/errors.ts";
import type { AppliedMeta, NodeChange, ReplicatedNode } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkCounter } from "../validate.ts";
import { readReplicated } from "./node_reads.ts";
import type { PlacedChange, PlacedConditional } from "./placement.ts";
import { keysOf, lastVersionOf, toNumber } from "./rows.ts";
import { MAX_RETRIES } from "./statement_runner.ts";
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
  return placed.map((change) => metaOf(change, base));
}

function metaOf({ key, offset, hash, updatedAt, expiresAt }: PlacedChange, base: number): RealityNodeMeta {
  const meta: RealityNodeMeta = { key, version: base + offset, hash, updatedAt };
  if (expiresAt !== null) meta.deleted = true;
  return meta;
}

/** The same for changes of which some have conditions. */
export async function applyConditional(
  table: TableClient,
  operation: string,
  changes: readonly NodeChange[],
): Promise<AppliedMeta[]> {
  const next = await table.nextNumbers(operation);
  let total = 0;
  const placed = changes.map(({ key, hash, updatedAt, deleted, unless }): PlacedConditional => {
    total += next.step;
    return { key, offset: total, hash, updatedAt, expiresAt: deleted ? table.expiresAt() : null, unless };
  });
  const statement = table.dialect.applyConditional(placed, next);
  for (let attempt = 0; attempt < MAX_RETRIES; attempt++) {
    const rows = await table.ask(operation, statement);
    const isAny = rows.length > 0;
    const written = isAny && !table.dialect.writesUnreported ? keysOf(rows) : undefined;
    const unknown = changes.filter(({ key, unless }) => unless !== undefined && written?.has(key) !== true);
    const keys = unknown.flatMap((
      { key, unless = [] },
    ) => [key, ...isAny ? [] : unless.map((node) => node.key)]);
    const stored = keys.length > 0 ? await readReplicated(table, keys) : new Map<string, ReplicatedNode>();
    const base = isAny ? lastVersionOf(rows, operation) - total : 0;
    if (!isAny) {
      // Either nothing is to be written, or no number is left, or the counter's row is missing.
      checkCounter(Math.max((await table.readCounter(operation)).counter, next.floor) + total);
      if (!changes.every((change) => isUnchanged(change, stored))) continue;
    }
    return placed.map((change) => {
      const meta = metaOf(change, base);
      if (change.unless === undefined || written?.has(change.key)) return meta;
      const node = stored.get(change.key);
      // A node above the base was stored by this commit, or by one after it that may have replaced it.
      if (isAny && written === undefined && node !== undefined && node.version > base) return meta;
      if (node === undefined || node.deleted) return { ...meta, version: 0, unchanged: true };
      return {
        key: node.key,
        version: node.version,
        hash: node.hash,
        updatedAt: node.updatedAt,
        unchanged: true,
      };
    });
  }
  throw new StorageError(operation, "the nodes change all the time");
}

/** Whether a change is not to be written, given the stored nodes. */
function isUnchanged({ unless }: NodeChange, stored: ReadonlyMap<string, ReplicatedNode>): boolean {
  return unless?.every(({ key, hash }) => {
    const node = stored.get(key);
    return node !== undefined && !node.deleted && node.hash === hash;
  }) === true;
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
