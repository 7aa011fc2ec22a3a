/**
 * Parses the rows of an SQL storage's table. A driver's values get their types here. Pure.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import type {
  OutboxRow,
  ReplicaState,
  ReplicatedNode,
  StorageIdentity,
  StorageMoment,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import type { SQLRow } from "./dialect.ts";
import { parseMesh } from "./mesh_column.ts";

/** The counter's row. */
export interface CounterRow extends StorageIdentity {
  /** The last version given. */
  readonly counter: number;
  /** The number with which the residue was drawn; 0 before that. */
  readonly drawn: number;
  /** The highest version that was ever visible. */
  readonly maxVersion: number;
  /** The highest version of an own dot that was ever visible. */
  readonly maxDotVersion: number;
  /** The text of the column `mesh`. */
  readonly mesh: string;
  /** The highest id of a pending row of the outbox; left out for none. */
  readonly outbox?: number;
}

/** A delta's rows. */
export interface MissingRows {
  /** The nodes and tombstones. */
  readonly nodes: readonly ReplicatedNode[];
  /** The text of the column `mesh`, of the same moment; left out if the counter's row is missing. */
  readonly mesh?: string;
}

/** Parses the result of {@linkcode SQLDialect.readCounter}. */
export function toCounterRow(row: SQLRow | undefined, operation: string): CounterRow {
  return {
    drawn: toNumber(row?.drawn, operation),
    counter: toNumber(row?.counter, operation),
    maxVersion: toNumber(row?.max_version, operation),
    maxDotVersion: toNumber(row?.max_stamp, operation),
    mesh: String(row?.mesh),
    epoch: String(row?.epoch),
    replicaId: String(row?.origin),
    ...toPending(row, operation),
  };
}

/** Parses the counter's row among node rows, whose columns have other meanings there (`SQLDialect.readMoment`). */
export function toCounterMoment(row: SQLRow, operation: string): StorageMoment {
  return {
    maxVersion: toNumber(row.version, operation),
    epoch: String(row.hash),
    replicaId: String(row.origin),
    collectedVersion: toNumber(row.updated_at, operation),
    late: toNumber(row.late, operation),
    recent: String(row.recent),
    ...toPending(row, operation),
  };
}

/** The highest id of a pending row of the outbox, from a counter's row. */
function toPending(row: SQLRow | undefined, operation: string): Pick<StorageMoment, "outbox"> {
  const id = row?.outbox;
  return id === undefined || id === null ? {} : { outbox: toNumber(id, operation) };
}

/** Parses a row of the outbox. Any program may have written it: a format that is no number is NaN. */
export function toOutboxRow(row: SQLRow, operation: string): OutboxRow {
  return {
    id: toNumber(row.id, operation),
    key: row.key,
    hash: row.hash,
    format: Number(row.format),
  };
}

/** Parses node rows and the counter's row among them. */
export function toMoment(
  rows: readonly SQLRow[],
  operation: string,
): StorageMoment & { metas: RealityNodeMeta[] } {
  const metas: RealityNodeMeta[] = [];
  let moment: StorageMoment = { maxVersion: 0, epoch: "", replicaId: "", collectedVersion: 0, late: 0 };
  for (const row of rows) {
    if (row.node_key === "") moment = toCounterMoment(row, operation);
    else metas.push(toMeta(row, operation));
  }
  return { metas, ...moment };
}

/** Parses a node row. */
export function toMeta(row: SQLRow, operation: string): RealityNodeMeta {
  const meta: RealityNodeMeta = {
    key: String(row.node_key),
    version: toNumber(row.version, operation),
    hash: String(row.hash),
    updatedAt: toNumber(row.updated_at, operation),
  };
  if (Number(row.deleted) === 1) meta.deleted = true;
  return meta;
}

/** Parses a replicated row. */
export function toReplicated(row: SQLRow, operation: string): ReplicatedNode {
  return {
    ...toMeta(row, operation),
    replicaId: String(row.origin),
    dotVersion: toNumber(row.stamp, operation),
  };
}

/** Parses replicated rows and, among them, the counter's row with its column `mesh` (`SQLDialect.readMissing`). */
export function toMissing(rows: readonly SQLRow[], operation: string): MissingRows {
  const counter = rows.find((row) => row.node_key === "");
  const nodes = rows.filter((row) => row !== counter).map((row) => toReplicated(row, operation));
  return counter ? { nodes, mesh: String(counter.hash) } : { nodes };
}

/** The replica state that a counter's row describes. */
export function toReplicaState(counter: CounterRow): ReplicaState {
  const { epoch, replicaId, maxVersion, maxDotVersion, outbox } = counter;
  const { vector, ...known } = parseMesh(counter.mesh);
  return {
    epoch,
    replicaId,
    vector: new Map([...vector, [replicaId, maxDotVersion]]),
    ...known,
    maxVersion,
    ...(outbox === undefined ? {} : { outbox }),
  };
}

/** The keys of rows. */
export function keysOf(rows: readonly SQLRow[]): Set<string> {
  return new Set(rows.map((row) => String(row.node_key)));
}

/** The counter as a write returns it: the version in the row with the empty key. */
export function lastVersionOf(rows: readonly SQLRow[], operation: string): number {
  return toNumber(rows.find((row) => row.node_key === "")?.version, operation);
}

/** Parses an integer. Drivers give numbers, bigints or text; above 2^53 none of them is exact. */
export function toNumber(value: unknown, operation: string): number {
  const number = typeof value === "string" || typeof value === "bigint" ? Number(value) : value;
  if (Number.isSafeInteger(number)) return number as number;
  throw new StorageError(operation, `expected an integer below 2^53, got ${String(value)}`);
}
