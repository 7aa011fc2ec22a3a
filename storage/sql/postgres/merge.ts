/**
 * PostgreSQL's statements for merging with other storages.
 *
 * @module
 */
import type { SQLDialect } from "../dialect.ts";
import { dotVersionOf, MAX_VERSION, placeOf, selectMesh, type SQLTable, statement } from "../fragments.ts";
import type { PlacedMerge } from "../placement.ts";
import { ANY_KEY, BASE, NEXT, recentText, toArray, VECTOR, vectorParams, WRITTEN } from "./fragments.ts";

/** Replicated rows. */
function selectReplicated({ quoted }: SQLTable): string {
  return `SELECT node.node_key, node.version, node.hash, node.updated_at, (node.expires_at IS NOT NULL)::int AS deleted, ` +
    `coalesce(node.origin, state.origin) AS origin, ${dotVersionOf("node")} AS stamp ` +
    `FROM ${quoted} AS state CROSS JOIN ${quoted} AS node`;
}

/** Replicated rows whose dots the version vector in `$1` and `$2` does not include. */
function selectMissing(table: SQLTable): string {
  return `${selectReplicated(table)} LEFT JOIN ${VECTOR} AS told (origin, stamp) ` +
    `ON told.origin = coalesce(node.origin, state.origin) ` +
    `WHERE state.node_key = '' AND node.node_key <> '' AND ${dotVersionOf("node")} > coalesce(told.stamp, 0)`;
}

/** {@linkcode SQLDialect.readReplicated} */
export function readReplicated(table: SQLTable): SQLDialect["readReplicated"] {
  const sql = `${selectReplicated(table)} ` +
    `WHERE state.node_key = '' AND node.node_key = ${ANY_KEY} AND node.node_key <> ''`;
  return (keys) => statement(sql, toArray(keys));
}

/** {@linkcode SQLDialect.readMissing} */
export function readMissing(table: SQLTable): SQLDialect["readMissing"] {
  const missing = selectMissing(table);
  const sql = `${selectMesh(table)} ` +
    `UNION ALL (${missing} AND node.version > $3::bigint ORDER BY node.version LIMIT $4::bigint) ` +
    `UNION ALL (${missing} AND node.stamp > $3::bigint AND node.version <= $3::bigint ` +
    `ORDER BY node.stamp LIMIT $4::bigint)`;
  return (base, lowest, limit) => statement(sql, ...vectorParams(base), lowest, limit);
}

/** {@linkcode SQLDialect.readMissingPage} */
export function readMissingPage(table: SQLTable): SQLDialect["readMissingPage"] {
  const sql = `${selectMissing(table)} AND node.node_key > $3::text ORDER BY node.node_key LIMIT $4::bigint`;
  return (base, after, limit) => statement(sql, ...vectorParams(base), after, limit);
}

/** Moves the counter for a merge, as `counter`. */
function moveCounter({ quoted }: SQLTable): string {
  const last = `CASE WHEN $3::bigint > 0 THEN ${NEXT} ELSE ${BASE} END`;
  const highest = `CASE WHEN $3::bigint > 0 THEN ${NEXT} ELSE $5::bigint END`;
  const recent = recentText({
    to: `(${highest})`,
    late: { isLate: "$4::bigint <= max_version", marks: "$16::text" },
  });
  return `counter AS (UPDATE ${quoted} SET counter = ${last}, ` +
    `max_version = greatest(max_version, ${highest}), ` +
    `hash = ${recent}, ` +
    `max_stamp = CASE WHEN $3::bigint > 0 THEN ${NEXT} ELSE max_stamp END, ` +
    `late = late + ($4::bigint <= max_version)::int WHERE node_key = '' AND ${last} <= ${MAX_VERSION} ` +
    `RETURNING counter AS last, origin AS own, mesh AS notes), `;
}

/** The merges as they are to be written, as `placed`. */
function placeRows({ now }: SQLTable): string {
  return `placed AS MATERIALIZED (SELECT take.key, CASE WHEN take.origin IS NULL THEN last - $3::bigint + place ` +
    `ELSE place END AS version, take.hash, time, expiry + ${now} AS expiry, nullif(take.origin, own) AS origin, ` +
    `nullif(take.stamp, place) AS stamp, stamp_there, origin_there, own, notes FROM counter, ` +
    `unnest($6::text::text[], $7::text::bigint[], $8::text::text[], $9::text::bigint[], $10::text::bigint[], ` +
    `$11::text::bigint[], $12::text::text[], $13::text::bigint[], $14::text::text[]) ` +
    `AS take (key, place, hash, time, expiry, stamp, origin, stamp_there, origin_there)), `;
}

/** {@linkcode SQLDialect.mergeNodes} */
export function mergeNodes(table: SQLTable): SQLDialect["mergeNodes"] {
  // An UPDATE changes the nodes that are stored. If another statement was quicker, it reads the row again.
  const sql = `WITH ${moveCounter(table)}${placeRows(table)}` +
    `added AS (INSERT INTO ${table.quoted} (${WRITTEN}, origin, stamp) ` +
    `SELECT key, version, hash, time, expiry, origin, stamp FROM placed WHERE stamp_there IS NULL ` +
    `AND ($15::text IS NULL OR notes = $15::text) ` +
    `ON CONFLICT (node_key) DO NOTHING RETURNING node_key), ` +
    `changed AS (UPDATE ${table.quoted} AS node SET version = placed.version, hash = placed.hash, ` +
    `updated_at = placed.time, expires_at = placed.expiry, origin = placed.origin, stamp = placed.stamp ` +
    `FROM placed WHERE node.node_key = placed.key AND ${dotVersionOf("node")} = placed.stamp_there ` +
    `AND coalesce(node.origin, placed.own) = placed.origin_there RETURNING node.node_key) ` +
    `SELECT '' AS node_key, last AS version FROM counter UNION ALL SELECT node_key, 0 FROM added ` +
    `UNION ALL SELECT node_key, 0 FROM changed`;
  return (merges, { floor, step, total, lowest, highest, mesh, marks }) =>
    statement(sql, floor, step, total, lowest, highest, ...mergeParams(merges), mesh, marks);
}

/** The merges as one array a column. */
function mergeParams(merges: readonly PlacedMerge[]): string[] {
  const dots = merges.map((merge) => merge.kind === "replica" ? merge.dot : null);
  return [
    toArray(merges.map(({ key }) => key)),
    toArray(merges.map(placeOf)),
    toArray(merges.map(({ hash }) => hash)),
    toArray(merges.map(({ updatedAt }) => updatedAt)),
    toArray(merges.map(({ expiresAt }) => expiresAt)),
    toArray(dots.map((dot) => dot?.version ?? null)),
    toArray(dots.map((dot) => dot?.replicaId ?? null)),
    toArray(merges.map(({ replaces }) => replaces?.version ?? null)),
    toArray(merges.map(({ replaces }) => replaces?.replicaId ?? null)),
  ];
}

/** {@linkcode SQLDialect.adoptVector} */
export function adoptVector({ quoted }: SQLTable): SQLDialect["adoptVector"] {
  const sql =
    `UPDATE ${quoted} SET counter = greatest(counter, $1::bigint), epoch = $2::text, mesh = $3::text ` +
    `WHERE node_key = '' AND epoch = $4::text AND mesh = $5::text RETURNING node_key`;
  return (before, after, lowestCounter) =>
    statement(sql, lowestCounter, after.epoch, after.mesh, before.epoch, before.mesh);
}
