/**
 * The statements for PostgreSQL 12 and newer, and what is built on it (PGlite, …).
 *
 * @module
 */
import { LATE_CYCLE, MAX_RECENT_LENGTH } from "../../../src/store/history.ts";
import { RESIDUES } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import {
  COLUMNS,
  MAX_SWEPT,
  NO_MESH,
  type PlacedChange,
  type PlacedMerge,
  type SQLDialect,
  type SQLRow,
  type SQLValue,
  type StampList,
  type Statement,
} from "../dialect.ts";

const MAX_CHANGES = 1000;
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/** 1 on a standby, and in a transaction that may not write: what is newer may be on another server. */
const READ_ONLY =
  "(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on')::int AS read_only";

/** Whether an answer says that the server, or the transaction, only reads. */
export function tellsReadOnly(rows: readonly object[]): boolean {
  // All rows of an answer have the column, or none of them.
  return "read_only" in (rows[0] ?? {}) && rows.some((row) => Number((row as SQLRow).read_only) === 1);
}

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
 * @param isTimed Whether moments are given, by a test's clock, rather than told by the database's.
 */
export function postgresDialect(tableName: string, isTimed: boolean = false): SQLDialect {
  const table = `"${tableName}"`;
  const clock = (read: string) => isTimed ? "0" : `(extract(epoch FROM ${read}()) * 1000)::bigint`;
  // In a transaction of the application the time of its beginning may be long past.
  const now = clock("clock_timestamp");
  const live =
    `SELECT node_key, version, hash, updated_at, 0 AS deleted FROM ${table} WHERE expires_at IS NULL`;
  const readOne = `${live} AND node_key = $1 AND node_key <> ''`;
  const readMany = `${live} AND node_key = ANY ($1::text::text[]) AND node_key <> ''`;
  const readState = `SELECT node_key, max_version AS version, epoch AS hash, swept_version AS updated_at, ` +
    `0 AS deleted, late, origin, hash AS recent, ${READ_ONLY} FROM ${table} WHERE node_key = ''`;
  const history = `SELECT node_key, version, hash, updated_at, (expires_at IS NOT NULL)::int AS deleted ` +
    `FROM ${table} WHERE version > $1 AND node_key <> ''`;
  const nth =
    `SELECT version FROM ${table} WHERE version > $1 AND node_key <> '' ORDER BY version LIMIT 1 OFFSET $2`;
  const base = "greatest(counter, $1::bigint)";
  // The highest number, at or below that of the counter or the floor, with the residue of the counter's row.
  const align = (base: string, drawn: string, step: string) => `${base} - (${base} - ${drawn}) % ${step}`;
  const start = align(base, "updated_at", "$2::bigint");
  const next = `${start} + $3::bigint`;
  const columns = "node_key, version, hash, updated_at, expires_at";
  const excluded = "version = excluded.version, hash = excluded.hash, updated_at = excluded.updated_at, " +
    "expires_at = excluded.expires_at, origin = excluded.origin, stamp = excluded.stamp";
  /**
   * What the counter's row says of its last commits once the highest version comes to be another one, or something was
   * published below it; it lies in the hash there.
   */
  const recent = (to: string, isLate?: string, marks?: string) =>
    `right(hash || ${
      isLate
        ? `CASE WHEN ${isLate} THEN ';' || ((late + 1) % ${LATE_CYCLE}) || ':' || ${marks} ELSE '' END || `
        : ""
    }CASE WHEN ${to} > max_version THEN ',' || (${to} - max_version) ELSE '' END, ` +
    `${MAX_RECENT_LENGTH})`;
  const apply = (rows: string) =>
    `WITH counter AS (UPDATE ${table} SET counter = ${next}, max_version = ${next}, max_stamp = ${next}, ` +
    `hash = ${recent(next)} ` +
    `WHERE node_key = '' AND ${next} <= ${MAX_VERSION} RETURNING counter AS last), ` +
    `nodes AS (INSERT INTO ${table} (${columns}) ${rows} ON CONFLICT (node_key) DO UPDATE SET ${excluded}) ` +
    `SELECT '' AS node_key, last AS version FROM counter`;
  const applyOne = apply(`SELECT $4::text, last, $5::text, $6::bigint, $7::bigint + ${now} FROM counter`);
  const applyMany = apply(
    `SELECT change.key, last - $3::bigint + change.place, change.hash, change.time, change.expiry + ${now} FROM counter, ` +
      "unnest($4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::bigint[], $8::text::bigint[]) " +
      "AS change (key, place, hash, time, expiry)",
  );
  const rank = (row: string) =>
    `(${row}.version, ${row}.updated_at, ${row}.hash COLLATE "C", ${row}.expires_at IS NOT NULL)`;
  // What lies at or below the highest stamp may be counted as seen elsewhere: it gets a new one. Whether there is
  // anything to publish is looked for first, so that no number is used up for nothing.
  const isLate = "is_new AND ($2::bigint <= max_stamp OR ($2::bigint - state.updated_at) % $7::bigint <> 0)";
  const lateStamp = `${
    align("greatest(counter, $6::bigint)", "state.updated_at", "$7::bigint")
  } + $7::bigint`;
  const set = `WITH given AS MATERIALIZED (SELECT NOT EXISTS (SELECT FROM ${table} AS node ` +
    `WHERE node_key = $1::text AND node_key <> '' AND ${rank("node")} >= ` +
    `($2::bigint, $4::bigint, $3::text COLLATE "C", $5::bigint IS NOT NULL)) AS is_new), ` +
    `counter AS (UPDATE ${table} AS state SET ` +
    `counter = greatest(counter, $2::bigint, CASE WHEN ${isLate} THEN ${lateStamp} END), ` +
    `max_stamp = CASE WHEN ${isLate} THEN ${lateStamp} WHEN is_new THEN $2::bigint ELSE max_stamp END, ` +
    `max_version = greatest(max_version, $2::bigint), ` +
    `hash = ${recent("$2::bigint", "is_new AND $2::bigint <= max_version", "$8::text")}, ` +
    `late = late + (is_new AND $2::bigint <= max_version)::int FROM given ` +
    `WHERE node_key = '' AND NOT (${isLate} AND ${lateStamp} > ${MAX_VERSION}) ` +
    `RETURNING node_key, max_stamp, is_new), ` +
    `node AS (INSERT INTO ${table} AS node (${columns}, stamp) ` +
    `SELECT $1::text, $2::bigint, $3::text, $4::bigint, $5::bigint + ${now}, nullif(max_stamp, $2::bigint) ` +
    `FROM counter WHERE is_new ` +
    `ON CONFLICT (node_key) DO UPDATE SET ${excluded} WHERE ${rank("excluded")} > ${rank("node")}) ` +
    `SELECT node_key FROM counter`;
  const stampOf = "coalesce(node.stamp, node.version)";
  // Nodes that are there are changed by an UPDATE: should another have been quicker, it looks at the row anew.
  const last = `CASE WHEN $3::bigint > 0 THEN ${next} ELSE ${base} END`;
  const highest = `CASE WHEN $3::bigint > 0 THEN ${next} ELSE $5::bigint END`;
  const take = `WITH counter AS (UPDATE ${table} SET counter = ${last}, ` +
    `max_version = greatest(max_version, ${highest}), ` +
    `hash = ${recent(`(${highest})`, "$4::bigint <= max_version", "$16::text")}, ` +
    `max_stamp = CASE WHEN $3::bigint > 0 THEN ${next} ELSE max_stamp END, ` +
    `late = late + ($4::bigint <= max_version)::int WHERE node_key = '' AND ${last} <= ${MAX_VERSION} ` +
    `RETURNING counter AS last, origin AS own, mesh AS notes), ` +
    `placed AS MATERIALIZED (SELECT take.key, CASE WHEN take.origin IS NULL THEN last - $3::bigint + place ` +
    `ELSE place END AS version, take.hash, time, expiry + ${now} AS expiry, nullif(take.origin, own) AS origin, ` +
    `nullif(take.stamp, place) AS stamp, stamp_there, origin_there, own, notes FROM counter, ` +
    `unnest($6::text::text[], $7::text::bigint[], $8::text::text[], $9::text::bigint[], $10::text::bigint[], ` +
    `$11::text::bigint[], $12::text::text[], $13::text::bigint[], $14::text::text[]) ` +
    `AS take (key, place, hash, time, expiry, stamp, origin, stamp_there, origin_there)), ` +
    `added AS (INSERT INTO ${table} (${columns}, origin, stamp) ` +
    `SELECT key, version, hash, time, expiry, origin, stamp FROM placed WHERE stamp_there IS NULL ` +
    `AND ($15::text IS NULL OR notes = $15::text) ` +
    `ON CONFLICT (node_key) DO NOTHING RETURNING node_key), ` +
    `changed AS (UPDATE ${table} AS node SET version = placed.version, hash = placed.hash, ` +
    `updated_at = placed.time, expires_at = placed.expiry, origin = placed.origin, stamp = placed.stamp ` +
    `FROM placed WHERE node.node_key = placed.key AND ${stampOf} = placed.stamp_there ` +
    `AND coalesce(node.origin, placed.own) = placed.origin_there RETURNING node.node_key) ` +
    `SELECT '' AS node_key, last AS version FROM counter UNION ALL SELECT node_key, 0 FROM added ` +
    `UNION ALL SELECT node_key, 0 FROM changed`;
  const stamped =
    `SELECT node.node_key, node.version, node.hash, node.updated_at, (node.expires_at IS NOT NULL)::int AS deleted, ` +
    `coalesce(node.origin, state.origin) AS origin, ${stampOf} AS stamp ` +
    `FROM ${table} AS state CROSS JOIN ${table} AS node`;
  const readMesh =
    `SELECT '' AS node_key, 0 AS version, mesh AS hash, 0 AS updated_at, 0 AS deleted, origin, ` +
    `0 AS stamp FROM ${table} WHERE node_key = ''`;
  const list = "unnest($1::text::text[], $2::text::bigint[])";
  const outside = `${stamped} LEFT JOIN ${list} AS told (origin, stamp) ` +
    `ON told.origin = coalesce(node.origin, state.origin) ` +
    `WHERE state.node_key = '' AND node.node_key <> '' AND ${stampOf} > coalesce(told.stamp, 0)`;
  const schema = [
    `CREATE TABLE IF NOT EXISTS ${table} (\n` +
    `  node_key text COLLATE "C" NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
    `  version bigint NOT NULL,                        -- there: 0\n` +
    `  hash text COLLATE "C" NOT NULL,                 -- there: the last steps of the highest version\n` +
    `  updated_at bigint NOT NULL,                     -- milliseconds since 1970; there: the number that drew the residue\n` +
    `  expires_at bigint,                              -- set for a tombstone: when it may be swept\n` +
    `  origin text,                                    -- the storage that wrote it, set where that is another one\n` +
    `  stamp bigint,                                   -- set where it is not the version\n` +
    `  epoch text,                                     -- only in the counter's row, as all that follows\n` +
    `  counter bigint,                                 -- the last version given\n` +
    `  max_version bigint,                             -- the highest version that was ever visible\n` +
    `  max_stamp bigint,                               -- the highest stamp of this storage's own that ever was\n` +
    `  swept_version bigint,                           -- the highest version among swept tombstones\n` +
    `  late bigint,                                    -- how many nodes came with a version already passed\n` +
    `  mesh text                                       -- what was seen of other storages, and how far was swept\n` +
    `) WITH (fillfactor = 90)`,
    `CREATE INDEX IF NOT EXISTS "${tableName}_version" ON ${table} (version)`,
    `CREATE INDEX IF NOT EXISTS "${tableName}_expires_at" ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
    `CREATE INDEX IF NOT EXISTS "${tableName}_stamp" ON ${table} (stamp) WHERE stamp IS NOT NULL`,
  ];

  return {
    maxChanges: MAX_CHANGES,
    retried: [/* serialization_failure */ "40001", /* deadlock_detected */ "40P01"],
    missing: {
      codes: [
        /* undefined_table */ "42P01",
        /* undefined_column */ "42703",
        /* invalid_schema_name */ "3F000",
      ],
      message: /(relation|column) .* does not exist/,
    },
    tellsReadOnly,
    columnNames: [...COLUMNS, "counter"],
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
        `INSERT INTO ${table} (node_key, version, hash, updated_at, epoch, origin, counter, max_version, max_stamp, ` +
          `swept_version, late, mesh) ` +
          `SELECT '', 0, '', 0, $1::text, $2::text, last, last, last, 0, 0, '${NO_MESH}' FROM ` +
          `(SELECT greatest((SELECT max(version) FROM ${table}), (SELECT max(stamp) FROM ${table}), 0) AS last) AS history ` +
          `ON CONFLICT (node_key) DO NOTHING`,
        epoch,
        origin,
      ),
    readCounter: () =>
      ask(
        `SELECT counter, updated_at AS drawn, max_version, max_stamp, epoch, origin, mesh, ${READ_ONLY} FROM ${table} WHERE node_key = ''`,
      ),
    readNodes: (keys) => keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, toArray(keys)),
    readMoment: (keys) =>
      ask(`${readState} UNION ALL SELECT *, 0, NULL, NULL, 0 FROM (${readMany}) AS nodes`, toArray(keys)),
    readChanges: (version, limit) =>
      ask(
        `${readState} UNION ALL SELECT *, 0, NULL, NULL, 0 FROM (${history} ORDER BY version LIMIT $2) AS nodes`,
        version,
        limit,
      ),
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY version`, version) : ask(
        `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`,
        version,
        Math.ceil(limit) - 1,
      ),
    draw: ({ mesh, drawn }, residue, floor) => {
      const number = `${align(base, "$2::bigint", `${RESIDUES}`)} + ${RESIDUES}`;
      return ask(
        `UPDATE ${table} SET counter = ${number}, max_stamp = ${number}, updated_at = ${number} ` +
          `WHERE node_key = '' AND updated_at = $3::bigint AND mesh = $4::text AND ${number} <= ${MAX_VERSION} ` +
          `RETURNING node_key`,
        floor,
        residue,
        drawn,
        mesh,
      );
    },
    increment: ({ floor, step }) =>
      ask(
        `UPDATE ${table} SET counter = ${next} WHERE node_key = '' AND ${next} <= ${MAX_VERSION} ` +
          `RETURNING counter AS version`,
        floor,
        step,
        step,
      ),
    applyChanges: (changes, { floor, step }) => {
      const total = changes.at(-1)?.offset ?? 0;
      const [only] = changes;
      return changes.length === 1 && only
        ? ask(applyOne, floor, step, total, only.key, only.hash, only.updatedAt, only.expiresAt)
        : ask(applyMany, floor, step, total, ...columnsOf(changes));
    },
    setNode: ({ key, version, hash, updatedAt }: RealityNodeMeta, expiresAt, { floor, step, marks }) =>
      ask(set, key, version, hash, updatedAt, expiresAt, floor, step, marks),
    readReplicated: (keys) =>
      ask(
        `${stamped} WHERE state.node_key = '' AND node.node_key = ANY ($1::text::text[]) AND node.node_key <> ''`,
        toArray(keys),
      ),
    readNews: (base, lowest, limit) =>
      ask(
        `${readMesh} UNION ALL (${outside} AND node.version > $3::bigint ORDER BY node.version LIMIT $4::bigint) UNION ALL ` +
          `(${outside} AND node.stamp > $3::bigint AND node.version <= $3::bigint ` +
          `ORDER BY node.stamp LIMIT $4::bigint)`,
        ...listOf(base),
        lowest,
        limit,
      ),
    readPage: (base, after, limit) =>
      ask(
        `${outside} AND node.node_key > $3::text ORDER BY node.node_key LIMIT $4::bigint`,
        ...listOf(base),
        after,
        limit,
      ),
    takeNodes: (takes, { floor, step, total, lowest, highest, notes, marks }) =>
      ask(take, floor, step, total, lowest, highest, ...columnsOfTakes(takes), notes, marks),
    renew: (before, { epoch, replicaId: origin, mesh }) =>
      ask(
        `UPDATE ${table} SET epoch = $1::text, origin = $2::text, mesh = $3::text ` +
          `WHERE node_key = '' AND epoch = $4::text AND mesh = $5::text RETURNING node_key`,
        epoch,
        origin,
        mesh,
        before.epoch,
        before.mesh,
      ),
    adopt: (before, after, lift) =>
      ask(
        `UPDATE ${table} SET counter = greatest(counter, $1::bigint), epoch = $2::text, mesh = $3::text ` +
          `WHERE node_key = '' AND epoch = $4::text AND mesh = $5::text RETURNING node_key`,
        lift,
        after.epoch,
        after.mesh,
        before.epoch,
        before.mesh,
      ),
    findExpired: (time) =>
      ask(
        // Not clock_timestamp(), which is another one for each row and of no use to an index.
        `SELECT origin, count(*) AS found, max(coalesce(stamp, version)) AS stamp, max(version) AS version, ` +
          `max(expires_at) AS expires_at FROM (SELECT origin, stamp, version, expires_at FROM ${table} ` +
          `WHERE expires_at <= ${
            clock("statement_timestamp")
          } + $1::bigint ORDER BY expires_at LIMIT ${MAX_SWEPT}) ` +
          `AS oldest GROUP BY origin`,
        time,
      ),
    markCollected: (before, after, version) =>
      ask(
        `UPDATE ${table} SET swept_version = greatest(swept_version, $1::bigint), mesh = $2::text ` +
          `WHERE node_key = '' AND mesh = $3::text RETURNING node_key`,
        version,
        after,
        before,
      ),
    // A tombstone that somebody is writing anew right now is passed over.
    sweep: (until, noted) =>
      ask(
        `DELETE FROM ${table} WHERE expires_at <= $3::bigint AND node_key = ANY (ARRAY(` +
          `SELECT node.node_key FROM ${table} AS node JOIN ${list} AS noted (origin, stamp) ` +
          `ON noted.origin IS NOT DISTINCT FROM node.origin AND ${stampOf} <= noted.stamp ` +
          `WHERE node.expires_at <= $3::bigint ` +
          `AND node.version <= (SELECT swept_version FROM ${table} WHERE node_key = '') ` +
          `ORDER BY node.expires_at LIMIT ${MAX_SWEPT} FOR UPDATE OF node SKIP LOCKED))`,
        ...listOf(noted),
        until,
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

/** The takes as one array a column. */
function columnsOfTakes(takes: readonly PlacedMerge[]): string[] {
  return [
    toArray(takes.map(({ key }) => key)),
    toArray(takes.map(({ place }) => place)),
    toArray(takes.map(({ hash }) => hash)),
    toArray(takes.map(({ updatedAt }) => updatedAt)),
    toArray(takes.map(({ expiresAt }) => expiresAt)),
    toArray(takes.map(({ stamp }) => stamp?.version ?? null)),
    toArray(takes.map(({ stamp }) => stamp?.replicaId ?? null)),
    toArray(takes.map(({ replaces }) => replaces?.version ?? null)),
    toArray(takes.map(({ replaces }) => replaces?.replicaId ?? null)),
  ];
}

/** The stamps as two arrays: origins and numbers. */
function listOf(stamps: StampList): [origins: string, numbers: string] {
  return [toArray(stamps.map(([origin]) => origin)), toArray(stamps.map(([, stamp]) => stamp))];
}

/** A list as PostgreSQL writes an array. */
function toArray(values: readonly SQLValue[]): string {
  return `{${values.map(toItem).join()}}`;
}

function toItem(value: SQLValue): string {
  if (value === null) return "NULL";
  return typeof value === "number" ? String(value) : `"${value.replace(/["\\]/g, "\\$&")}"`;
}
