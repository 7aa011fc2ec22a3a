/**
 * SQLite's statements that read nodes.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import { MAX_VERSION, noPending, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { nodeColumns, toReal } from "./fragments.ts";

/** The counter's row beside node rows, as {@linkcode SQLDialect.readMoment} describes it. */
function selectCounter(table: SQLTable): string {
  return `SELECT '' AS node_key, CAST(max_version AS REAL) AS version, epoch AS hash, ` +
    `CAST(swept_version AS REAL) AS updated_at, 0 AS deleted, CAST(late AS REAL) AS late, origin, hash AS recent${
      pendingColumn(table, toReal)
    } FROM ${table.quoted} WHERE node_key = ''`;
}

function selectNodes({ quoted }: SQLTable): string {
  return `SELECT ${nodeColumns()}, 0 AS deleted FROM ${quoted} WHERE expires_at IS NULL`;
}

/** The nodes of several keys, which travel as one JSON text: no limit on bound parameters applies. */
function selectKeys(table: SQLTable): string {
  return `${selectNodes(table)} AND node_key IN (SELECT value FROM json_each(?)) AND node_key <> ''`;
}

function selectHistory({ quoted }: SQLTable): string {
  return `SELECT ${nodeColumns()}, expires_at IS NOT NULL AS deleted FROM ${quoted} ` +
    `WHERE version > ? AND node_key <> ''`;
}

/** {@linkcode SQLDialect.readNodes} */
export function readNodes(table: SQLTable): SQLDialect["readNodes"] {
  const one = `${selectNodes(table)} AND node_key = ?`;
  const many = selectKeys(table);
  return (keys) => keys.length === 1 ? statement(one, keys[0] ?? "") : statement(many, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readMoment} */
export function readMoment(table: SQLTable): SQLDialect["readMoment"] {
  const sql = `${selectCounter(table)} UNION ALL SELECT *, 0, NULL, NULL${noPending(table)} ` +
    `FROM (${selectKeys(table)})`;
  return (keys) => statement(sql, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readChanges} */
export function readChanges(table: SQLTable): SQLDialect["readChanges"] {
  const changes = `${selectHistory(table)} ORDER BY version LIMIT ?`;
  const sql = `${selectCounter(table)} UNION ALL SELECT *, 0, NULL, NULL${
    noPending(table)
  } FROM (${changes})`;
  return (version, limit) => statement(sql, version, limit);
}

/** {@linkcode SQLDialect.listChanged} */
export function listChanged(table: SQLTable): SQLDialect["listChanged"] {
  const history = selectHistory(table);
  const nth =
    `SELECT version FROM ${table.quoted} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1 OFFSET ?`;
  const all = `${history} ORDER BY version`;
  const limited = `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`;
  return (version, limit) =>
    limit === undefined ? statement(all, version) : statement(limited, version, version, limit - 1);
}
