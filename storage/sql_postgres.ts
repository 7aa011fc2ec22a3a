/**
 * The statements for PostgreSQL 12 and newer, and what is built on it (PGlite, …).
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

const MAX_CHANGES = 1000;
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/**
 * The statements for one table.
 *
 * A change first updates the counter's row, and so waits for whoever holds it until that one has committed.
 * Under READ COMMITTED the update then works on the newest counter, `ON CONFLICT` on the newest node, and as
 * the lock is kept until the change is visible, versions become visible in order. The counter lies in columns
 * without an index, which keeps that row's updates off the indexes.
 *
 * Lists travel as text that the server reads as arrays: drivers differ in what they make of a JavaScript array
 * or of JSON, and text is text to all of them.
 *
 * @param tableName A plain name, already checked.
 */
export function postgresDialect(tableName: string): SQLDialect {
  const table = `"${tableName}"`;
  const live =
    `SELECT node_key, version, hash, updated_at, 0 AS deleted FROM ${table} WHERE expires_at IS NULL`;
  const readOne = `${live} AND node_key = $1 AND node_key <> ''`;
  const readMany = `${live} AND node_key = ANY ($1::text::text[]) AND node_key <> ''`;
  const readState = `SELECT node_key, max_version AS version, epoch AS hash, swept_version AS updated_at, ` +
    `0 AS deleted, late FROM ${table} WHERE node_key = ''`;
  const history = `SELECT node_key, version, hash, updated_at, (expires_at IS NOT NULL)::int AS deleted ` +
    `FROM ${table} WHERE version > $1 AND node_key <> ''`;
  const nth =
    `SELECT version FROM ${table} WHERE version > $1 AND node_key <> '' ORDER BY version LIMIT 1 OFFSET $2`;
  const next = "greatest(counter, $1::bigint) + $2::bigint";
  const columns = "node_key, version, hash, updated_at, expires_at";
  const excluded = "version = excluded.version, hash = excluded.hash, updated_at = excluded.updated_at, " +
    "expires_at = excluded.expires_at";
  const apply = (rows: string) =>
    `WITH counter AS (UPDATE ${table} SET counter = ${next}, max_version = ${next} ` +
    `WHERE node_key = '' AND ${next} <= ${MAX_VERSION} RETURNING counter AS last), ` +
    `nodes AS (INSERT INTO ${table} (${columns}) ${rows} ON CONFLICT (node_key) DO UPDATE SET ${excluded}) ` +
    `SELECT '' AS node_key, last AS version FROM counter`;
  const applyOne = apply("SELECT $3::text, last, $4::text, $5::bigint, $6::bigint FROM counter");
  const applyMany = apply(
    "SELECT change.key, last - $2::bigint + change.place, change.hash, change.time, change.expiry FROM counter, " +
      "unnest($3::text::text[], $4::text::bigint[], $5::text::text[], $6::text::bigint[], $7::text::bigint[]) " +
      "AS change (key, place, hash, time, expiry)",
  );
  const rank = (row: string) =>
    `(${row}.version, ${row}.updated_at, ${row}.hash COLLATE "C", ${row}.expires_at IS NOT NULL)`;
  const set = `WITH counter AS (UPDATE ${table} SET counter = greatest(counter, $2::bigint), ` +
    `max_version = greatest(max_version, $2::bigint), late = late + ($2::bigint <= max_version)::int ` +
    `WHERE node_key = '' RETURNING node_key), ` +
    `node AS (INSERT INTO ${table} AS node (${columns}) ` +
    `SELECT $1::text, $2::bigint, $3::text, $4::bigint, $5::bigint FROM counter ` +
    `ON CONFLICT (node_key) DO UPDATE SET ${excluded} WHERE ${rank("excluded")} > ${rank("node")}) ` +
    `SELECT node_key FROM counter`;
  const schema = [
    `CREATE TABLE IF NOT EXISTS ${table} (\n` +
    `  node_key text COLLATE "C" NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
    `  version bigint NOT NULL,                        -- there: 0\n` +
    `  hash text COLLATE "C" NOT NULL,\n` +
    `  updated_at bigint NOT NULL,                     -- milliseconds since 1970\n` +
    `  expires_at bigint,                              -- set for a tombstone: when it may be swept\n` +
    `  epoch text, origin text,                        -- only in the counter's row, as all that follows\n` +
    `  counter bigint,                                 -- the last version given\n` +
    `  max_version bigint,                             -- the highest version that was ever visible\n` +
    `  swept_version bigint,                           -- the highest version among swept tombstones\n` +
    `  late bigint                                     -- how many nodes came with a version already passed\n` +
    `) WITH (fillfactor = 90)`,
    `CREATE INDEX IF NOT EXISTS "${tableName}_version" ON ${table} (version)`,
    `CREATE INDEX IF NOT EXISTS "${tableName}_expires_at" ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
  ];

  return {
    counter: "sequential",
    maxChanges: MAX_CHANGES,
    retried: [/* serialization_failure */ "40001", /* deadlock_detected */ "40P01"],
    columnNames: [...COLUMNS, "counter", "max_version"],
    schema,
    // IF NOT EXISTS alone fails when two ask at once, so that one waits until the other is done.
    createTable: [
      `DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('${tableName}')); ` +
      `IF to_regclass('${table}') IS NULL THEN ${schema.join("; ")}; END IF; END $$`,
    ],
    columns: () =>
      ask(
        "SELECT attname AS name FROM pg_attribute " +
          "WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped",
        table,
      ),
    createCounter: (epoch, origin) =>
      ask(
        `INSERT INTO ${table} ` +
          `(node_key, version, hash, updated_at, epoch, origin, counter, max_version, swept_version, late) ` +
          `SELECT '', 0, '', 0, $1::text, $2::text, last, last, 0, 0 ` +
          `FROM (SELECT coalesce(max(version), 0) AS last FROM ${table}) AS history ` +
          `ON CONFLICT (node_key) DO NOTHING`,
        epoch,
        origin,
      ),
    readCounter: () =>
      ask(
        `SELECT counter, max_version, epoch, origin, swept_version, late FROM ${table} WHERE node_key = ''`,
      ),
    readNodes: (keys) => keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, toArray(keys)),
    readMoment: (keys) =>
      ask(`${readState} UNION ALL SELECT *, 0 FROM (${readMany}) AS nodes`, toArray(keys)),
    readChanges: (version, limit) =>
      ask(
        `${readState} UNION ALL SELECT *, 0 FROM (${history} ORDER BY version LIMIT $2) AS nodes`,
        version,
        limit,
      ),
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY version`, version) : ask(
        `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`,
        version,
        Math.ceil(limit) - 1,
      ),
    increment: (floor, step) =>
      ask(
        `UPDATE ${table} SET counter = ${next} WHERE node_key = '' AND ${next} <= ${MAX_VERSION} ` +
          `RETURNING counter AS version`,
        floor,
        step,
      ),
    applyChanges: (changes, floor) => {
      const total = changes.at(-1)?.offset ?? 0;
      const [only] = changes;
      return changes.length === 1 && only
        ? ask(applyOne, floor, total, only.key, only.hash, only.updatedAt, only.expiresAt)
        : ask(applyMany, floor, total, ...columnsOf(changes));
    },
    setNode: ({ key, version, hash, updatedAt }: RealityNodeMeta, expiresAt) =>
      ask(set, key, version, hash, updatedAt, expiresAt),
    findExpired: (now) => ask(`SELECT version FROM ${table} WHERE expires_at <= $1 LIMIT 1`, now),
    markSwept: (now) =>
      ask(
        `UPDATE ${table} SET swept_version = greatest(swept_version, ` +
          `(SELECT max(version) FROM ${table} WHERE expires_at <= $1)) WHERE node_key = ''`,
        now,
      ),
    // A tombstone that somebody is writing anew right now is passed over.
    sweep: (now) =>
      ask(
        `DELETE FROM ${table} WHERE expires_at <= $1 AND node_key = ANY (ARRAY(` +
          `SELECT node_key FROM ${table} WHERE expires_at <= $1 ` +
          `AND version <= (SELECT swept_version FROM ${table} WHERE node_key = '') ` +
          `ORDER BY expires_at LIMIT ${MAX_SWEPT} FOR UPDATE SKIP LOCKED))`,
        now,
      ),
  };
}

function ask(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

/** The changes as one array a column. */
function columnsOf(changes: readonly PlacedChange[]): string[] {
  return [
    toArray(changes.map(({ key }) => key)),
    toArray(changes.map(({ offset }) => offset)),
    toArray(changes.map(({ hash }) => hash)),
    toArray(changes.map(({ updatedAt }) => updatedAt)),
    toArray(changes.map(({ expiresAt }) => expiresAt)),
  ];
}

/** A list as PostgreSQL writes an array. */
function toArray(values: readonly SQLValue[]): string {
  return `{${values.map(toItem).join()}}`;
}

function toItem(value: SQLValue): string {
  if (value === null) return "NULL";
  return typeof value === "number" ? String(value) : `"${value.replace(/["\\]/g, "\\$&")}"`;
}
