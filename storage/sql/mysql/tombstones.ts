/**
 * MySQL's statements for the collection of tombstones.
 *
 * @module
 */
import { MAX_COLLECTED, type SQLDialect } from "../dialect.ts";
import { type SQLTable, statement } from "../fragments.ts";
import { decode, dotVersionOf, isSame, toRows, vectorEntry } from "./fragments.ts";

/** {@linkcode SQLDialect.findExpired} */
export function findExpired({ quoted, now }: SQLTable): SQLDialect["findExpired"] {
  const sql =
    `SELECT ${decode("MAX(origin)")} AS origin, COUNT(*) AS found, MAX(COALESCE(stamp, version)) AS stamp, ` +
    `MAX(version) AS version, MAX(expires_at) AS expires_at FROM (SELECT origin, stamp, version, expires_at ` +
    `FROM ${quoted} FORCE INDEX (expires_at) WHERE expires_at <= ${now} + CAST(? AS SIGNED) ` +
    `ORDER BY expires_at LIMIT ${MAX_COLLECTED}) AS oldest GROUP BY origin`;
  return (time) => statement(sql, time);
}

/** {@linkcode SQLDialect.markCollected} */
export function markCollected({ quoted }: SQLTable): SQLDialect["markCollected"] {
  const sql = `UPDATE ${quoted} SET swept_version = GREATEST(swept_version, ?), ` +
    `mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) WHERE node_key = '' AND ${isSame("mesh", "?")}`;
  return (before, after, version) => ({ sql, params: [version, after, before], toRows });
}

/** {@linkcode SQLDialect.collect} */
export function collect({ quoted }: SQLTable): SQLDialect["collect"] {
  // MAX keeps the inner SELECT separate. MySQL refuses the DELETE if it is merged into it.
  const sql = `DELETE FROM ${quoted} WHERE expires_at <= ? AND version <= (SELECT last FROM ` +
    `(SELECT MAX(swept_version) AS last FROM ${quoted} WHERE node_key = '') AS state) ` +
    `AND ${dotVersionOf(quoted)} <= ${
      vectorEntry(`${quoted}.origin`)
    } ORDER BY expires_at LIMIT ${MAX_COLLECTED}`;
  return (until, recorded) => statement(sql, until, JSON.stringify(recorded));
}
