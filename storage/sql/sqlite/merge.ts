/**
 * SQLite's statements for merging with other storages.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import {
  align,
  dotVersionOf,
  MAX_VERSION,
  mergeItem,
  selectMesh,
  type SQLTable,
  statement,
} from "../fragments.ts";
import { baseOf, field, fromNodes, recentText, selectReplicated, upsert, WRITTEN } from "./fragments.ts";

/** The entries of a version vector, as a table `told`. */
function withVector(): string {
  return `told(origin, stamp) AS MATERIALIZED (SELECT ${field(0)}, ${field(1)} FROM json_each(?))`;
}

/** Replicated rows whose dots `told` does not include. */
function selectMissing(table: SQLTable): string {
  return `${selectReplicated()} FROM ${
    fromNodes(table)
  } LEFT JOIN told ON told.origin = coalesce(node.origin, state.origin) ` +
    `WHERE node.node_key <> '' AND ${dotVersionOf("node")} > coalesce(told.stamp, 0)`;
}

/** {@linkcode SQLDialect.readReplicated} */
export function readReplicated(table: SQLTable): SQLDialect["readReplicated"] {
  const sql = `${selectReplicated()} FROM ${fromNodes(table)} ` +
    `WHERE node.node_key IN (SELECT value FROM json_each(?)) AND node.node_key <> ''`;
  return (keys) => statement(sql, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readMissing} */
export function readMissing(table: SQLTable): SQLDialect["readMissing"] {
  const missing = selectMissing(table);
  const sql = `WITH ${withVector()} ${selectMesh(table)} ` +
    `UNION ALL SELECT * FROM (${missing} AND node.version > ? ORDER BY node.version LIMIT ?) ` +
    `UNION ALL SELECT * FROM (${missing} AND node.stamp > ? AND node.version <= ? ORDER BY node.stamp LIMIT ?)`;
  return (base, lowest, limit) => statement(sql, JSON.stringify(base), lowest, limit, lowest, lowest, limit);
}

/** {@linkcode SQLDialect.readMissingPage} */
export function readMissingPage(table: SQLTable): SQLDialect["readMissingPage"] {
  const sql = `WITH ${withVector()} ${
    selectMissing(table)
  } AND node.node_key > ? ORDER BY node.node_key LIMIT ?`;
  return (base, after, limit) => statement(sql, JSON.stringify(base), after, limit);
}

/** The parameters of a merge, the counter's row, and the merges as rows. */
function withMerges({ quoted }: SQLTable): string {
  return `WITH given(floor, step, total, lowest, highest, notes, marks) AS (SELECT ?, ?, ?, ?, ?, ?, ?), ` +
    `counter AS (SELECT given.*, node.*, ${
      align(baseOf("version", "floor"), "updated_at", "step")
    } AS base ` +
    `FROM given, ${quoted} AS node WHERE node_key = ''), ` +
    `state AS (SELECT *, iif(total > 0, base + total, max(version, floor)) AS last FROM counter), ` +
    `room AS (SELECT * FROM state WHERE last <= ${MAX_VERSION}), ` +
    `take AS MATERIALIZED (SELECT ${field(0)} AS node_key, ${field(1)} AS place, ${field(2)} AS hash, ` +
    `${field(3)} AS time, ${field(4)} AS expiry, ${field(5)} AS stamp, ${field(6)} AS origin, ` +
    `${field(7)} AS stamp_there, ${field(8)} AS origin_there FROM json_each(?)) `;
}

/** {@linkcode SQLDialect.mergeNodes} */
export function mergeNodes(table: SQLTable): SQLDialect["mergeNodes"] {
  const { quoted, now } = table;
  const sql = withMerges(table) +
    `INSERT INTO ${quoted} (node_key, ${WRITTEN.join(", ")}, late) ` +
    `SELECT '', last, ${
      recentText("iif(total > 0, last, highest)", "hash", "lowest <= max_version")
    }, updated_at, NULL, origin, NULL, max(max_version, iif(total > 0, last, highest)), ` +
    `iif(total > 0, last, max_stamp), late + (lowest <= max_version) FROM room ` +
    `UNION ALL SELECT take.node_key, iif(take.origin IS NULL, base + place, place), take.hash, time, expiry + ${now}, ` +
    `nullif(take.origin, room.origin), nullif(take.stamp, place), NULL, NULL, NULL ` +
    `FROM room CROSS JOIN take LEFT JOIN ${quoted} AS node ON node.node_key = take.node_key ` +
    `WHERE ${dotVersionOf("node")} IS stamp_there ` +
    `AND iif(node.node_key IS NULL, NULL, coalesce(node.origin, room.origin)) IS origin_there ` +
    `AND (node.node_key IS NOT NULL OR notes IS NULL OR notes = room.mesh) ` +
    `${upsert(["late"])} RETURNING node_key, CAST(version AS REAL) AS version`;
  return (merges, { floor, step, total, lowest, highest, mesh, marks }) =>
    statement(
      sql,
      ...[floor, step, total, lowest, highest, mesh, marks],
      JSON.stringify(merges.map(mergeItem)),
    );
}

/** {@linkcode SQLDialect.adoptVector} */
export function adoptVector({ quoted }: SQLTable): SQLDialect["adoptVector"] {
  const sql = `UPDATE ${quoted} SET version = max(version, ?), epoch = ?, mesh = ? ` +
    `WHERE node_key = '' AND epoch = ? AND mesh = ? RETURNING node_key`;
  return (before, after, lowestCounter) =>
    statement(sql, lowestCounter, after.epoch, after.mesh, before.epoch, before.mesh);
}
