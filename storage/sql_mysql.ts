/**
 * The statements for MySQL 8 and MariaDB 10.6 and newer.
 *
 * @module
 */
import type { RealityNodeMeta } from "../src/types.ts";
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../src/node.ts";
import {
  COLUMNS,
  MAX_SWEPT,
  type PlacedChange,
  type SQLDialect,
  type SQLRow,
  type SQLValue,
  type Statement,
} from "./sql_dialect.ts";

const MAX_CHANGES = 1000;
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/**
 * The statements for one table.
 *
 * A change is one `INSERT … SELECT … FOR UPDATE … ON DUPLICATE KEY UPDATE`. Its SELECT locks the counter's row
 * first, and so waits for whoever holds it until that one has committed, and reads the newest counter at any
 * isolation level. As the lock is kept until the change is visible, versions become visible in order. The last
 * version comes back through `LAST_INSERT_ID(expression)`, since these databases give no rows for such a write.
 *
 * Keys are bytes: every text collation takes some keys for one another, if only by trailing spaces. Lists
 * travel as one JSON text. No LIMIT is bound, as a prepared statement would get it as a floating-point number.
 *
 * @param tableName A plain name, already checked.
 */
export function mysqlDialect(tableName: string): SQLDialect {
  const table = `\`${tableName}\``;
  const text = "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
  const decode = (column: string) => `CONVERT(${column} USING utf8mb4)`;
  const select = (deleted: string) =>
    `SELECT ${decode("node.node_key")} AS node_key, node.version, ${decode("node.hash")} AS hash, ` +
    `node.updated_at, ${deleted} AS deleted, 0 AS late`;
  const readOne = `${select("0")} FROM ${table} AS node ` +
    `WHERE node.node_key = CAST(? AS BINARY) AND node.node_key <> '' AND node.expires_at IS NULL`;
  const readMany = `${select("0")} FROM JSON_TABLE(?, '$[*]' COLUMNS (name ${text} PATH '$')) AS item ` +
    `STRAIGHT_JOIN ${table} AS node ON node.node_key = CAST(item.name AS BINARY) ` +
    `WHERE node.node_key <> '' AND node.expires_at IS NULL`;
  const readState = `SELECT '' AS node_key, max_version AS version, ${decode("epoch")} AS hash, ` +
    `swept_version AS updated_at, 0 AS deleted, late FROM ${table} WHERE node_key = ''`;
  const history = `${select("node.expires_at IS NOT NULL")} FROM ${table} AS node FORCE INDEX (version) ` +
    `WHERE node.version > ? AND node.node_key <> ''`;
  const nth = (offset: number) =>
    `SELECT version FROM ${table} WHERE version > ? AND node_key <> '' ORDER BY version LIMIT 1 OFFSET ${offset}`;
  // Among the items is one in place 0, with the empty key: it stands for the counter's row.
  const items = `JSON_TABLE(?, '$[*]' COLUMNS (name ${text} PATH '$[0]', place BIGINT PATH '$[1]', ` +
    `hash ${text} PATH '$[2]', time BIGINT PATH '$[3]', expiry BIGINT PATH '$[4]')) AS item`;
  const insert = (late: string, version: string, counter: string, maxVersion: string) =>
    `INSERT INTO ${table} (node_key, version, hash, updated_at, expires_at, counter, max_version, late) ` +
    `SELECT item.name, IF(item.place = 0, 0, ${version}), item.hash, item.time, item.expiry, ` +
    `IF(item.place = 0, ${counter}, NULL), IF(item.place = 0, ${maxVersion}, NULL), ` +
    `IF(item.place = 0, ${late}, NULL) FROM ${table} AS state JOIN ${items}`;
  const update = ["version", "hash", "updated_at", "expires_at", "counter", "max_version", "late"]
    .map((name) => `${table}.${name} = VALUES(${table}.${name})`).join(", ");
  const lock = `FOR UPDATE ON DUPLICATE KEY UPDATE ${update}`;
  const next = "GREATEST(state.counter, ?) + ?";
  const apply = insert("state.late", `${next} - ? + item.place`, `LAST_INSERT_ID(${next})`, next) +
    ` WHERE state.node_key = '' AND ${next} <= ${MAX_VERSION} ${lock}`;
  const rank = (row: string, time: string, expiry: string) =>
    `(${row}.${time === "time" ? "place" : "version"}, ${row}.${time}, CAST(${row}.hash AS BINARY), ` +
    `${row}.${expiry} IS NOT NULL)`;
  const set = insert(
    "state.late + (? <= state.max_version)",
    "item.place",
    "GREATEST(state.counter, LAST_INSERT_ID(?))",
    "GREATEST(state.max_version, ?)",
  ) + ` LEFT JOIN ${table} AS node ON node.node_key = CAST(item.name AS BINARY) WHERE state.node_key = '' ` +
    `AND (item.place = 0 OR node.node_key IS NULL OR ` +
    `${rank("item", "time", "expiry")} > ${rank("node", "updated_at", "expires_at")}) ${lock}`;

  return {
    // InnoDB shows a commit before it is on the disk. What a crash then takes back may have been told, so its
    // numbers must not be given again.
    counter: "clock",
    maxChanges: MAX_CHANGES,
    maxBytes: { key: MAX_KEY_BYTES, hash: MAX_HASH_BYTES },
    retried: [/* ER_LOCK_WAIT_TIMEOUT */ 1205, /* ER_LOCK_DEADLOCK */ 1213],
    columnNames: [...COLUMNS, "counter", "max_version"],
    schema: [
      `CREATE TABLE IF NOT EXISTS ${table} (\n` +
      `  node_key VARBINARY(${MAX_KEY_BYTES}) NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
      `  version BIGINT NOT NULL,                     -- there: 0\n` +
      `  hash VARBINARY(${MAX_HASH_BYTES}) NOT NULL,\n` +
      `  updated_at BIGINT NOT NULL,                  -- milliseconds since 1970\n` +
      `  expires_at BIGINT,                           -- set for a tombstone: when it may be swept\n` +
      `  epoch VARCHAR(64) CHARACTER SET ascii,       -- only in the counter's row, as all that follows\n` +
      `  origin VARCHAR(64) CHARACTER SET ascii,\n` +
      `  counter BIGINT,                              -- the last version given\n` +
      `  max_version BIGINT,                          -- the highest version that was ever visible\n` +
      `  swept_version BIGINT,                        -- the highest version among swept tombstones\n` +
      `  late BIGINT,                                 -- how many nodes came with a version already passed\n` +
      `  INDEX (version),\n` +
      `  INDEX (expires_at)\n` +
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
        `INSERT INTO ${table} ` +
          `(node_key, version, hash, updated_at, epoch, origin, counter, max_version, swept_version, late) ` +
          `SELECT '', 0, '', 0, ?, ?, last, last, 0, 0 ` +
          `FROM (SELECT COALESCE(MAX(version), 0) AS last FROM ${table}) AS history ` +
          `ON DUPLICATE KEY UPDATE ${table}.late = ${table}.late`,
        epoch,
        origin,
      ),
    readCounter: () => ask(`SELECT counter, max_version, epoch, origin FROM ${table} WHERE node_key = ''`),
    readNodes: (keys) =>
      keys.length === 1 ? ask(readOne, keys[0] ?? "") : ask(readMany, JSON.stringify(keys)),
    readMoment: (keys) => ask(`${readState} UNION ALL ${readMany}`, JSON.stringify(keys)),
    readChanges: (version, limit) =>
      ask(`(${readState}) UNION ALL (${history} ORDER BY node.version LIMIT ${Math.ceil(limit)})`, version),
    // The first so many, and all that share the version of the last of them.
    listChanged: (version, limit) =>
      limit === undefined ? ask(`${history} ORDER BY node.version`, version) : ask(
        `(${history} ORDER BY node.version LIMIT ${Math.ceil(limit)}) UNION ` +
          `(${history} AND node.version = (${nth(Math.ceil(limit) - 1)})) ORDER BY version`,
        version,
        version,
        version,
      ),
    increment: (floor, step) => ({
      sql: `UPDATE ${table} SET counter = LAST_INSERT_ID(GREATEST(counter, ?) + ?) ` +
        `WHERE node_key = '' AND GREATEST(counter, ?) + ? <= ${MAX_VERSION}`,
      params: [floor, step, floor, step],
      toRows,
    }),
    applyChanges: (changes, floor) => {
      const total = changes.at(-1)?.offset ?? 0;
      const next = [floor, total];
      return { sql: apply, params: [...next, total, ...next, ...next, toItems(changes), ...next], toRows };
    },
    setNode: ({ key, version, hash, updatedAt }: RealityNodeMeta, expiresAt) => {
      const item = toItems([{ key, offset: version, hash, updatedAt, expiresAt }]);
      return { sql: set, params: [version, version, version, item], toRows };
    },
    findExpired: (now) => ask(`SELECT version FROM ${table} WHERE expires_at <= ? LIMIT 1`, now),
    markSwept: (now) =>
      ask(
        `UPDATE ${table} AS state ` +
          `JOIN (SELECT COALESCE(MAX(version), 0) AS version FROM ${table} WHERE expires_at <= ?) AS expired ` +
          `SET state.swept_version = GREATEST(state.swept_version, expired.version) WHERE state.node_key = ''`,
        now,
      ),
    sweep: (now) =>
      ask(
        // MAX keeps the inner SELECT one of its own: merged into the DELETE, MySQL would refuse it.
        `DELETE FROM ${table} WHERE expires_at <= ? AND version <= (SELECT last FROM ` +
          `(SELECT MAX(swept_version) AS last FROM ${table} WHERE node_key = '') AS state) ` +
          `ORDER BY expires_at LIMIT ${MAX_SWEPT}`,
        now,
      ),
  };
}

function ask(sql: string, ...params: SQLValue[]): Statement {
  return { sql, params };
}

/** The counter's row: what a write moved the counter to, or no row where it wrote none. */
function toRows(lastId: number): SQLRow[] {
  return lastId > 0 ? [{ node_key: "", version: lastId }] : [];
}

function toItems(changes: readonly PlacedChange[]): string {
  const rows = changes.map((change) => {
    const { key, offset, hash, updatedAt, expiresAt } = change;
    return [key, offset, hash, updatedAt, expiresAt];
  });
  return JSON.stringify([["", 0, "", 0, null], ...rows]);
}
