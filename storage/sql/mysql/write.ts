/**
 * MySQL's statements that write changes of the storage's own.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import {
  changeItem,
  conditionalItems,
  isWritten,
  MAX_VERSION,
  type SQLTable,
  UNMERGED_LENGTH,
} from "../fragments.ts";
import {
  given,
  insertRows,
  isSame,
  items,
  itemsParam,
  lockAndReplace,
  NEXT,
  START,
  TEXT,
  toRows,
} from "./fragments.ts";

/** {@linkcode SQLDialect.applyChanges} */
export function applyChanges(table: SQLTable): SQLDialect["applyChanges"] {
  const sql = insertRows(table, {
    node: { version: `${START} + item.place`, replicaId: "NULL", dotVersion: "NULL" },
    counter: { counter: `LAST_INSERT_ID(${NEXT})`, maxVersion: NEXT, maxDotVersion: NEXT, isLate: "0" },
    from: given({ floor: "SIGNED", step: "SIGNED", total: "SIGNED" }) + ` JOIN ${items()}`,
  }) + ` WHERE state.node_key = '' AND ${NEXT} <= ${MAX_VERSION} ${lockAndReplace(table)}`;
  return (changes, { floor, step }) => ({
    sql,
    params: [floor, step, changes.at(-1)?.offset ?? 0, itemsParam(changes.map(changeItem))],
    toRows,
  });
}

/** {@linkcode SQLDialect.applyConditional} */
export function applyConditional(table: SQLTable): SQLDialect["applyConditional"] {
  const conditions = `, cond_key ${TEXT} PATH '$[5]', cond_hash ${TEXT} PATH '$[6]'`;
  const sql = insertRows(table, {
    node: { version: `${START} + item.place`, replicaId: "NULL", dotVersion: "NULL" },
    counter: { counter: `LAST_INSERT_ID(${NEXT})`, maxVersion: NEXT, maxDotVersion: NEXT, isLate: "0" },
    from: given({ floor: "SIGNED", step: "SIGNED", total: "SIGNED" }) + ` JOIN ${items(conditions)}`,
  }) +
    ` LEFT JOIN ${table.quoted} AS node ON node.node_key = CAST(item.cond_key AS BINARY) ` +
    `WHERE state.node_key = '' AND ${NEXT} <= ${MAX_VERSION} ` +
    `AND ${isWritten(isSame, `LEFT(state.mesh, ${UNMERGED_LENGTH})`)} ${lockAndReplace(table)}`;
  return (changes, { floor, step }) => {
    const list = conditionalItems(changes);
    // The counter's row has the conditions of all changes: it is written if one of them is.
    const counters = list.map(([, , , , , ...condition]) => ["", 0, "", 0, null, ...condition]);
    const params = [floor, step, changes.at(-1)?.offset ?? 0, JSON.stringify([...counters, ...list])];
    return { sql, params, toRows };
  };
}

/** What decides which of two nodes is newer. */
function rank(row: string): string {
  return `(${row}.version, ${row}.updated_at, CAST(${row}.hash AS BINARY), ${row}.expires_at IS NOT NULL)`;
}

/** {@linkcode SQLDialect.setNode} */
export function setNode(table: SQLTable): SQLDialect["setNode"] {
  const isNew = `(node.node_key IS NULL OR ${rank("given")} > ${rank("node")})`;
  // Other storages may have merged everything up to the highest own dot version. A node at or below it gets a new one.
  const isLate = `${isNew} AND (given.version <= state.max_stamp ` +
    `OR (given.version - state.updated_at) % given.step <> 0)`;
  const lateDot = `${START} + given.step`;
  const sql = insertRows(table, {
    node: { version: "item.place", replicaId: "NULL", dotVersion: `IF(${isLate}, ${lateDot}, NULL)` },
    counter: {
      counter: `LAST_INSERT_ID(GREATEST(state.counter, given.version, IF(${isLate}, ${lateDot}, 0)))`,
      maxVersion: "GREATEST(state.max_version, given.version)",
      maxDotVersion: `IF(${isLate}, ${lateDot}, IF(${isNew}, given.version, state.max_stamp))`,
      isLate: `${isNew} AND given.version <= state.max_version`,
    },
    from: given({
      node_key: "BINARY",
      version: "SIGNED",
      hash: "BINARY",
      updated_at: "SIGNED",
      expires_at: "SIGNED",
      floor: "SIGNED",
      step: "SIGNED",
      marks: "BINARY",
    }) + ` JOIN ${items()}`,
  }) +
    ` LEFT JOIN ${table.quoted} AS node ON node.node_key = given.node_key WHERE state.node_key = '' ` +
    `AND NOT (${isLate} AND ${lateDot} > ${MAX_VERSION}) AND (item.place = 0 OR ${isNew}) ${
      lockAndReplace(table)
    }`;
  return ({ key, version, hash, updatedAt }, expiresAt, { floor, step, marks }) => ({
    sql,
    params: [
      ...[key, version, hash, updatedAt, expiresAt, floor, step, marks],
      itemsParam([[key, version, hash, updatedAt, expiresAt]]),
    ],
    toRows,
  });
}
