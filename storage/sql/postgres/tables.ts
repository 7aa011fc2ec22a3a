/**
 * PostgreSQL's statements for the table itself and for its counter's row.
 *
 * @module
 */
import { RESIDUES } from "../../../src/store/contract.ts";
import type { SQLDialect } from "../dialect.ts";
import { align, createIndexes, MAX_VERSION, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { EMPTY_MESH } from "../mesh_column.ts";
import { BASE, NEXT, READ_ONLY } from "./fragments.ts";

/** {@linkcode SQLDialect.schema} */
export function schema(table: SQLTable): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${table.quoted} (\n` +
    `  node_key text COLLATE "C" NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
    `  version bigint NOT NULL,                        -- there: 0\n` +
    `  hash text COLLATE "C" NOT NULL,                 -- there: the last steps of the highest version\n` +
    `  updated_at bigint NOT NULL,                     -- milliseconds since 1970; there: the number that drew the residue\n` +
    `  expires_at bigint,                              -- set for a tombstone: when it may be collected\n` +
    `  origin text,                                    -- the replica id of its change, if that is another storage\n` +
    `  stamp bigint,                                   -- the dot version, if it is not the version\n` +
    `  epoch text,                                     -- this column and all below: only in the counter's row\n` +
    `  counter bigint,                                 -- the last version given\n` +
    `  max_version bigint,                             -- the highest version that was ever visible\n` +
    `  max_stamp bigint,                               -- the highest own dot version that was ever visible\n` +
    `  swept_version bigint,                           -- the highest version among collected tombstones\n` +
    `  late bigint,                                    -- how many nodes were published below the counter\n` +
    `  mesh text                                       -- the version vector, and how far tombstones were collected\n` +
    `) WITH (fillfactor = 90)`,
    ...createIndexes(table),
  ];
}

/** {@linkcode SQLDialect.createTable}. `IF NOT EXISTS` alone fails when two servers ask at once, so one waits. */
export function createTable(table: SQLTable): string[] {
  return [
    `DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('${table.name}')); ` +
    `IF to_regclass('${table.quoted}') IS NULL THEN ${schema(table).join("; ")}; END IF; END $$`,
  ];
}

/** {@linkcode SQLDialect.columns} */
export function columns({ quoted }: SQLTable): SQLDialect["columns"] {
  const sql = "SELECT attname AS name FROM pg_attribute " +
    "WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";
  return () => statement(sql, quoted);
}

/** {@linkcode SQLDialect.createCounter} */
export function createCounter({ quoted }: SQLTable): SQLDialect["createCounter"] {
  const sql =
    `INSERT INTO ${quoted} (node_key, version, hash, updated_at, epoch, origin, counter, max_version, max_stamp, ` +
    `swept_version, late, mesh) ` +
    `SELECT '', 0, '', 0, $1::text, $2::text, last, last, last, 0, 0, '${EMPTY_MESH}' FROM ` +
    `(SELECT greatest((SELECT max(version) FROM ${quoted}), (SELECT max(stamp) FROM ${quoted}), 0) AS last) AS history ` +
    `ON CONFLICT (node_key) DO NOTHING`;
  return (epoch, replicaId) => statement(sql, epoch, replicaId);
}

/** {@linkcode SQLDialect.readCounter} */
export function readCounter(table: SQLTable): SQLDialect["readCounter"] {
  const sql =
    `SELECT counter, updated_at AS drawn, max_version, max_stamp, epoch, origin, mesh, ${READ_ONLY}${
      pendingColumn(table)
    } FROM ${table.quoted} WHERE node_key = ''`;
  return () => statement(sql);
}

/** {@linkcode SQLDialect.drawResidue} */
export function drawResidue({ quoted }: SQLTable): SQLDialect["drawResidue"] {
  const number = `${align(BASE, "$2::bigint", `${RESIDUES}`)} + ${RESIDUES}`;
  const sql = `UPDATE ${quoted} SET counter = ${number}, max_stamp = ${number}, updated_at = ${number} ` +
    `WHERE node_key = '' AND updated_at = $3::bigint AND mesh = $4::text AND ${number} <= ${MAX_VERSION} ` +
    `RETURNING node_key`;
  return ({ mesh, drawn }, residue, floor) => statement(sql, floor, residue, drawn, mesh);
}

/** {@linkcode SQLDialect.increment} */
export function increment({ quoted }: SQLTable): SQLDialect["increment"] {
  const sql = `UPDATE ${quoted} SET counter = ${NEXT} WHERE node_key = '' AND ${NEXT} <= ${MAX_VERSION} ` +
    `RETURNING counter AS version`;
  return ({ floor, step }) => statement(sql, floor, step, step);
}

/** {@linkcode SQLDialect.renewIdentity} */
export function renewIdentity({ quoted }: SQLTable): SQLDialect["renewIdentity"] {
  const sql = `UPDATE ${quoted} SET epoch = $1::text, origin = $2::text, mesh = $3::text ` +
    `WHERE node_key = '' AND epoch = $4::text AND mesh = $5::text RETURNING node_key`;
  return (before, { epoch, replicaId, mesh }) =>
    statement(sql, epoch, replicaId, mesh, before.epoch, before.mesh);
}
