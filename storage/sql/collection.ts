/**
 * Collects expired tombstones of an SQL storage.
 *
 * @module
 */
import { joinVectors } from "../../src/store/contract.ts";
import { MAX_COLLECTED, type SQLRow, type VectorEntries } from "./dialect.ts";
import { formatMesh } from "./mesh_column.ts";
import { toNumber } from "./rows.ts";
import type { TableClient } from "./table_client.ts";

/**
 * Deletes the oldest expired tombstones: at most {@linkcode MAX_COLLECTED}.
 *
 * @returns Whether there may be more.
 */
export async function collectTombstones(table: TableClient): Promise<boolean> {
  const operation = "sweep";
  const expired = (await table.ask(operation, table.dialect.findExpired(table.testTime())))
    .map((row) => toExpired(row, operation));
  if (expired.length === 0) return false;
  const found: VectorEntries = expired.map(({ replicaId, dotVersion }) => [replicaId, dotVersion] as const);
  const version = Math.max(...expired.map((one) => one.version));
  // Recorded before anything is deleted: if only one of the two is done, the history claims too little, never too much.
  const entries = await table.updateCounter(operation, async (counter, known) => {
    // Tombstones of a replica that was forgotten since they were found were written again, with another dot.
    const { forgotten } = known;
    const entries = found.filter(([replicaId, dot]) =>
      replicaId === null || (forgotten?.get(replicaId) ?? 0) < dot
    );
    const named = new Map(entries.map(([replicaId, dot]) => [replicaId ?? counter.replicaId, dot]));
    const mesh = formatMesh({ ...known, collected: joinVectors(known.collected, named) });
    const rows = await table.ask(operation, table.dialect.markCollected(counter.mesh, mesh, version));
    return rows.length > 0 ? entries : undefined;
  });
  const until = Math.max(...expired.map(({ expiresAt }) => expiresAt));
  await table.ask(operation, table.dialect.collect(until, entries));
  return expired.reduce((sum, { found }) => sum + found, 0) >= MAX_COLLECTED;
}

/** The expired tombstones of one replica. */
interface ExpiredRow {
  /** The replica; `null` for the storage's own. */
  readonly replicaId: string | null;
  readonly found: number;
  readonly dotVersion: number;
  readonly version: number;
  readonly expiresAt: number;
}

function toExpired(row: SQLRow, operation: string): ExpiredRow {
  return {
    replicaId: row.origin === null ? null : String(row.origin),
    found: toNumber(row.found, operation),
    dotVersion: toNumber(row.stamp, operation),
    version: toNumber(row.version, operation),
    expiresAt: toNumber(row.expires_at, operation),
  };
}
