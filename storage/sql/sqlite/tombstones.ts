/**
 * SQLite's statements for the collection of tombstones.
 *
 * @module
 */
import { MAX_COLLECTED, type SQLDialect } from "../dialect.ts";
import { dotVersionOf, type SQLTable, statement } from "../fragments.ts";
import { field } from "./fragments.ts";

/** {@linkcode SQLDialect.findExpired} */
export function findExpired({ quoted, now }: SQLTable): SQLDialect["findExpired"] {
  const sql = `SELECT origin, count(*) AS found, CAST(max(coalesce(stamp, version)) AS REAL) AS stamp, ` +
    `CAST(max(version) AS REAL) AS version, CAST(max(expires_at) AS REAL) AS expires_at ` +
    `FROM (SELECT origin, stamp, version, expires_at FROM ${quoted} WHERE expires_at <= ${now} + ? ` +
    `ORDER BY expires_at LIMIT ${MAX_COLLECTED}) GROUP BY origin`;
  return (time) => statement(sql, time);
}

/** {@linkcode SQLDialect.markCollected} */
export function markCollected({ quoted }: SQLTable): SQLDialect["markCollected"] {
  const sql = `UPDATE ${quoted} SET swept_version = max(swept_version, ?), mesh = ? ` +
    `WHERE node_key = '' AND mesh = ? RETURNING node_key`;
  return (before, after, version) => statement(sql, version, after, before);
}

/** {@linkcode SQLDialect.collect} */
export function collect({ quoted }: SQLTable): SQLDialect["collect"] {
  const sql = `DELETE FROM ${quoted} WHERE node_key IN ` +
    `(SELECT node_key FROM ${quoted} WHERE expires_at <= ? ORDER BY expires_at LIMIT ${MAX_COLLECTED}) ` +
    `AND version <= (SELECT swept_version FROM ${quoted} WHERE node_key = '') ` +
    `AND ${dotVersionOf(quoted)} <= (SELECT ${field(1)} FROM json_each(?) WHERE ${
      field(0)
    } IS ${quoted}.origin) RETURNING node_key`;
  return (until, recorded) => statement(sql, until, JSON.stringify(recorded));
}
