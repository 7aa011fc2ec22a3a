/**
 * The statements for MySQL 8 and MariaDB 10.6 and newer.
 *
 * @module
 */
import { LATE_CYCLE, MAX_RECENT_LENGTH } from "../../../src/store/history.ts";
import { RESIDUES } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../../../src/store/node.ts";
import {
  COLUMNS,
  MAX_SWEPT,
  NO_MESH,
  type PlacedChange,
  type PlacedMerge,
  type SQLDialect,
  type SQLRow,
  type SQLValue,
  type Statement,
} from "../dialect.ts";

const MAX_CHANGES = 1000;
const MAX_ORIGIN_BYTES = 128;
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/**
 * The statements for one table.
 *
 * A change is one `INSERT … SELECT … FOR UPDATE … ON DUPLICATE KEY UPDATE`. Its SELECT locks the counter's row
 * first, and so waits for whoever holds it until that one has committed, and reads the newest counter at any
 * isolation level. As the lock is kept until the change is visible, versions become visible in order. The last
 * version comes back through `LAST_INSERT_ID(expression)`, since these databases give no rows for such a write.
 *
 * Keys and origins are bytes: every text collation takes some for one another, if only by trailing spaces. Lists
 * travel as one JSON text. No LIMIT is bound, as a prepared statement would get it as a floating-point number.
 *
 * @param tableName A plain name, already checked.
 * @param isTimed Whether moments are given, by a test's clock, rather than told by the database's.
 */
