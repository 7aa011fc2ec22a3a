/**
 * The statements for SQLite 3.37 and newer, and what is built on it (D1, libSQL, …).
 *
 * @module
 */
import type { RealityNodeMeta } from "../src/types.ts";
import {
  COLUMNS,
  MAX_SWEPT,
  type PlacedChange,
  type SQLDialect,
  type SQLValue,
  type Statement,
} from "./sql_dialect.ts";

/** Kept small enough that the JSON text of one statement stays below 2 MB, which is what D1 takes. */
const MAX_CHANGES = 1000;
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/**
 * The statements for one table.
 *
 * Lists travel as one JSON text, so no limit on bound parameters applies. Numbers are read as REAL, which is
 * exact up to 2^53, because some drivers cut an INTEGER to 32 bits or give a bigint.
 *
 * @param tableName A plain name, already checked.
 */
export function sqliteDialect(tableName: string): SQLDialect {
  const table = `"${tableName}"`;
  const nodeColumns =
    "node_key, CAST(version AS REAL) AS version, hash, CAST(updated_at AS REAL) AS updated_at";
  const maxVersion = `max(swept_version, coalesce(` +
    `(SELECT version FROM ${table} WHERE node_key <> '' ORDER BY version DESC LIMIT 1), 0))`;
  const live = `SELECT ${nodeColumns}, 0 AS deleted FROM ${table} WHERE expires_at IS NULL`;
  const readOne = `${live} AND node_key = ?`;
  const readMany = `${live} AND node_key IN (SELECT value FROM json_each(?)) AND node_key <> ''`;
  const readState = `SELECT '' AS node_key, CAST(${maxVersion} AS REAL) AS version, epoch AS hash, ` +
    `CAST(swept_version AS REAL) AS updated_at, 0 AS deleted, CAST(late AS REAL) AS late ` +
    `FROM ${table} WHERE node_key = ''`;
  const history = `SELECT ${nodeColumns}, expires_at IS NOT NULL AS deleted FROM ${table} ` +
    `WHERE version > ? AND node_key <> ''`;
  const nth =
    `SELECT version FROM ${table} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1 OFFSET ?`;
  // The SELECT is done before the first row is written (SQLite keeps its result aside when a statement reads
  // the table it writes), so every row counts up from the same base.
  const apply = (row: string) =>
    `WITH counter(base) AS (SELECT max(version, ?) FROM ${table} WHERE node_key = ''), ` +
    `room(base) AS (SELECT base FROM counter WHERE base + ? <= ${MAX_VERSION}) ` +
    `INSERT INTO ${table} (node_key, version, hash, updated_at, expires_at) ` +
    `SELECT '', base + ?, '', 0, NULL FROM room UNION ALL ${row} ` +
    `ON CONFLICT (node_key) DO UPDATE SET version = excluded.version, hash = excluded.hash, ` +
    `updated_at = excluded.updated_at, expires_at = excluded.expires_at ` +
    `RETURNING node_key, CAST(version AS REAL) AS version`;
  const applyOne = apply("SELECT ?, base + ?, ?, ?, ? FROM room WHERE true");
  const applyMany = apply(
    "SELECT json_extract(value, '$[0]'), base + json_extract(value, '$[1]'), json_extract(value, '$[2]'), " +
      "json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM room, json_each(?) WHERE true",
  );
  const rank = (row: string) =>
    `(${row}.version, ${row}.updated_at, ${row}.hash, ${row}.expires_at IS NOT NULL)`;
  const set =
    `WITH state AS (SELECT version, late, ${maxVersion} AS max_version FROM ${table} WHERE node_key = '') ` +
    `INSERT INTO ${table} (node_key, version, hash, updated_at, expires_at, late) ` +
    `SELECT '', max(version, ?), '', 0, NULL, late + (? <= max_version) FROM state ` +
    `UNION ALL SELECT ?, ?, ?, ?, ?, NULL FROM state WHERE true ` +
    `ON CONFLICT (node_key) DO UPDATE SET version = excluded.version, hash = excluded.hash, ` +
    `updated_at = excluded.updated_at, expires_at = excluded.expires_at, late = excluded.late ` +
    `WHERE excluded.node_key = '' OR ${rank("excluded")} > ${rank(table)} RETURNING node_key`;

  return {
    counter: "sequential",
    maxChanges: MAX_CHANGES,
    retried: [],
    columnNames: COLUMNS,
    schema: [
      `CREATE TABLE IF NOT EXISTS ${table} (\n` +
      `  node_key TEXT NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
      `  version INTEGER NOT NULL,           -- there: the last version given\n` +
      `  hash TEXT NOT NULL,\n` +
      `  updated_at INTEGER NOT NULL,        -- milliseconds since 1970\n` +
      `  expires_at INTEGER,                 -- set for a tombstone: when it may be swept\n` +
      `  epoch TEXT, origin TEXT,            -- only in the counter's row, as all that follows\n` +
      `  swept_version INTEGER,              -- the highest version among swept tombstones\n` +
      `  late INTEGER                        -- how many nodes came with a version already passed\n` +
      `) STRICT, WITHOUT ROWID`,
      `CREATE INDEX IF NOT EXISTS "${tableName}_version" ON ${table} (version)`,
      `CREATE INDEX IF NOT EXISTS "${tableName}_expires_at" ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
    ],
    columns: () => ask("SELECT name FROM pragma_table_info(?)", tableName),
    createCounter: (epoch, origin) =>
      ask(
        `INSERT INTO ${table} (node_key, version, hash, updated_at, epoch, origin, swept_version, late) ` +
          `VALUES ('', 0, '', 0, ?, ?, 0, 0) ON CONFLICT (node_key) DO NOTHING RETURNING node_key`,
        epoch,
        origin,
      ),
    readCounter: () =>
      ask(
        `SELECT CAST(version AS REAL) AS counter, CAST(${maxVersion} AS REAL) AS max_version, epoch, origin ` +
          `FROM ${table} WHERE node_key = ''`,
      ),
    readNodes: (keys) =>
      keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, JSON.stringify(keys)),
    readMoment: (keys) => ask(`${readState} UNION ALL SELECT *, 0 FROM (${readMany})`, JSON.stringify(keys)),
    readChanges: (version, limit) =>
      ask(`${readState} UNION ALL SELECT *, 0 FROM (${history} ORDER BY version LIMIT ?)`, version, limit),
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY version`, version) : ask(
        `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`,
        version,
        version,
        limit - 1,
      ),
    increment: (floor, step) =>
      ask(
        `UPDATE ${table} SET version = max(version, ?) + ? WHERE node_key = '' ` +
          `AND max(version, ?) + ? <= ${MAX_VERSION} RETURNING CAST(version AS REAL) AS version`,
        floor,
        step,
        floor,
        step,
      ),
    applyChanges: (changes, floor) => {
      const total = changes.at(-1)?.offset ?? 0;
      const [only] = changes;
      return changes.length === 1 && only
        ? ask(applyOne, floor, total, total, ...rowOf(only))
        : ask(applyMany, floor, total, total, JSON.stringify(changes.map(rowOf)));
    },
    setNode: (meta: RealityNodeMeta, expiresAt) => {
      const { key, version, hash, updatedAt } = meta;
      return ask(set, version, version, key, version, hash, updatedAt, expiresAt);
    },
    findExpired: (now) => ask(`SELECT version FROM ${table} WHERE expires_at <= ? LIMIT 1`, now),
    markSwept: (now) =>
      ask(
        `UPDATE ${table} SET swept_version = max(swept_version, coalesce(` +
          `(SELECT max(version) FROM ${table} WHERE expires_at <= ?), 0)) WHERE node_key = '' RETURNING node_key`,
        now,
      ),
    sweep: (now) =>
      ask(
        `DELETE FROM ${table} WHERE node_key IN ` +
          `(SELECT node_key FROM ${table} WHERE expires_at <= ? ORDER BY expires_at LIMIT ${MAX_SWEPT}) ` +
          `AND version <= (SELECT swept_version FROM ${table} WHERE node_key = '') RETURNING node_key`,
        now,
      ),
  };
}

function ask(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

function rowOf({ key, offset, hash, updatedAt, expiresAt }: PlacedChange): SQLValue[] {
  return [key, offset, hash, updatedAt, expiresAt];
}
