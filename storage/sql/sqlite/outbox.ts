/**
 * SQLite's statements for the outbox.
 *
 * @module
 */
import type { OutboxDialect, OutboxTable } from "../dialect.ts";
import { align, changeItem, MAX_VERSION, type SQLTable, statement } from "../fragments.ts";
import { keysOfRows } from "../placement.ts";
import { baseOf, field, recentText, toReal, upsert, WRITTEN } from "./fragments.ts";

/** The statements for the outbox of a table. */
export function sqliteOutbox(table: SQLTable, outbox: OutboxTable): OutboxDialect {
  return {
    name: outbox.name,
    schema: schema(outbox),
    columns: () => statement("SELECT name FROM pragma_table_info(?)", outbox.name),
    read: read(outbox),
    readKeys: readKeys(outbox),
    apply: apply(table, outbox),
    setAside: setAside(outbox),
    summarize: summarize(outbox),
    insert: insert(outbox),
  };
}

/** With AUTOINCREMENT no id is used twice. Otherwise a server could remove a new row in place of one that it applied. */
function schema({ name, quoted }: OutboxTable): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${quoted} (\n` +
    `  id INTEGER PRIMARY KEY AUTOINCREMENT, -- below 0: set aside, because the change is not valid\n` +
    `  "key" TEXT,                           -- the node that changed\n` +
    `  hash TEXT,                            -- of its new state, if the writer knows it\n` +
    `  format INTEGER NOT NULL DEFAULT 1,    -- the version of this row's format\n` +
    `  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))\n` +
    `)`,
    `CREATE INDEX IF NOT EXISTS "${name}_key" ON ${quoted} ("key", id)`,
  ];
}

const COLUMNS = `${toReal("id")} AS id, "key", hash, format`;

function read({ quoted }: OutboxTable): OutboxDialect["read"] {
  const sql = `SELECT ${COLUMNS} FROM ${quoted} AS pending WHERE pending.id > 0 AND pending.id <= ? ` +
    `ORDER BY pending.id LIMIT ?`;
  return (upTo, limit) => statement(sql, upTo, limit);
}

function readKeys({ quoted }: OutboxTable): OutboxDialect["readKeys"] {
  const sql =
    `SELECT ${COLUMNS} FROM ${quoted} AS pending WHERE pending."key" IN (SELECT value FROM json_each(?)) ` +
    `AND pending.id > 0 AND pending.id <= ? ORDER BY pending."key", pending.id LIMIT ?`;
  return (keys, upTo, limit) => statement(sql, JSON.stringify(keys), upTo, limit);
}

/** Two statements: a database that runs each by itself may write a change twice, but never removes a row too early. */
function apply({ quoted, now }: SQLTable, outbox: OutboxTable): OutboxDialect["apply"] {
  // Each has a row's id, its key, and its change's place.
  const asked = `json_each(?) AS asked CROSS JOIN ${outbox.quoted} AS pending ` +
    `ON pending.id = ${field(0)} AND ${field(1)} IN (pending."key", '')`;
  const found = `SELECT ${field(2)} AS place FROM ${asked}`;
  const write = `WITH given(floor, step, total) AS (SELECT ?, ?, ?), found AS MATERIALIZED (${found}), ` +
    `counter AS (SELECT ${
      align(baseOf("version", "floor"), "updated_at", "step")
    } AS base, total, origin, hash, max_version, updated_at AS drawn FROM given, ${quoted} WHERE node_key = ''), ` +
    `room AS (SELECT *, base + total AS last FROM counter WHERE base + total <= ${MAX_VERSION} ` +
    `AND EXISTS (SELECT 1 FROM found)) ` +
    `INSERT INTO ${quoted} (node_key, ${WRITTEN.join(", ")}) ` +
    `SELECT '', last, ${recentText("last")}, drawn, NULL, origin, NULL, last, last FROM room ` +
    `UNION ALL SELECT ${field(0)}, base + ${field(1)}, ${field(2)}, ${field(3)}, ${
      field(4)
    } + ${now}, NULL, NULL, NULL, NULL FROM room, json_each(?) WHERE ${
      field(1)
    } IN (SELECT place FROM found) ` +
    `${upsert()} RETURNING node_key, CAST(version AS REAL) AS version`;
  // The counter is this high only if the write was refused, or is the last one.
  const remove = `DELETE FROM ${outbox.quoted} WHERE id IN (SELECT pending.id FROM ${asked}) AND EXISTS ` +
    `(SELECT 1 FROM ${quoted} WHERE node_key = '' AND version + ? <= ${MAX_VERSION}) RETURNING id`;
  return (changes, { floor, step }) => {
    const total = changes.at(-1)?.offset ?? 0;
    const keys = keysOfRows(changes);
    const rows = JSON.stringify(
      changes.flatMap(({ rows, offset }) => rows.map((id) => [id, keys.get(id)!, offset])),
    );
    const items = JSON.stringify(changes.map(changeItem));
    return {
      write: statement(write, floor, step, total, rows, items),
      remove: statement(remove, JSON.stringify([...keys]), total),
    };
  };
}

function setAside({ quoted }: OutboxTable): OutboxDialect["setAside"] {
  const sql = `UPDATE ${quoted} SET id = (SELECT min(id) FROM ${quoted}) - 1 - id WHERE id IN (` +
    `SELECT pending.id FROM json_each(?) AS asked CROSS JOIN ${quoted} AS pending ` +
    `ON pending.id = ${field(0)} AND coalesce(${field(1)} = coalesce(pending."key", ''), true)` +
    `) RETURNING id`;
  return (rows) => statement(sql, JSON.stringify(rows));
}

function summarize({ quoted }: OutboxTable): OutboxDialect["summarize"] {
  const count = (kind: string) => `(SELECT count(*) FROM (SELECT 1 FROM ${quoted} WHERE ${kind} LIMIT ?))`;
  const sql = `SELECT ${count("id > 0")} AS pending, ${count("id < 0")} AS set_aside, ` +
    `coalesce((SELECT max(0, round((julianday('now') - julianday(created_at)) * 86400000)) FROM ${quoted} ` +
    `WHERE id > 0 ORDER BY id LIMIT 1), 0) AS oldest_age`;
  return (limit) => statement(sql, limit, limit);
}

function insert({ quoted }: OutboxTable): OutboxDialect["insert"] {
  const sql = `INSERT INTO ${quoted} ("key", hash) SELECT ${field(0)}, nullif(${
    field(1)
  }, '') FROM json_each(?)`;
  return (changes) => statement(sql, JSON.stringify(changes.map(({ key, hash }) => [key, hash])));
}
