/**
 * PostgreSQL's statements that read nodes.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import { MAX_VERSION, noPending, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { ANY_KEY, READ_ONLY, toArray } from "./fragments.ts";

/** The counter's row beside node rows, as {@linkcode SQLDialect.readMoment} describes it. */
function selectCounter(table: SQLTable): string {
  return `SELECT node_key, max_version AS version, epoch AS hash, swept_version AS updated_at, ` +
    `0 AS deleted, late, origin, hash AS recent, ${READ_ONLY}${pendingColumn(table)} ` +
    `FROM ${table.quoted} WHERE node_key = ''`;
}

function selectNodes({ quoted }: SQLTable): string {
  return `SELECT node_key, version, hash, updated_at, 0 AS deleted FROM ${quoted} WHERE expires_at IS NULL`;
}

function selectKeys(table: SQLTable): string {
  return `${selectNodes(table)} AND node_key = ${ANY_KEY} AND node_key <> ''`;
}

function selectHistory({ quoted }: SQLTable): string {
  return `SELECT node_key, version, hash, updated_at, (expires_at IS NOT NULL)::int AS deleted ` +
    `FROM ${quoted} WHERE version > $1 AND node_key <> ''`;
}

/** {@linkcode SQLDialect.readNodes} */
export function readNodes(table: SQLTable): SQLDialect["readNodes"] {
  const one = `${selectNodes(table)} AND node_key = $1 AND node_key <> ''`;
  const many = selectKeys(table);
  return (keys) => keys.length === 1 ? statement(one, keys[0] ?? "") : statement(many, toArray(keys));
}

/** {@linkcode SQLDialect.readMoment} */
export function readMoment(table: SQLTable): SQLDialect["readMoment"] {
  const sql = `${selectCounter(table)} UNION ALL SELECT *, 0, NULL, NULL, 0${noPending(table)} ` +
    `FROM (${selectKeys(table)}) AS nodes`;
  return (keys) => statement(sql, toArray(keys));
}

/** {@linkcode SQLDialect.readChanges} */
export function readChanges(table: SQLTable): SQLDialect["readChanges"] {
  const changes = `${selectHistory(table)} ORDER BY version LIMIT $2`;
  const sql = `${selectCounter(table)} UNION ALL SELECT *, 0, NULL, NULL, 0${noPending(table)} ` +
    `FROM (${changes}) AS nodes`;
  return (version, limit) => statement(sql, version, limit);
}

/** {@linkcode SQLDialect.listChanged} */
export function listChanged(table: SQLTable): SQLDialect["listChanged"] {
  const history = selectHistory(table);
  const nth =
    `SELECT version FROM ${table.quoted} WHERE version > $1 AND node_key <> '' ORDER BY version LIMIT 1 OFFSET $2`;
  const all = `${history} ORDER BY version`;
  const limited = `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`;
  return (version, limit) =>
    limit === undefined ? statement(all, version) : statement(limited, version, Math.ceil(limit) - 1);
}
