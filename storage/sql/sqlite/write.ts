/**
 * SQLite's statements that write changes of the storage's own.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import {
  align,
  changeItem,
  conditionalItems,
  isWritten,
  MAX_VERSION,
  type SQLTable,
  statement,
  UNMERGED_LENGTH,
} from "../fragments.ts";
import { baseOf, field, rank, recentText, upsert, WRITTEN } from "./fragments.ts";

/** {@linkcode SQLDialect.applyChanges} */
export function applyChanges({ quoted, now }: SQLTable): SQLDialect["applyChanges"] {
  // SQLite runs the SELECT before it writes the first row, since the statement reads the table that it writes. So all
  // rows count up from the same base.
  const apply = (row: string) =>
    `WITH given(floor, step, total) AS (SELECT ?, ?, ?), ` +
    `counter AS (SELECT ${
      align(baseOf("version", "floor"), "updated_at", "step")
    } AS base, total, origin, hash, max_version, ` +
    `updated_at AS drawn FROM given, ${quoted} WHERE node_key = ''), ` +
    `room AS (SELECT *, base + total AS last FROM counter WHERE base + total <= ${MAX_VERSION}) ` +
    `INSERT INTO ${quoted} (node_key, ${WRITTEN.join(", ")}) ` +
    `SELECT '', last, ${recentText("last")}, drawn, NULL, origin, NULL, last, last FROM room ` +
    `UNION ALL ${row} ${upsert()} RETURNING node_key, CAST(version AS REAL) AS version`;
  const one = apply(`SELECT ?, base + ?, ?, ?, ? + ${now}, NULL, NULL, NULL, NULL FROM room WHERE true`);
  const many = apply(
    `SELECT ${field(0)}, base + ${field(1)}, ${field(2)}, ${field(3)}, ${
      field(4)
    } + ${now}, NULL, NULL, NULL, NULL FROM room, json_each(?) WHERE true`,
  );
  return (changes, { floor, step }) => {
    const total = changes.at(-1)?.offset ?? 0;
    const [only] = changes;
    return changes.length === 1 && only
      ? statement(one, floor, step, total, ...changeItem(only))
      : statement(many, floor, step, total, JSON.stringify(changes.map(changeItem)));
  };
}

/** {@linkcode SQLDialect.applyConditional} */
export function applyConditional({ quoted, now }: SQLTable): SQLDialect["applyConditional"] {
  const names = ["key", "place", "hash", "time", "expiry", "cond_key", "cond_hash"];
  const sql = `WITH given(floor, step, total) AS (SELECT ?, ?, ?), ` +
    `state AS (SELECT node.*, total, ${align(baseOf("version", "floor"), "updated_at", "step")} AS base ` +
    `FROM given, ${quoted} AS node WHERE node_key = ''), ` +
    `room AS (SELECT *, base + total AS last FROM state WHERE base + total <= ${MAX_VERSION}), ` +
    `item AS MATERIALIZED (SELECT ${
      names.map((name, i) => `${field(i)} AS ${name}`).join(", ")
    } FROM json_each(?)), ` +
    `change AS MATERIALIZED (SELECT DISTINCT item.key, item.place, item.hash, item.time, item.expiry ` +
    `FROM state CROSS JOIN item LEFT JOIN ${quoted} AS node ON node.node_key = item.cond_key ` +
    `WHERE ${isWritten((a, b) => `${a} = ${b}`, `substr(state.mesh, 1, ${UNMERGED_LENGTH})`)}) ` +
    `INSERT INTO ${quoted} (node_key, ${WRITTEN.join(", ")}) ` +
    `SELECT '', last, ${recentText("last")}, updated_at, NULL, origin, NULL, last, last FROM room ` +
    `WHERE EXISTS (SELECT 1 FROM change) ` +
    `UNION ALL SELECT change.key, base + change.place, change.hash, change.time, change.expiry + ${now}, ` +
    `NULL, NULL, NULL, NULL FROM room, change WHERE true ` +
    `${upsert()} RETURNING node_key, CAST(version AS REAL) AS version`;
  return (changes, { floor, step }) =>
    statement(sql, floor, step, changes.at(-1)?.offset ?? 0, JSON.stringify(conditionalItems(changes)));
}

/** {@linkcode SQLDialect.setNode} */
export function setNode({ quoted, now }: SQLTable): SQLDialect["setNode"] {
  // Other storages may have merged everything up to the highest own dot version. A node at or below it gets a new one.
  const sql =
    `WITH given(node_key, version, hash, updated_at, expires_at, floor, step, marks) AS (SELECT ?, ?, ?, ?, ?, ?, ?, ?), ` +
    `state AS (SELECT given.*, counter.version AS last, counter.origin, counter.hash AS recent, counter.max_version, counter.max_stamp, ` +
    `counter.late, counter.updated_at AS drawn, ` +
    `${align(baseOf("counter.version", "floor"), "counter.updated_at", "step")} + step AS next, ` +
    `node.node_key IS NULL OR ${rank("given")} > ${rank("node")} AS is_new ` +
    `FROM given CROSS JOIN ${quoted} AS counter LEFT JOIN ${quoted} AS node ON node.node_key = given.node_key ` +
    `WHERE counter.node_key = ''), ` +
    `placed AS (SELECT *, is_new AND (version <= max_stamp OR (version - drawn) % step <> 0) AS is_late FROM state), ` +
    `room AS (SELECT * FROM placed WHERE NOT is_late OR next <= ${MAX_VERSION}) ` +
    `INSERT INTO ${quoted} (node_key, ${WRITTEN.join(", ")}, late) ` +
    `SELECT '', max(last, version, iif(is_late, next, 0)), ${
      recentText("version", "recent", "is_new AND version <= max_version")
    }, drawn, NULL, origin, NULL, max(max_version, version), ` +
    `iif(is_late, next, iif(is_new, version, max_stamp)), late + (is_new AND version <= max_version) FROM room ` +
    `UNION ALL SELECT node_key, version, hash, updated_at, expires_at + ${now}, NULL, iif(is_late, next, NULL), ` +
    `NULL, NULL, NULL FROM room WHERE is_new ${upsert(["late"])} RETURNING node_key`;
  return ({ key, version, hash, updatedAt }, expiresAt, { floor, step, marks }) =>
    statement(sql, key, version, hash, updatedAt, expiresAt, floor, step, marks);
}
