/**
 * SQLite's statements for the table itself and for its counter's row.
 *
 * @module
 */
import { RESIDUES } from "../../../src/store/contract.ts";
import type { SQLDialect } from "../dialect.ts";
import { align, createIndexes, MAX_VERSION, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { EMPTY_MESH } from "../mesh_column.ts";
import { baseOf, toReal } from "./fragments.ts";

/** {@linkcode SQLDialect.schema} */
export function schema(table: SQLTable): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${table.quoted} (\n` +
    `  node_key TEXT NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
    `  version INTEGER NOT NULL,           -- there: the last version given\n` +
    `  hash TEXT NOT NULL,                 -- there: the last steps of the highest version\n` +
    `  updated_at INTEGER NOT NULL,        -- milliseconds since 1970; there: the number that drew the residue\n` +
    `  expires_at INTEGER,                 -- set for a tombstone: when it may be collected\n` +
    `  origin TEXT,                        -- the replica id of its change, if that is another storage\n` +
    `  stamp INTEGER,                      -- the dot version, if it is not the version\n` +
    `  epoch TEXT,                         -- this column and all below: only in the counter's row\n` +
    `  max_version INTEGER,                -- the highest version that was ever visible\n` +
    `  max_stamp INTEGER,                  -- the highest own dot version that was ever visible\n` +
    `  swept_version INTEGER,              -- the highest version among collected tombstones\n` +
    `  late INTEGER,                       -- how many nodes were published below the counter\n` +
    `  mesh TEXT                           -- the version vector, and how far tombstones were collected\n` +
    `) STRICT, WITHOUT ROWID`,
    ...createIndexes(table),
  ];
}

/** {@linkcode SQLDialect.columns} */
export function columns({ name }: SQLTable): SQLDialect["columns"] {
  return () => statement("SELECT name FROM pragma_table_info(?)", name);
}

/** {@linkcode SQLDialect.createCounter} */
export function createCounter({ quoted }: SQLTable): SQLDialect["createCounter"] {
  const sql =
    `INSERT INTO ${quoted} (node_key, version, hash, updated_at, epoch, origin, max_version, max_stamp, ` +
    `swept_version, late, mesh) SELECT '', last, '', 0, ?, ?, last, last, 0, 0, '${EMPTY_MESH}' FROM ` +
    `(SELECT max(coalesce((SELECT max(version) FROM ${quoted}), 0), coalesce((SELECT max(stamp) FROM ${quoted}), 0)) AS last) WHERE true ` +
    `ON CONFLICT (node_key) DO NOTHING RETURNING node_key`;
  return (epoch, replicaId) => statement(sql, epoch, replicaId);
}

/** {@linkcode SQLDialect.readCounter} */
export function readCounter(table: SQLTable): SQLDialect["readCounter"] {
  const sql =
    `SELECT CAST(version AS REAL) AS counter, CAST(updated_at AS REAL) AS drawn, CAST(max_version AS REAL) AS max_version, ` +
    `CAST(max_stamp AS REAL) AS max_stamp, epoch, origin, mesh${
      pendingColumn(table, toReal)
    } FROM ${table.quoted} WHERE node_key = ''`;
  return () => statement(sql);
}

/** {@linkcode SQLDialect.drawResidue} */
export function drawResidue({ quoted }: SQLTable): SQLDialect["drawResidue"] {
  const next = `${align(baseOf(`${quoted}.version`, "floor"), "residue", `${RESIDUES}`)} + ${RESIDUES}`;
  const sql = `UPDATE ${quoted} SET (version, max_stamp, updated_at) = (SELECT next, next, next FROM ` +
    `(SELECT ${next} AS next FROM (SELECT ? AS floor, ? AS residue))) ` +
    `WHERE node_key = '' AND updated_at = ? AND mesh = ? ` +
    `AND max(version, ?) + ${RESIDUES} <= ${MAX_VERSION} RETURNING node_key`;
  return ({ mesh, drawn }, residue, floor) => statement(sql, floor, residue, drawn, mesh, floor);
}

/** {@linkcode SQLDialect.increment} */
export function increment({ quoted }: SQLTable): SQLDialect["increment"] {
  const next = `${align(baseOf("version", "?"), "updated_at", "?")} + ?`;
  const sql = `UPDATE ${quoted} SET version = ${next} WHERE node_key = '' AND ${next} <= ${MAX_VERSION} ` +
    `RETURNING CAST(version AS REAL) AS version`;
  return ({ floor, step }) => {
    const params = [floor, floor, step, step];
    return statement(sql, ...params, ...params);
  };
}

/** {@linkcode SQLDialect.renewIdentity} */
export function renewIdentity({ quoted }: SQLTable): SQLDialect["renewIdentity"] {
  const sql = `UPDATE ${quoted} SET epoch = ?, origin = ?, mesh = ? ` +
    `WHERE node_key = '' AND epoch = ? AND mesh = ? RETURNING node_key`;
  return (before, { epoch, replicaId, mesh }) =>
    statement(sql, epoch, replicaId, mesh, before.epoch, before.mesh);
}
