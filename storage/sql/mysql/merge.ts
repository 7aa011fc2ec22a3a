/**
 * MySQL's statements for merging with other storages.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import { MAX_VERSION, mergeItem, type SQLTable, statement } from "../fragments.ts";
import {
  BASE,
  decode,
  dotVersionOf,
  given,
  insertRows,
  isSame,
  items,
  itemsParam,
  lockAndReplace,
  NEXT,
  selectNode,
  START,
  TEXT,
  toRows,
  vectorEntry,
} from "./fragments.ts";

/** Replicated rows, up to the table that follows STRAIGHT_JOIN. */
function selectReplicated({ quoted }: SQLTable): string {
  return `${selectNode("node.expires_at IS NOT NULL", decode("COALESCE(node.origin, state.origin)"))}, ` +
    `${dotVersionOf("node")} AS stamp FROM ${quoted} AS state STRAIGHT_JOIN`;
}

/** Replicated rows whose dots the version vector in the first parameter does not include. */
function selectMissing(table: SQLTable, index: string): string {
  return `${selectReplicated(table)} ${table.quoted} AS node FORCE INDEX (${index}) ` +
    `WHERE state.node_key = '' AND node.node_key <> '' ` +
    `AND ${dotVersionOf("node")} > COALESCE(${vectorEntry("COALESCE(node.origin, state.origin)")}, 0)`;
}

/** The counter's row beside replicated rows: the column `mesh` is in `hash`. */
function selectMesh({ quoted }: SQLTable): string {
  return `SELECT '' AS node_key, 0 AS version, ${decode("mesh")} AS hash, 0 AS updated_at, 0 AS deleted, ` +
    `0 AS late, ${decode("origin")} AS origin, NULL AS recent, 0 AS stamp FROM ${quoted} WHERE node_key = ''`;
}

/** {@linkcode SQLDialect.readReplicated} */
export function readReplicated(table: SQLTable): SQLDialect["readReplicated"] {
  const sql = `${selectReplicated(table)} JSON_TABLE(?, '$[*]' COLUMNS (name ${TEXT} PATH '$')) AS item ` +
    `STRAIGHT_JOIN ${table.quoted} AS node ON node.node_key = CAST(item.name AS BINARY) ` +
    `WHERE state.node_key = '' AND node.node_key <> ''`;
  return (keys) => statement(sql, JSON.stringify(keys));
}

/** {@linkcode SQLDialect.readMissing} */
export function readMissing(table: SQLTable): SQLDialect["readMissing"] {
  const mesh = selectMesh(table);
  const byVersion = selectMissing(table, "version");
  const byDot = selectMissing(table, "stamp");
  return (base, lowest, limit) => {
    const [vector, count] = [JSON.stringify(base), Math.ceil(limit)];
    return statement(
      `${mesh} UNION ALL (${byVersion} AND node.version > ? ORDER BY node.version LIMIT ${count}) UNION ALL ` +
        `(${byDot} AND node.stamp > ? AND node.version <= ? ORDER BY node.stamp LIMIT ${count})`,
      ...[vector, lowest, vector, lowest, lowest],
    );
  };
}

/** {@linkcode SQLDialect.readMissingPage} */
export function readMissingPage(table: SQLTable): SQLDialect["readMissingPage"] {
  const missing = selectMissing(table, "PRIMARY");
  return (base, after, limit) =>
    statement(
      `${missing} AND node.node_key > CAST(? AS BINARY) ORDER BY node.node_key LIMIT ${Math.ceil(limit)}`,
      JSON.stringify(base),
      after,
    );
}

/** {@linkcode SQLDialect.mergeNodes} */
export function mergeNodes(table: SQLTable): SQLDialect["mergeNodes"] {
  const last = `IF(given.total > 0, ${NEXT}, ${BASE})`;
  const replaced = "IF(node.node_key IS NULL, NULL, COALESCE(node.origin, state.origin))";
  const sql = insertRows(table, {
    // A change of the storage's own has no stamp. Its place is its offset.
    node: {
      version: `IF(item.stamp IS NULL, ${START} + item.place, item.place)`,
      replicaId: `IF(${isSame("item.origin", "state.origin")}, NULL, item.origin)`,
      dotVersion: "NULLIF(item.stamp, item.place)",
    },
    counter: {
      counter: `LAST_INSERT_ID(${last})`,
      maxVersion: `GREATEST(state.max_version, IF(given.total > 0, ${NEXT}, given.highest))`,
      maxDotVersion: `IF(given.total > 0, ${NEXT}, state.max_stamp)`,
      isLate: "given.lowest <= state.max_version",
    },
    from: mergeTables(),
  }) +
    ` LEFT JOIN ${table.quoted} AS node ON node.node_key = CAST(item.name AS BINARY) WHERE state.node_key = '' ` +
    `AND ${last} <= ${MAX_VERSION} AND (item.place = 0 OR ${dotVersionOf("node")} <=> item.stamp_there ` +
    `AND ${isSame(replaced, "item.origin_there")} ` +
    `AND (node.node_key IS NOT NULL OR given.notes IS NULL OR ${isSame("state.mesh", "given.notes")})) ` +
    lockAndReplace(table);
  return (merges, { floor, step, total, lowest, highest, mesh, marks }) => ({
    sql,
    params: [floor, step, total, lowest, highest, mesh, marks, itemsParam(merges.map(mergeItem))],
    toRows,
  });
}

/** The parameters of a merge as `given`, and its items as `item`. */
function mergeTables(): string {
  const bounds = given({
    floor: "SIGNED",
    step: "SIGNED",
    total: "SIGNED",
    lowest: "SIGNED",
    highest: "SIGNED",
    notes: "BINARY",
    marks: "BINARY",
  });
  return `${bounds} JOIN ` + items(
    `, stamp BIGINT PATH '$[5]', origin ${TEXT} PATH '$[6]', ` +
      `stamp_there BIGINT PATH '$[7]', origin_there ${TEXT} PATH '$[8]'`,
  );
}

/** {@linkcode SQLDialect.adoptVector} */
export function adoptVector({ quoted }: SQLTable): SQLDialect["adoptVector"] {
  const sql =
    `UPDATE ${quoted} SET counter = GREATEST(counter, ?), epoch = ?, mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) ` +
    `WHERE node_key = '' AND ${isSame("epoch", "?")} AND ${isSame("mesh", "?")}`;
  return (before, after, lowestCounter) => ({
    sql,
    params: [lowestCounter, after.epoch, after.mesh, before.epoch, before.mesh],
    toRows,
  });
}
