/**
 * MySQL's statements for the outbox.
 *
 * @module
 */
import type { OutboxDialect, OutboxTable } from "../dialect.ts";
import { changeItem, MAX_VERSION, type SQLTable, statement } from "../fragments.ts";
import { keysOfRows } from "../placement.ts";
import {
  decode,
  given,
  insertRows,
  isSame,
  items,
  itemsParam,
  lockAndReplace,
  NEXT,
  START,
  TEXT,
  toRows,
} from "./fragments.ts";

/** The statements for the outbox of a table. */
export function mysqlOutbox(table: SQLTable, outbox: OutboxTable): OutboxDialect {
  return {
    name: outbox.name,
    schema: schema(outbox),
    columns: () =>
      statement(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?",
        outbox.name,
      ),
    read: read(outbox),
    readKeys: readKeys(outbox),
    apply: apply(table, outbox),
    setAside: setAside(outbox),
    summarize: summarize(outbox),
    insert: insert(outbox),
  };
}

/**
 * The texts are longer than a key and a hash may be: a database that is not strict shortens what is too long, and the rest
 * must still be too long to be taken for another key.
 */
function schema({ quoted }: OutboxTable): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${quoted} (\n` +
    `  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, -- below 0: set aside, because the change is not valid\n` +
    `  \`key\` VARCHAR(600),                            -- the node that changed\n` +
    `  hash VARCHAR(300),                             -- of its new state, if the writer knows it\n` +
    `  format SMALLINT NOT NULL DEFAULT 1,            -- the version of this row's format\n` +
    `  created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),\n` +
    `  INDEX pending_key (\`key\`, id)\n` +
    `) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
  ];
}

const COLUMNS = "pending.id, pending.`key`, pending.hash, pending.format";

/** The key of a row in UTF-8, to be compared as bytes. */
const KEY = decode("pending.`key`");

function read({ quoted }: OutboxTable): OutboxDialect["read"] {
  const sql =
    `SELECT ${COLUMNS} FROM ${quoted} AS pending WHERE pending.id > 0 AND pending.id <= ? ORDER BY pending.id`;
  return (upTo, limit) => statement(`${sql} LIMIT ${limit}`, upTo);
}

function readKeys({ quoted }: OutboxTable): OutboxDialect["readKeys"] {
  const sql = `SELECT ${COLUMNS} FROM JSON_TABLE(?, '$[*]' COLUMNS (name ${TEXT} PATH '$')) AS item ` +
    `STRAIGHT_JOIN ${quoted} AS pending FORCE INDEX (pending_key) ON pending.\`key\` = item.name ` +
    `WHERE pending.id > 0 AND pending.id <= ? ORDER BY pending.\`key\`, pending.id`;
  return (keys, upTo, limit) => statement(`${sql} LIMIT ${limit}`, JSON.stringify(keys), upTo);
}

/** A database that runs each statement by itself may write a change twice, but never removes a row too early. */
function apply(table: SQLTable, outbox: OutboxTable): OutboxDialect["apply"] {
  const lock = `SELECT counter FROM ${table.quoted} WHERE node_key = '' FOR UPDATE`;
  // Each has a row's id, its key, and its change's place. Place 0 is the counter's.
  const asked = `JSON_TABLE(?, '$[*]' COLUMNS ` +
    `(id BIGINT PATH '$[0]', name ${TEXT} PATH '$[1]', place BIGINT PATH '$[2]')) AS asked ` +
    `STRAIGHT_JOIN ${outbox.quoted} AS pending ON pending.id = asked.id ` +
    `AND CAST(asked.name AS BINARY) IN (CAST(${KEY} AS BINARY), '')`;
  const found = `SELECT asked.place FROM ${asked}`;
  const write = insertRows(table, {
    node: { version: `${START} + item.place`, replicaId: "NULL", dotVersion: "NULL" },
    counter: { counter: `LAST_INSERT_ID(${NEXT})`, maxVersion: NEXT, maxDotVersion: NEXT, isLate: "0" },
    from: given({ floor: "SIGNED", step: "SIGNED", total: "SIGNED" }) + ` JOIN ${items()}`,
  }) +
    ` WHERE state.node_key = '' AND ${NEXT} <= ${MAX_VERSION} AND item.place IN (${found}) ${
      lockAndReplace(table)
    }`;
  // The counter is this high only if the write was refused, or is the last one.
  const remove = `DELETE pending FROM ${asked} ` +
    `WHERE EXISTS (SELECT 1 FROM ${table.quoted} AS state WHERE state.node_key = '' AND state.counter + ? <= ${MAX_VERSION})`;
  return (changes, { floor, step }) => {
    const total = changes.at(-1)?.offset ?? 0;
    const keys = keysOfRows(changes);
    const pairs = changes.flatMap(({ rows, offset }) =>
      rows.flatMap((id) => [offset, 0].map((place) => [id, keys.get(id)!, place]))
    );
    const params = [floor, step, total, itemsParam(changes.map(changeItem)), JSON.stringify(pairs)];
    return {
      lock: statement(lock),
      write: { sql: write, params, toRows },
      remove: statement(remove, JSON.stringify([...keys]), total),
    };
  };
}

function setAside({ quoted }: OutboxTable): OutboxDialect["setAside"] {
  const sql = `UPDATE ${quoted} AS pending JOIN JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$[0]', ` +
    `name VARCHAR(600) CHARACTER SET utf8mb4 PATH '$[1]')) AS asked ON pending.id = asked.id ` +
    `JOIN (SELECT MIN(id) AS lowest FROM ${quoted}) AS kept ` +
    `SET pending.id = kept.lowest - 1 - pending.id ` +
    `WHERE asked.name IS NULL OR ${isSame("asked.name", `COALESCE(${KEY}, '')`)}`;
  return (rows) => statement(sql, JSON.stringify(rows));
}

function summarize({ quoted }: OutboxTable): OutboxDialect["summarize"] {
  return (limit) => {
    const count = (kind: string) =>
      `(SELECT COUNT(*) FROM (SELECT 1 FROM ${quoted} WHERE ${kind} LIMIT ${limit}) AS counted)`;
    return statement(
      `SELECT ${count("id > 0")} AS pending, ${count("id < 0")} AS set_aside, ` +
        `COALESCE((SELECT GREATEST(TIMESTAMPDIFF(MICROSECOND, created_at, CURRENT_TIMESTAMP(3)) DIV 1000, 0) ` +
        `FROM ${quoted} WHERE id > 0 ORDER BY id LIMIT 1), 0) AS oldest_age`,
    );
  };
}

function insert({ quoted }: OutboxTable): OutboxDialect["insert"] {
  // An INSERT … SELECT would lock the table's counter of ids until it ends.
  return (changes) =>
    statement(
      `INSERT INTO ${quoted} (\`key\`, hash) VALUES ${changes.map(() => "(?, ?)").join(", ")}`,
      ...changes.flatMap(({ key, hash }) => [key, hash === "" ? null : hash]),
    );
}
