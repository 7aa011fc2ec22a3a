/**
 * MySQL's statements that read nodes.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import { noPending, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { decode, selectNode, TEXT } from "./fragments.ts";

/** The counter's row beside node rows, as {@linkcode SQLDialect.readMoment} describes it. */
function selectCounter(table: SQLTable): string {
  return `SELECT '' AS node_key, max_version AS version, ${decode("epoch")} AS hash, ` +
    `swept_version AS updated_at, 0 AS deleted, late, ${decode("origin")} AS origin, ${
      decode("hash")
    } AS recent${pendingColumn(table)} FROM ${table.quoted} WHERE node_key = ''`;
}

function selectKeys({ quoted }: SQLTable, more: string = ""): string {
  return `${selectNode("0")}${more} FROM JSON_TABLE(?, '$[*]' COLUMNS (name ${TEXT} PATH '$')) AS item ` +
    `STRAIGHT_JOIN ${quoted} AS node ON node.node_key = CAST(item.name AS BINARY) ` +
    `WHERE node.node_key <> '' AND node.expires_at IS NULL`;
}

function selectHistory({ quoted }: SQLTable, more: string = ""): string {
  return `${selectNode("node.expires_at IS NOT NULL")}${more} FROM ${quoted} AS node FORCE INDEX (version) ` +
    `WHERE node.version > ? AND node.node_key <> ''`;
}

/** {@linkcode SQLDialect.readNodes} */
export function readNodes(table: SQLTable): SQLDialect["readNodes"] {
  const one = `${selectNode("0")} FROM ${table.quoted} AS node ` +
    `WHERE node.node_key = CAST(? AS BINARY) AND node.node_key <> '' AND node.expires_at IS NULL`;
  const many = selectKeys(table);
  return (keys) => keys.length === 1 ? statement(one, keys[0] ?? "") : statement(many, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readMoment} */
export function readMoment(table: SQLTable): SQLDialect["readMoment"] {
  const sql = `${selectCounter(table)} UNION ALL ${selectKeys(table, noPending(table))}`;
  return (keys) => statement(sql, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readChanges} */
export function readChanges(table: SQLTable): SQLDialect["readChanges"] {
  const counter = selectCounter(table);
  const history = selectHistory(table, noPending(table));
  return (version, limit) =>
    statement(
      `(${counter}) UNION ALL (${history} ORDER BY node.version LIMIT ${Math.ceil(limit)})`,
      version,
    );
}

/** {@linkcode SQLDialect.listChanged} */
export function listChanged(table: SQLTable): SQLDialect["listChanged"] {
  const history = selectHistory(table);
  // A union removes equal rows. As texts alone, "a" and "A" are equal.
  const distinct = selectHistory(table, ", node.node_key AS bytes");
  const nth =
    `SELECT version FROM ${table.quoted} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1`;
  return (version, limit) => {
    if (limit === undefined) return statement(`${history} ORDER BY node.version`, version);
    const count = Math.ceil(limit);
    // The first nodes, and all that share the version of the last of them.
    const sql = `(${distinct} ORDER BY node.version LIMIT ${count}) UNION ` +
      `(${distinct} AND node.version = (${nth} OFFSET ${count - 1})) ORDER BY version`;
    return statement(sql, version, version, version);
  };
}
