/**
 * PostgreSQL's statements for the collection of tombstones.
 *
 * @module
 */
import { MAX_COLLECTED, type SQLDialect } from "../dialect.ts";
import { dotVersionOf, type SQLTable, statement } from "../fragments.ts";
import { type PostgresTable, VECTOR, vectorParams } from "./fragments.ts";

/** {@linkcode SQLDialect.findExpired} */
export function findExpired({ quoted, statementStart }: PostgresTable): SQLDialect["findExpired"] {
  const sql =
    `SELECT origin, count(*) AS found, max(coalesce(stamp, version)) AS stamp, max(version) AS version, ` +
    `max(expires_at) AS expires_at FROM (SELECT origin, stamp, version, expires_at FROM ${quoted} ` +
    `WHERE expires_at <= ${statementStart} + $1::bigint ORDER BY expires_at LIMIT ${MAX_COLLECTED}) ` +
    `AS oldest GROUP BY origin`;
  return (time) => statement(sql, time);
}

/** {@linkcode SQLDialect.markCollected} */
export function markCollected({ quoted }: SQLTable): SQLDialect["markCollected"] {
  const sql = `UPDATE ${quoted} SET swept_version = greatest(swept_version, $1::bigint), mesh = $2::text ` +
    `WHERE node_key = '' AND mesh = $3::text RETURNING node_key`;
  return (before, after, version) => statement(sql, version, after, before);
}

/** {@linkcode SQLDialect.collect}. A tombstone that another statement is replacing right now is skipped. */
export function collect({ quoted }: SQLTable): SQLDialect["collect"] {
  const sql = `DELETE FROM ${quoted} WHERE expires_at <= $3::bigint AND node_key = ANY (ARRAY(` +
    `SELECT node.node_key FROM ${quoted} AS node JOIN ${VECTOR} AS noted (origin, stamp) ` +
    `ON noted.origin IS NOT DISTINCT FROM node.origin AND ${dotVersionOf("node")} <= noted.stamp ` +
    `WHERE node.expires_at <= $3::bigint ` +
    `AND node.version <= (SELECT swept_version FROM ${quoted} WHERE node_key = '') ` +
    `ORDER BY node.expires_at LIMIT ${MAX_COLLECTED} FOR UPDATE OF node SKIP LOCKED))`;
  return (until, recorded) => statement(sql, ...vectorParams(recorded), until);
}