export function mysqlDialect(tableName: string, isTimed: boolean = false): SQLDialect {
  const table = `\`${tableName}\``;
  // In UTC, of which no hour comes twice, whatever the session's time zone.
  const now = isTimed
    ? "0"
    : "(TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000)";
  const text = "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
  const decode = (column: string) => `CONVERT(${column} USING utf8mb4)`;
  const select = (deleted: string, origin = "NULL") =>
    `SELECT ${decode("node.node_key")} AS node_key, node.version, ${decode("node.hash")} AS hash, ` +
    `node.updated_at, ${deleted} AS deleted, 0 AS late, ${origin} AS origin, NULL AS recent`;
  const readOne = `${select("0")} FROM ${table} AS node ` +
    `WHERE node.node_key = CAST(? AS BINARY) AND node.node_key <> '' AND node.expires_at IS NULL`;
  const readMany = `${select("0")} FROM JSON_TABLE(?, '$[*]' COLUMNS (name ${text} PATH '$')) AS item ` +
    `STRAIGHT_JOIN ${table} AS node ON node.node_key = CAST(item.name AS BINARY) ` +
    `WHERE node.node_key <> '' AND node.expires_at IS NULL`;
  const readState = `SELECT '' AS node_key, max_version AS version, ${decode("epoch")} AS hash, ` +
    `swept_version AS updated_at, 0 AS deleted, late, ${decode("origin")} AS origin, ${
      decode("hash")
    } AS recent FROM ${table} WHERE node_key = ''`;
  const changes = (more = "") =>
    `${select("node.expires_at IS NOT NULL")}${more} FROM ${table} AS node FORCE INDEX (version) ` +
    `WHERE node.version > ? AND node.node_key <> ''`;
  const history = changes();
  // A union takes out rows that are the same, and by their text alone "a" and "A" are.
  const distinct = changes(", node.node_key AS bytes");
  const nth = (offset: number) =>
    `SELECT version FROM ${table} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1 OFFSET ${offset}`;
  // Among the items is one in place 0, with the empty key: it stands for the counter's row.
  const items = (more = "") =>
    `JSON_TABLE(?, '$[*]' COLUMNS (name ${text} PATH '$[0]', place BIGINT PATH '$[1]', ` +
    `hash ${text} PATH '$[2]', time BIGINT PATH '$[3]', expiry BIGINT PATH '$[4]'${more})) AS item`;
  const written = ["version", "hash", "updated_at", "expires_at", "origin", "stamp"];
  const counted = ["counter", "max_version", "max_stamp", "late"];
  const update = [...written, ...counted].map((name) => `${table}.${name} = VALUES(${table}.${name})`).join(
    ", ",
  );
  const lock = `FOR UPDATE ON DUPLICATE KEY UPDATE ${update}`;
  /**
   * What the counter's row says of its last commits once the highest version comes to be another one, or something was
   * published below it; it lies in the hash there.
   */
  const recent = (to: string, isLate: string) =>
    `RIGHT(CONCAT(state.hash, ${
      isLate === "0"
        ? ""
        : `IF(${isLate}, CONCAT(';', (state.late + 1) % ${LATE_CYCLE}, ':', given.marks), ''), `
    }` +
    `IF(${to} > state.max_version, CONCAT(',', ${to} - state.max_version), '')), ${MAX_RECENT_LENGTH})`;
  const insert = (node: NodeColumns, counter: CounterColumns, from: string) =>
    `INSERT INTO ${table} (node_key, ${written.join(", ")}, ${counted.join(", ")}) ` +
    `SELECT item.name, IF(item.place = 0, 0, ${node.version}), ` +
    `IF(item.place = 0, ${recent(counter.maxVersion, counter.isLate)}, item.hash), ` +
    `IF(item.place = 0, state.updated_at, item.time), item.expiry + ${now}, ` +
    `IF(item.place = 0, state.origin, ${node.origin}), IF(item.place = 0, NULL, ${node.stamp}), ` +
    `IF(item.place = 0, ${counter.counter}, NULL), IF(item.place = 0, ${counter.maxVersion}, NULL), ` +
    `IF(item.place = 0, ${counter.maxStamp}, NULL), IF(item.place = 0, state.late + (${counter.isLate}), NULL) ` +
    `FROM ${table} AS state JOIN ${from}`;
  // What is bound gets its type here, as GREATEST would compare a text and a number as texts.
  const given = (fields: Readonly<Record<string, "BINARY" | "SIGNED">>) =>
    `(SELECT ${
      Object.entries(fields).map(([name, type]) => `CAST(? AS ${type}) AS ${name}`).join(", ")
    }) AS given`;
  // The highest number, at or below that of the counter or the floor, with the residue of the counter's row.
  const align = (base: string, drawn: string, step: string) => `${base} - (${base} - ${drawn}) % ${step}`;
  const base = "GREATEST(state.counter, given.floor)";
  const start = align(base, "state.updated_at", "given.step");
  const next = `${start} + given.total`;
  const drawnNumber = `${align(base, "given.residue", `${RESIDUES}`)} + ${RESIDUES}`;
  const apply = insert(
    { version: `${start} + item.place`, origin: "NULL", stamp: "NULL" },
    { counter: `LAST_INSERT_ID(${next})`, maxVersion: next, maxStamp: next, isLate: "0" },
    given({ floor: "SIGNED", step: "SIGNED", total: "SIGNED" }) + ` JOIN ${items()}`,
  ) + ` WHERE state.node_key = '' AND ${next} <= ${MAX_VERSION} ${lock}`;
  const rank = (row: string) =>
    `(${row}.version, ${row}.updated_at, CAST(${row}.hash AS BINARY), ${row}.expires_at IS NOT NULL)`;
  // What lies at or below the highest stamp may be counted as seen elsewhere: it gets a new one.
  const isNew = `(node.node_key IS NULL OR ${rank("given")} > ${rank("node")})`;
  const isLate = `${isNew} AND (given.version <= state.max_stamp ` +
    `OR (given.version - state.updated_at) % given.step <> 0)`;
  const lateStamp = `${start} + given.step`;
  const set = insert(
    { version: "item.place", origin: "NULL", stamp: `IF(${isLate}, ${lateStamp}, NULL)` },
    {
      counter: `LAST_INSERT_ID(GREATEST(state.counter, given.version, IF(${isLate}, ${lateStamp}, 0)))`,
      maxVersion: "GREATEST(state.max_version, given.version)",
      maxStamp: `IF(${isLate}, ${lateStamp}, IF(${isNew}, given.version, state.max_stamp))`,
      isLate: `${isNew} AND given.version <= state.max_version`,
    },
    given({
      ...{
        node_key: "BINARY",
        version: "SIGNED",
        hash: "BINARY",
        updated_at: "SIGNED",
        expires_at: "SIGNED",
      },
      ...{ floor: "SIGNED", step: "SIGNED", marks: "BINARY" },
    }) + ` JOIN ${items()}`,
  ) +
    ` LEFT JOIN ${table} AS node ON node.node_key = given.node_key WHERE state.node_key = '' ` +
    `AND NOT (${isLate} AND ${lateStamp} > ${MAX_VERSION}) AND (item.place = 0 OR ${isNew}) ${lock}`;
  const stampOf = (row: string) => `COALESCE(${row}.stamp, ${row}.version)`;
  const isSame = (a: string, b: string) => `CAST(${a} AS BINARY) <=> CAST(${b} AS BINARY)`;
  // A change of the storage's own has no stamp; its place is how far it lies above what is counted up from.
  const last = `IF(given.total > 0, ${next}, ${base})`;
  const take = insert(
    {
      version: `IF(item.stamp IS NULL, ${start} + item.place, item.place)`,
      origin: `IF(${isSame("item.origin", "state.origin")}, NULL, item.origin)`,
      stamp: "NULLIF(item.stamp, item.place)",
    },
    {
      counter: `LAST_INSERT_ID(${last})`,
      maxVersion: `GREATEST(state.max_version, IF(given.total > 0, ${next}, given.highest))`,
      maxStamp: `IF(given.total > 0, ${next}, state.max_stamp)`,
      isLate: "given.lowest <= state.max_version",
    },
    given({
      floor: "SIGNED",
      step: "SIGNED",
      total: "SIGNED",
      lowest: "SIGNED",
      highest: "SIGNED",
      notes: "BINARY",
      marks: "BINARY",
    }) +
      " JOIN " +
      items(
        `, stamp BIGINT PATH '$[5]', origin ${text} PATH '$[6]', ` +
          `stamp_there BIGINT PATH '$[7]', origin_there ${text} PATH '$[8]'`,
      ),
  ) + ` LEFT JOIN ${table} AS node ON node.node_key = CAST(item.name AS BINARY) WHERE state.node_key = '' ` +
    `AND ${last} <= ${MAX_VERSION} AND (item.place = 0 OR ${stampOf("node")} <=> item.stamp_there ` +
    `AND ${
      isSame("IF(node.node_key IS NULL, NULL, COALESCE(node.origin, state.origin))", "item.origin_there")
    } AND (node.node_key IS NOT NULL OR given.notes IS NULL OR ${isSame("state.mesh", "given.notes")})) ` +
    lock;
  const stamped =
    `${select("node.expires_at IS NOT NULL", decode("COALESCE(node.origin, state.origin)"))}, ` +
    `${stampOf("node")} AS stamp FROM ${table} AS state STRAIGHT_JOIN`;
  const readMesh =
    `SELECT '' AS node_key, 0 AS version, ${decode("mesh")} AS hash, 0 AS updated_at, 0 AS deleted, ` +
    `0 AS late, ${decode("origin")} AS origin, NULL AS recent, 0 AS stamp FROM ${table} WHERE node_key = ''`;
  const list = `JSON_TABLE(?, '$[*]' COLUMNS (origin ${text} PATH '$[0]', stamp BIGINT PATH '$[1]'))`;
  // Not a join: its buffer would have the nodes sorted once more.
  const told = (origin: string) =>
    `(SELECT MAX(told.stamp) FROM ${list} AS told WHERE ${isSame("told.origin", origin)})`;
  const outside = (index: string) =>
    `${stamped} ${table} AS node FORCE INDEX (${index}) WHERE state.node_key = '' AND node.node_key <> '' ` +
    `AND ${stampOf("node")} > COALESCE(${told("COALESCE(node.origin, state.origin)")}, 0)`;

  return {
    maxChanges: MAX_CHANGES,
    maxBytes: { key: MAX_KEY_BYTES, hash: MAX_HASH_BYTES, origin: MAX_ORIGIN_BYTES },
    retried: [/* ER_LOCK_WAIT_TIMEOUT */ 1205, /* ER_LOCK_DEADLOCK */ 1213],
    missing: {
      codes: [/* ER_NO_SUCH_TABLE */ 1146, /* ER_BAD_FIELD_ERROR */ 1054],
      message: /Table .* doesn't exist|Unknown column/,
    },
    columnNames: [...COLUMNS, "counter"],
    schema: [
      `CREATE TABLE IF NOT EXISTS ${table} (\n` +
      `  node_key VARBINARY(${MAX_KEY_BYTES}) NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
      `  version BIGINT NOT NULL,                     -- there: 0\n` +
      `  hash VARBINARY(${MAX_HASH_BYTES}) NOT NULL,                -- there: the last steps of the highest version\n` +
      `  updated_at BIGINT NOT NULL,                  -- milliseconds since 1970; there: the number that drew the residue\n` +
      `  expires_at BIGINT,                           -- set for a tombstone: when it may be swept\n` +
      `  origin VARBINARY(${MAX_ORIGIN_BYTES}),                       -- the storage that wrote it, set where that is another one\n` +
      `  stamp BIGINT,                                -- set where it is not the version\n` +
      `  epoch VARCHAR(128) CHARACTER SET utf8mb4,    -- only in the counter's row, as all that follows\n` +
      `  counter BIGINT,                              -- the last version given\n` +
      `  max_version BIGINT,                          -- the highest version that was ever visible\n` +
      `  max_stamp BIGINT,                            -- the highest stamp of this storage's own that ever was\n` +
      `  swept_version BIGINT,                        -- the highest version among swept tombstones\n` +
      `  late BIGINT,                                 -- how many nodes came with a version already passed\n` +
      `  mesh MEDIUMTEXT CHARACTER SET utf8mb4,       -- what was seen of other storages, and how far was swept\n` +
      `  INDEX (version),\n` +
      `  INDEX (expires_at),\n` +
      `  INDEX (stamp)\n` +
      `) ENGINE = InnoDB`,
    ],
    columns: () =>
      ask(
        "SELECT column_name AS name FROM information_schema.columns " +
          "WHERE table_schema = DATABASE() AND table_name = ?",
        tableName,
      ),
    createCounter: (epoch, origin) =>
      ask(
        `INSERT INTO ${table} (node_key, version, hash, updated_at, epoch, origin, counter, max_version, max_stamp, ` +
          `swept_version, late, mesh) SELECT '', 0, '', 0, ?, ?, last, last, last, 0, 0, '${NO_MESH}' FROM ` +
          `(SELECT GREATEST(COALESCE(MAX(version), 0), COALESCE(MAX(stamp), 0)) AS last FROM ${table}) AS history ` +
          `ON DUPLICATE KEY UPDATE ${table}.late = ${table}.late`,
        epoch,
        origin,
      ),
    readCounter: () =>
      ask(
        `SELECT counter, updated_at AS drawn, max_version, max_stamp, epoch, ${
          decode("origin")
        } AS origin, mesh ` +
          `FROM ${table} WHERE node_key = ''`,
      ),
    readNodes: (keys) =>
      keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, JSON.stringify(keys)),
    readMoment: (keys) => ask(`${readState} UNION ALL ${readMany}`, JSON.stringify(keys)),
    readChanges: (version, limit) =>
      ask(`(${readState}) UNION ALL (${history} ORDER BY node.version LIMIT ${Math.ceil(limit)})`, version),
    // The first so many, and all that share the version of the last of them.
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY node.version`, version) : ask(
        `(${distinct} ORDER BY node.version LIMIT ${Math.ceil(limit)}) UNION ` +
          `(${distinct} AND node.version = (${nth(Math.ceil(limit) - 1)})) ORDER BY version`,
        version,
        version,
        version,
      ),
    draw: ({ mesh, drawn }, residue, floor) => ({
      // The counter comes last: what is set before it reckons with its old value.
      sql: `UPDATE ${table} AS state JOIN ${given({ floor: "SIGNED", residue: "SIGNED" })} ` +
        `SET state.updated_at = ${drawnNumber}, state.max_stamp = ${drawnNumber}, ` +
        `state.counter = LAST_INSERT_ID(${drawnNumber}) WHERE state.node_key = '' AND state.updated_at = ? ` +
        `AND ${isSame("state.mesh", "?")} AND ${drawnNumber} <= ${MAX_VERSION}`,
      params: [floor, residue, drawn, mesh],
      toRows,
    }),
    increment: ({ floor, step }) => ({
      sql: `UPDATE ${table} AS state JOIN ${given({ floor: "SIGNED", step: "SIGNED" })} ` +
        `SET state.counter = LAST_INSERT_ID(${start} + given.step) ` +
        `WHERE state.node_key = '' AND ${start} + given.step <= ${MAX_VERSION}`,
      params: [floor, step],
      toRows,
    }),
    applyChanges: (changes, { floor, step }) => ({
      sql: apply,
      params: [floor, step, changes.at(-1)?.offset ?? 0, toItems(changes.map(itemOf))],
      toRows,
    }),
    setNode: ({ key, version, hash, updatedAt }: RealityNodeMeta, expiresAt, { floor, step, marks }) => {
      const items = toItems([itemOf({ key, offset: version, hash, updatedAt, expiresAt })]);
      const given = [key, version, hash, updatedAt, expiresAt, floor, step, marks];
      return { sql: set, params: [...given, items], toRows };
    },
    readReplicated: (keys) =>
      ask(
        `${stamped} JSON_TABLE(?, '$[*]' COLUMNS (name ${text} PATH '$')) AS item ` +
          `STRAIGHT_JOIN ${table} AS node ON node.node_key = CAST(item.name AS BINARY) ` +
          `WHERE state.node_key = '' AND node.node_key <> ''`,
        JSON.stringify(keys),
      ),
    readNews: (base, lowest, limit) => {
      const [told, most] = [JSON.stringify(base), Math.ceil(limit)];
      return ask(
        `${readMesh} UNION ALL (${
          outside("version")
        } AND node.version > ? ORDER BY node.version LIMIT ${most}) UNION ALL ` +
          `(${outside("stamp")} AND node.stamp > ? AND node.version <= ? ORDER BY node.stamp LIMIT ${most})`,
        told,
        lowest,
        told,
        lowest,
        lowest,
      );
    },
    readPage: (base, after, limit) =>
      ask(
        `${outside("PRIMARY")} AND node.node_key > CAST(? AS BINARY) ` +
          `ORDER BY node.node_key LIMIT ${Math.ceil(limit)}`,
        JSON.stringify(base),
        after,
      ),
    takesUnheard: true,
    takeNodes: (takes, { floor, step, total, lowest, highest, notes, marks }) => ({
      sql: take,
      params: [floor, step, total, lowest, highest, notes, marks, toItems(takes.map(itemOfTake))],
      toRows,
    }),
    renew: (before, { epoch, replicaId: origin, mesh }) => ({
      sql: `UPDATE ${table} SET epoch = ?, origin = ?, mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) ` +
        `WHERE node_key = '' AND ${isSame("epoch", "?")} AND ${isSame("mesh", "?")}`,
      params: [epoch, origin, mesh, before.epoch, before.mesh],
      toRows,
    }),
    adopt: (before, after, lift) => ({
      sql:
        `UPDATE ${table} SET counter = GREATEST(counter, ?), epoch = ?, mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) ` +
        `WHERE node_key = '' AND ${isSame("epoch", "?")} AND ${isSame("mesh", "?")}`,
      params: [lift, after.epoch, after.mesh, before.epoch, before.mesh],
      toRows,
    }),
    findExpired: (time) =>
      ask(
        `SELECT ${
          decode("MAX(origin)")
        } AS origin, COUNT(*) AS found, MAX(COALESCE(stamp, version)) AS stamp, ` +
          `MAX(version) AS version, MAX(expires_at) AS expires_at FROM (SELECT origin, stamp, version, expires_at ` +
          `FROM ${table} FORCE INDEX (expires_at) WHERE expires_at <= ${now} + CAST(? AS SIGNED) ` +
          `ORDER BY expires_at LIMIT ${MAX_SWEPT}) AS oldest GROUP BY origin`,
        time,
      ),
    markCollected: (before, after, version) => ({
      sql: `UPDATE ${table} SET swept_version = GREATEST(swept_version, ?), ` +
        `mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) WHERE node_key = '' AND ${isSame("mesh", "?")}`,
      params: [version, after, before],
      toRows,
    }),
    sweep: (until, noted) =>
      ask(
        // MAX keeps the inner SELECT one of its own: merged into the DELETE, MySQL would refuse it.
        `DELETE FROM ${table} WHERE expires_at <= ? AND version <= (SELECT last FROM ` +
          `(SELECT MAX(swept_version) AS last FROM ${table} WHERE node_key = '') AS state) ` +
          `AND ${stampOf(table)} <= ${told(`${table}.origin`)} ORDER BY expires_at LIMIT ${MAX_SWEPT}`,
        until,
        JSON.stringify(noted),
      ),
  };
}

function ask(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

/** What stands in the columns of a node that is written. */
interface NodeColumns {
  readonly version: string;
  readonly origin: string;
  readonly stamp: string;
}

/** What stands in those of the counter's row. */
interface CounterColumns {
  readonly counter: string;
  readonly maxVersion: string;
  readonly maxStamp: string;
  /** Whether something is published at or below the highest visible version. */
  readonly isLate: string;
}

/** The counter's row: what a write moved the counter to, or no row where it wrote none. */
function toRows(lastId: number): SQLRow[] {
  return lastId > 0 ? [{ node_key: "", version: lastId }] : [];
}

/** The items as JSON text, the one for the counter's row before them. */
function toItems(items: readonly SQLValue[][]): string {
  return JSON.stringify([["", 0, "", 0, null], ...items]);
}

function itemOf({ key, offset, hash, updatedAt, expiresAt }: PlacedChange): SQLValue[] {
  return [key, offset, hash, updatedAt, expiresAt];
}

function itemOfTake({ key, place, hash, updatedAt, expiresAt, stamp, replaces }: PlacedMerge): SQLValue[] {
  const [from, there] = [stamp, replaces].map((one) => [one?.version ?? null, one?.replicaId ?? null]);
  return [key, place, hash, updatedAt, expiresAt, ...from ?? [], ...there ?? []];
}
