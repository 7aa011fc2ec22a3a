/**
 * The statements for SQLite 3.37 and newer, and what is built on it (D1, libSQL, …).
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
  type SQLValue,
  type Statement,
} from "../dialect.ts";

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
 * @param isTimed Whether moments are given, by a test's clock, rather than told by the database's.
 */
export function sqliteDialect(tableName: string, isTimed: boolean = false): SQLDialect {
  const table = `"${tableName}"`;
  // In milliseconds since 1970, as SQLite below 3.42 can tell them, too.
  const now = isTimed ? "0" : "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
  const columns = (row = "") =>
    `${row}node_key, CAST(${row}version AS REAL) AS version, ${row}hash, CAST(${row}updated_at AS REAL) AS updated_at`;
  const live = `SELECT ${columns()}, 0 AS deleted FROM ${table} WHERE expires_at IS NULL`;
  const readOne = `${live} AND node_key = ?`;
  const readMany = `${live} AND node_key IN (SELECT value FROM json_each(?)) AND node_key <> ''`;
  const readState = `SELECT '' AS node_key, CAST(max_version AS REAL) AS version, epoch AS hash, ` +
    `CAST(swept_version AS REAL) AS updated_at, 0 AS deleted, CAST(late AS REAL) AS late, origin, hash AS recent ` +
    `FROM ${table} WHERE node_key = ''`;
  const history = `SELECT ${columns()}, expires_at IS NOT NULL AS deleted FROM ${table} ` +
    `WHERE version > ? AND node_key <> ''`;
  const nth =
    `SELECT version FROM ${table} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1 OFFSET ?`;
  const field = (place: number) => `json_extract(value, '$[${place}]')`;
  const replaced = [
    "version",
    "hash",
    "updated_at",
    "expires_at",
    "origin",
    "stamp",
    "max_version",
    "max_stamp",
  ];
  const upsert = (more: readonly string[]) =>
    `ON CONFLICT (node_key) DO UPDATE SET ` +
    [...replaced, ...more].map((name) => `${name} = excluded.${name}`).join(", ");
  /**
   * What the counter's row says of its last commits once the highest version comes to be another one, or something was
   * published below it; it lies in the hash there.
   */
  const recent = (next: string, hash = "hash", isLate = "") =>
    `substr(${hash} || ${
      isLate && `iif(${isLate}, ';' || ((late + 1) % ${LATE_CYCLE}) || ':' || marks, '') || `
    }iif(${next} > max_version, ',' || (${next} - max_version), ''), -${MAX_RECENT_LENGTH})`;
  // The highest number, at or below that of the counter or the floor, with the residue of the counter's row.
  const align = (counter: string, floor: string, drawn: string, step: string) =>
    `max(${counter}, ${floor}) - (max(${counter}, ${floor}) - ${drawn}) % ${step}`;
  // The SELECT is done before the first row is written (SQLite keeps its result aside when a statement reads
  // the table it writes), so every row counts up from the same base.
  const apply = (row: string) =>
    `WITH given(floor, step, total) AS (SELECT ?, ?, ?), ` +
    `counter AS (SELECT ${
      align("version", "floor", "updated_at", "step")
    } AS base, total, origin, hash, max_version, ` +
    `updated_at AS drawn FROM given, ${table} WHERE node_key = ''), ` +
    `room AS (SELECT *, base + total AS last FROM counter WHERE base + total <= ${MAX_VERSION}) ` +
    `INSERT INTO ${table} (node_key, ${replaced.join(", ")}) ` +
    `SELECT '', last, ${recent("last")}, drawn, NULL, origin, NULL, last, last FROM room UNION ALL ${row} ${
      upsert([])
    } ` +
    `RETURNING node_key, CAST(version AS REAL) AS version`;
  const applyOne = apply(
    `SELECT ?, base + ?, ?, ?, ? + ${now}, NULL, NULL, NULL, NULL FROM room WHERE true`,
  );
  const applyMany = apply(
    `SELECT ${field(0)}, base + ${field(1)}, ${field(2)}, ${field(3)}, ${
      field(4)
    } + ${now}, NULL, NULL, NULL, NULL ` +
      `FROM room, json_each(?) WHERE true`,
  );
  const rank = (row: string) =>
    `(${row}.version, ${row}.updated_at, ${row}.hash, ${row}.expires_at IS NOT NULL)`;
  // What lies at or below the highest stamp may be counted as seen elsewhere: it gets a new one.
  const set =
    `WITH given(node_key, version, hash, updated_at, expires_at, floor, step, marks) AS (SELECT ?, ?, ?, ?, ?, ?, ?, ?), ` +
    `state AS (SELECT given.*, counter.version AS last, counter.origin, counter.hash AS recent, counter.max_version, counter.max_stamp, ` +
    `counter.late, counter.updated_at AS drawn, ` +
    `${align("counter.version", "floor", "counter.updated_at", "step")} + step AS next, ` +
    `node.node_key IS NULL OR ${rank("given")} > ${rank("node")} AS is_new ` +
    `FROM given CROSS JOIN ${table} AS counter LEFT JOIN ${table} AS node ON node.node_key = given.node_key ` +
    `WHERE counter.node_key = ''), ` +
    `placed AS (SELECT *, is_new AND (version <= max_stamp OR (version - drawn) % step <> 0) AS is_late FROM state), ` +
    `room AS (SELECT * FROM placed WHERE NOT is_late OR next <= ${MAX_VERSION}) ` +
    `INSERT INTO ${table} (node_key, ${replaced.join(", ")}, late) ` +
    `SELECT '', max(last, version, iif(is_late, next, 0)), ${
      recent("version", "recent", "is_new AND version <= max_version")
    }, drawn, NULL, origin, NULL, max(max_version, version), ` +
    `iif(is_late, next, iif(is_new, version, max_stamp)), late + (is_new AND version <= max_version) FROM room ` +
    `UNION ALL SELECT node_key, version, hash, updated_at, expires_at + ${now}, NULL, iif(is_late, next, NULL), ` +
    `NULL, NULL, NULL FROM room WHERE is_new ${upsert(["late"])} RETURNING node_key`;
  const stampOf = (row: string) => `coalesce(${row}.stamp, ${row}.version)`;
  const take =
    `WITH given(floor, step, total, lowest, highest, notes, marks) AS (SELECT ?, ?, ?, ?, ?, ?, ?), ` +
    `counter AS (SELECT given.*, node.*, ${align("version", "floor", "updated_at", "step")} AS base ` +
    `FROM given, ${table} AS node WHERE node_key = ''), ` +
    `state AS (SELECT *, iif(total > 0, base + total, max(version, floor)) AS last FROM counter), ` +
    `room AS (SELECT * FROM state WHERE last <= ${MAX_VERSION}), ` +
    `take AS MATERIALIZED (SELECT ${field(0)} AS node_key, ${field(1)} AS place, ${field(2)} AS hash, ` +
    `${field(3)} AS time, ${field(4)} AS expiry, ${field(5)} AS stamp, ${field(6)} AS origin, ` +
    `${field(7)} AS stamp_there, ${field(8)} AS origin_there FROM json_each(?)) ` +
    `INSERT INTO ${table} (node_key, ${replaced.join(", ")}, late) ` +
    `SELECT '', last, ${
      recent("iif(total > 0, last, highest)", "hash", "lowest <= max_version")
    }, updated_at, NULL, origin, NULL, max(max_version, iif(total > 0, last, highest)), ` +
    `iif(total > 0, last, max_stamp), late + (lowest <= max_version) FROM room ` +
    `UNION ALL SELECT take.node_key, iif(take.origin IS NULL, base + place, place), take.hash, time, expiry + ${now}, ` +
    `nullif(take.origin, room.origin), nullif(take.stamp, place), NULL, NULL, NULL ` +
    `FROM room CROSS JOIN take LEFT JOIN ${table} AS node ON node.node_key = take.node_key ` +
    `WHERE ${stampOf("node")} IS stamp_there ` +
    `AND iif(node.node_key IS NULL, NULL, coalesce(node.origin, room.origin)) IS origin_there ` +
    `AND (node.node_key IS NOT NULL OR notes IS NULL OR notes = room.mesh) ` +
    `${upsert(["late"])} RETURNING node_key, CAST(version AS REAL) AS version`;
  const stamped = `SELECT ${columns("node.")}, node.expires_at IS NOT NULL AS deleted, ` +
    `coalesce(node.origin, state.origin) AS origin, CAST(${stampOf("node")} AS REAL) AS stamp `;
  const nodes = `(SELECT origin FROM ${table} WHERE node_key = '') AS state CROSS JOIN ${table} AS node`;
  const readMesh =
    `SELECT '' AS node_key, 0 AS version, mesh AS hash, 0 AS updated_at, 0 AS deleted, origin, ` +
    `0 AS stamp FROM ${table} WHERE node_key = ''`;
  const told = `told(origin, stamp) AS MATERIALIZED (SELECT ${field(0)}, ${field(1)} FROM json_each(?))`;
  const outside =
    `${stamped} FROM ${nodes} LEFT JOIN told ON told.origin = coalesce(node.origin, state.origin) ` +
    `WHERE node.node_key <> '' AND ${stampOf("node")} > coalesce(told.stamp, 0)`;

  return {
    maxChanges: MAX_CHANGES,
    retried: [],
    missing: { codes: [], message: /no such (table|column)|has no column named/ },
    columnNames: COLUMNS,
    schema: [
      `CREATE TABLE IF NOT EXISTS ${table} (\n` +
      `  node_key TEXT NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
      `  version INTEGER NOT NULL,           -- there: the last version given\n` +
      `  hash TEXT NOT NULL,                 -- there: the last steps of the highest version\n` +
      `  updated_at INTEGER NOT NULL,        -- milliseconds since 1970; there: the number that drew the residue\n` +
      `  expires_at INTEGER,                 -- set for a tombstone: when it may be swept\n` +
      `  origin TEXT,                        -- the storage that wrote it, set where that is another one\n` +
      `  stamp INTEGER,                      -- set where it is not the version\n` +
      `  epoch TEXT,                         -- only in the counter's row, as all that follows\n` +
      `  max_version INTEGER,                -- the highest version that was ever visible\n` +
      `  max_stamp INTEGER,                  -- the highest stamp of this storage's own that was ever visible\n` +
      `  swept_version INTEGER,              -- the highest version among swept tombstones\n` +
      `  late INTEGER,                       -- how many nodes came with a version already passed\n` +
      `  mesh TEXT                           -- what was seen of other storages, and how far was swept\n` +
      `) STRICT, WITHOUT ROWID`,
      `CREATE INDEX IF NOT EXISTS "${tableName}_version" ON ${table} (version)`,
      `CREATE INDEX IF NOT EXISTS "${tableName}_expires_at" ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
      `CREATE INDEX IF NOT EXISTS "${tableName}_stamp" ON ${table} (stamp) WHERE stamp IS NOT NULL`,
    ],
    columns: () => ask("SELECT name FROM pragma_table_info(?)", tableName),
    createCounter: (epoch, origin) =>
      ask(
        `INSERT INTO ${table} (node_key, version, hash, updated_at, epoch, origin, max_version, max_stamp, ` +
          `swept_version, late, mesh) SELECT '', last, '', 0, ?, ?, last, last, 0, 0, '${NO_MESH}' FROM ` +
          `(SELECT max(coalesce((SELECT max(version) FROM ${table}), 0), coalesce((SELECT max(stamp) FROM ${table}), 0)) AS last) WHERE true ` +
          `ON CONFLICT (node_key) DO NOTHING RETURNING node_key`,
        epoch,
        origin,
      ),
    readCounter: () =>
      ask(
        `SELECT CAST(version AS REAL) AS counter, CAST(updated_at AS REAL) AS drawn, CAST(max_version AS REAL) AS max_version, ` +
          `CAST(max_stamp AS REAL) AS max_stamp, epoch, origin, mesh FROM ${table} WHERE node_key = ''`,
      ),
    readNodes: (keys) =>
      keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, JSON.stringify(keys)),
    readMoment: (keys) =>
      ask(`${readState} UNION ALL SELECT *, 0, NULL, NULL FROM (${readMany})`, JSON.stringify(keys)),
    readChanges: (version, limit) =>
      ask(
        `${readState} UNION ALL SELECT *, 0, NULL, NULL FROM (${history} ORDER BY version LIMIT ?)`,
        version,
        limit,
      ),
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY version`, version) : ask(
        `${history} AND version <= coalesce((${nth}), ${MAX_VERSION}) ORDER BY version`,
        version,
        version,
        limit - 1,
      ),
    draw: ({ mesh, drawn }, residue, floor) =>
      ask(
        `UPDATE ${table} SET (version, max_stamp, updated_at) = (SELECT next, next, next FROM ` +
          `(SELECT ${
            align(`${table}.version`, "floor", "residue", `${RESIDUES}`)
          } + ${RESIDUES} AS next FROM ` +
          `(SELECT ? AS floor, ? AS residue))) WHERE node_key = '' AND updated_at = ? AND mesh = ? ` +
          `AND max(version, ?) + ${RESIDUES} <= ${MAX_VERSION} RETURNING node_key`,
        floor,
        residue,
        drawn,
        mesh,
        floor,
      ),
    increment: ({ floor, step }) => {
      const next = `${align("version", "?", "updated_at", "?")} + ?`;
      return ask(
        `UPDATE ${table} SET version = ${next} WHERE node_key = '' AND ${next} <= ${MAX_VERSION} ` +
          `RETURNING CAST(version AS REAL) AS version`,
        ...[floor, floor, step, step],
        ...[floor, floor, step, step],
      );
    },
    applyChanges: (changes, { floor, step }) => {
      const total = changes.at(-1)?.offset ?? 0;
      const [only] = changes;
      return changes.length === 1 && only
        ? ask(applyOne, floor, step, total, ...rowOf(only))
        : ask(applyMany, floor, step, total, JSON.stringify(changes.map(rowOf)));
    },
    setNode: ({ key, version, hash, updatedAt }: RealityNodeMeta, expiresAt, { floor, step, marks }) =>
      ask(set, key, version, hash, updatedAt, expiresAt, floor, step, marks),
    readReplicated: (keys) =>
      ask(
        `${stamped} FROM ${nodes} WHERE node.node_key IN (SELECT value FROM json_each(?)) AND node.node_key <> ''`,
        JSON.stringify(keys),
      ),
    readNews: (base, lowest, limit) =>
      ask(
        `WITH ${told} ${readMesh} UNION ALL SELECT * FROM (${outside} AND node.version > ? ORDER BY node.version LIMIT ?) UNION ALL ` +
          `SELECT * FROM (${outside} AND node.stamp > ? AND node.version <= ? ORDER BY node.stamp LIMIT ?)`,
        JSON.stringify(base),
        lowest,
        limit,
        lowest,
        lowest,
        limit,
      ),
    readPage: (base, after, limit) =>
      ask(
        `WITH ${told} ${outside} AND node.node_key > ? ORDER BY node.node_key LIMIT ?`,
        JSON.stringify(base),
        after,
        limit,
      ),
    takeNodes: (takes, { floor, step, total, lowest, highest, notes, marks }) =>
      ask(take, floor, step, total, lowest, highest, notes, marks, JSON.stringify(takes.map(rowOfTake))),
    renew: (before, { epoch, replicaId: origin, mesh }) =>
      ask(
        `UPDATE ${table} SET epoch = ?, origin = ?, mesh = ? ` +
          `WHERE node_key = '' AND epoch = ? AND mesh = ? RETURNING node_key`,
        epoch,
        origin,
        mesh,
        before.epoch,
        before.mesh,
      ),
    adopt: (before, after, lift) =>
      ask(
        `UPDATE ${table} SET version = max(version, ?), epoch = ?, mesh = ? ` +
          `WHERE node_key = '' AND epoch = ? AND mesh = ? RETURNING node_key`,
        lift,
        after.epoch,
        after.mesh,
        before.epoch,
        before.mesh,
      ),
    findExpired: (time) =>
      ask(
        `SELECT origin, count(*) AS found, CAST(max(coalesce(stamp, version)) AS REAL) AS stamp, ` +
          `CAST(max(version) AS REAL) AS version, CAST(max(expires_at) AS REAL) AS expires_at ` +
          `FROM (SELECT origin, stamp, version, expires_at FROM ${table} WHERE expires_at <= ${now} + ? ` +
          `ORDER BY expires_at LIMIT ${MAX_SWEPT}) GROUP BY origin`,
        time,
      ),
    markCollected: (before, after, version) =>
      ask(
        `UPDATE ${table} SET swept_version = max(swept_version, ?), mesh = ? ` +
          `WHERE node_key = '' AND mesh = ? RETURNING node_key`,
        version,
        after,
        before,
      ),
    sweep: (until, noted) =>
      ask(
        `DELETE FROM ${table} WHERE node_key IN ` +
          `(SELECT node_key FROM ${table} WHERE expires_at <= ? ORDER BY expires_at LIMIT ${MAX_SWEPT}) ` +
          `AND version <= (SELECT swept_version FROM ${table} WHERE node_key = '') ` +
          `AND ${stampOf(table)} <= (SELECT ${field(1)} FROM json_each(?) WHERE ${
            field(0)
          } IS ${table}.origin) ` +
          `RETURNING node_key`,
        until,
        JSON.stringify(noted),
      ),
  };
}

function ask(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

function rowOf({ key, offset, hash, updatedAt, expiresAt }: PlacedChange): SQLValue[] {
  return [key, offset, hash, updatedAt, expiresAt];
}

function rowOfTake({ key, place, hash, updatedAt, expiresAt, stamp, replaces }: PlacedMerge): SQLValue[] {
  const [from, there] = [stamp, replaces].map((one) => [one?.version ?? null, one?.replicaId ?? null]);
  return [key, place, hash, updatedAt, expiresAt, ...from ?? [], ...there ?? []];
}
