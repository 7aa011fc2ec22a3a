/**
 * PostgreSQL's statements that write changes of the storage's own.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import {
  align,
  conditionalItems,
  isWritten,
  MAX_VERSION,
  type SQLTable,
  statement,
  UNMERGED_LENGTH,
} from "../fragments.ts";
import type { PlacedChange } from "../placement.ts";
import { EXCLUDED, NEXT, recentText, toArray, WRITTEN } from "./fragments.ts";

/** {@linkcode SQLDialect.applyChanges} */
export function applyChanges({ quoted, now }: SQLTable): SQLDialect["applyChanges"] {
  const apply = (rows: string) =>
    `WITH counter AS (UPDATE ${quoted} SET counter = ${NEXT}, max_version = ${NEXT}, max_stamp = ${NEXT}, ` +
    `hash = ${recentText({ to: NEXT })} ` +
    `WHERE node_key = '' AND ${NEXT} <= ${MAX_VERSION} RETURNING counter AS last), ` +
    `nodes AS (INSERT INTO ${quoted} (${WRITTEN}) ${rows} ON CONFLICT (node_key) DO UPDATE SET ${EXCLUDED}) ` +
    `SELECT '' AS node_key, last AS version FROM counter`;
  const one = apply(`SELECT $4::text, last, $5::text, $6::bigint, $7::bigint + ${now} FROM counter`);
  const many = apply(
    `SELECT change.key, last - $3::bigint + change.place, change.hash, change.time, change.expiry + ${now} FROM counter, ` +
      "unnest($4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::bigint[], $8::text::bigint[]) " +
      "AS change (key, place, hash, time, expiry)",
  );
  return (changes, { floor, step }) => {
    const total = changes.at(-1)?.offset ?? 0;
    const [only] = changes;
    return changes.length === 1 && only
      ? statement(one, floor, step, total, only.key, only.hash, only.updatedAt, only.expiresAt)
      : statement(many, floor, step, total, ...changeParams(changes));
  };
}

/** {@linkcode SQLDialect.applyConditional} */
export function applyConditional({ quoted, now }: SQLTable): SQLDialect["applyConditional"] {
  const isSame = (a: string, b: string) => `${a} COLLATE "C" = ${b} COLLATE "C"`;
  const sql =
    `WITH change AS MATERIALIZED (SELECT DISTINCT item.key, item.place, item.hash, item.time, item.expiry ` +
    `FROM unnest($4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::bigint[], $8::text::bigint[], ` +
    `$9::text::text[], $10::text::text[]) AS item (key, place, hash, time, expiry, cond_key, cond_hash) ` +
    `LEFT JOIN ${quoted} AS node ON node.node_key = item.cond_key LEFT JOIN ${quoted} AS state ON state.node_key = '' ` +
    `WHERE ${isWritten(isSame, `left(state.mesh, ${UNMERGED_LENGTH})`)}), ` +
    `counter AS (UPDATE ${quoted} SET counter = ${NEXT}, max_version = ${NEXT}, max_stamp = ${NEXT}, ` +
    `hash = ${recentText({ to: NEXT })} WHERE node_key = '' AND ${NEXT} <= ${MAX_VERSION} ` +
    `AND EXISTS (SELECT FROM change) RETURNING counter AS last), ` +
    `nodes AS (INSERT INTO ${quoted} (${WRITTEN}) SELECT change.key, last - $3::bigint + change.place, change.hash, ` +
    `change.time, change.expiry + ${now} FROM counter, change ` +
    `ON CONFLICT (node_key) DO UPDATE SET ${EXCLUDED} RETURNING node_key) ` +
    `SELECT '' AS node_key, last AS version FROM counter UNION ALL SELECT node_key, 0 FROM nodes`;
  return (changes, { floor, step }) => {
    const items = conditionalItems(changes);
    const columns = Array.from({ length: 7 }, (_, i) => toArray(items.map((item) => item[i] ?? null)));
    return statement(sql, floor, step, changes.at(-1)?.offset ?? 0, ...columns);
  };
}

/** The changes as one array a column. */
function changeParams(changes: readonly PlacedChange[]): string[] {
  return [
    toArray(changes.map(({ key }) => key)),
    toArray(changes.map(({ offset }) => offset)),
    toArray(changes.map(({ hash }) => hash)),
    toArray(changes.map(({ updatedAt }) => updatedAt)),
    toArray(changes.map(({ expiresAt }) => expiresAt)),
  ];
}

/** What decides which of two nodes is newer. */
function rank(row: string): string {
  return `(${row}.version, ${row}.updated_at, ${row}.hash COLLATE "C", ${row}.expires_at IS NOT NULL)`;
}

/** {@linkcode SQLDialect.setNode} */
export function setNode({ quoted, now }: SQLTable): SQLDialect["setNode"] {
  // Other storages may have merged everything up to the highest own dot version. A node at or below it gets a new one.
  // Whether the node is newer is checked first, so that no number is used up for nothing.
  const isLate = "is_new AND ($2::bigint <= max_stamp OR ($2::bigint - state.updated_at) % $7::bigint <> 0)";
  const lateDot = `${align("greatest(counter, $6::bigint)", "state.updated_at", "$7::bigint")} + $7::bigint`;
  const recent = recentText({
    to: "$2::bigint",
    late: { isLate: "is_new AND $2::bigint <= max_version", marks: "$8::text" },
  });
  const sql = `WITH given AS MATERIALIZED (SELECT NOT EXISTS (SELECT FROM ${quoted} AS node ` +
    `WHERE node_key = $1::text AND node_key <> '' AND ${rank("node")} >= ` +
    `($2::bigint, $4::bigint, $3::text COLLATE "C", $5::bigint IS NOT NULL)) AS is_new), ` +
    `counter AS (UPDATE ${quoted} AS state SET ` +
    `counter = greatest(counter, $2::bigint, CASE WHEN ${isLate} THEN ${lateDot} END), ` +
    `max_stamp = CASE WHEN ${isLate} THEN ${lateDot} WHEN is_new THEN $2::bigint ELSE max_stamp END, ` +
    `max_version = greatest(max_version, $2::bigint), ` +
    `hash = ${recent}, ` +
    `late = late + (is_new AND $2::bigint <= max_version)::int FROM given ` +
    `WHERE node_key = '' AND NOT (${isLate} AND ${lateDot} > ${MAX_VERSION}) ` +
    `RETURNING node_key, max_stamp, is_new), ` +
    `node AS (INSERT INTO ${quoted} AS node (${WRITTEN}, stamp) ` +
    `SELECT $1::text, $2::bigint, $3::text, $4::bigint, $5::bigint + ${now}, nullif(max_stamp, $2::bigint) ` +
    `FROM counter WHERE is_new ` +
    `ON CONFLICT (node_key) DO UPDATE SET ${EXCLUDED} WHERE ${rank("excluded")} > ${rank("node")}) ` +
    `SELECT node_key FROM counter`;
  return ({ key, version, hash, updatedAt }, expiresAt, { floor, step, marks }) =>
    statement(sql, key, version, hash, updatedAt, expiresAt, floor, step, marks);
}
