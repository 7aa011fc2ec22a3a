/**
 * MySQL's statements for the table itself and for its counter's row.
 *
 * @module
 */
import { RESIDUES } from "../../../src/store/contract.ts";
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../../../src/store/node.ts";
import type { SQLDialect } from "../dialect.ts";
import { align, MAX_VERSION, pendingColumn, type SQLTable, statement } from "../fragments.ts";
import { EMPTY_MESH } from "../mesh_column.ts";
import { BASE, decode, given, isSame, START, toRows } from "./fragments.ts";

/** The longest replica id that the columns take, in bytes. */
export const MAX_REPLICA_ID_BYTES = 128;

/** {@linkcode SQLDialect.schema} */
export function schema({ quoted }: SQLTable): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${quoted} (\n` +
    `  node_key VARBINARY(${MAX_KEY_BYTES}) NOT NULL PRIMARY KEY, -- the empty key is the counter's row\n` +
    `  version BIGINT NOT NULL,                     -- there: 0\n` +
    `  hash VARBINARY(${MAX_HASH_BYTES}) NOT NULL,                -- there: the last steps of the highest version\n` +
    `  updated_at BIGINT NOT NULL,                  -- milliseconds since 1970; there: the number that drew the residue\n` +
    `  expires_at BIGINT,                           -- set for a tombstone: when it may be collected\n` +
    `  origin VARBINARY(${MAX_REPLICA_ID_BYTES}),                       -- the replica id of its change, if that is another storage\n` +
    `  stamp BIGINT,                                -- the dot version, if it is not the version\n` +
    `  epoch VARCHAR(128) CHARACTER SET utf8mb4,    -- this column and all below: only in the counter's row\n` +
    `  counter BIGINT,                              -- the last version given\n` +
    `  max_version BIGINT,                          -- the highest version that was ever visible\n` +
    `  max_stamp BIGINT,                            -- the highest own dot version that was ever visible\n` +
    `  swept_version BIGINT,                        -- the highest version among collected tombstones\n` +
    `  late BIGINT,                                 -- how many nodes were published below the counter\n` +
    `  mesh MEDIUMTEXT CHARACTER SET utf8mb4,       -- the version vector, and how far tombstones were collected\n` +
    `  INDEX (version),\n` +
    `  INDEX (expires_at),\n` +
    `  INDEX (stamp)\n` +
    `) ENGINE = InnoDB`,
  ];
}

/** {@linkcode SQLDialect.columns} */
export function columns({ name }: SQLTable): SQLDialect["columns"] {
  const sql = "SELECT column_name AS name, @@autocommit AS autocommit, HEX(?) = '5C' AS backslash " +
    "FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
  return () => statement(sql, "\\", name);
}

/** {@linkcode SQLDialect.createCounter} */
export function createCounter({ quoted }: SQLTable): SQLDialect["createCounter"] {
  const sql =
    `INSERT INTO ${quoted} (node_key, version, hash, updated_at, epoch, origin, counter, max_version, max_stamp, ` +
    `swept_version, late, mesh) SELECT '', 0, '', 0, ?, ?, last, last, last, 0, 0, '${EMPTY_MESH}' FROM ` +
    `(SELECT GREATEST(COALESCE(MAX(version), 0), COALESCE(MAX(stamp), 0)) AS last FROM ${quoted}) AS history ` +
    `ON DUPLICATE KEY UPDATE ${quoted}.late = ${quoted}.late`;
  return (epoch, replicaId) => statement(sql, epoch, replicaId);
}

/** {@linkcode SQLDialect.readCounter} */
export function readCounter(table: SQLTable): SQLDialect["readCounter"] {
  const sql = `SELECT counter, updated_at AS drawn, max_version, max_stamp, epoch, ${
    decode("origin")
  } AS origin, mesh${pendingColumn(table)} FROM ${table.quoted} WHERE node_key = ''`;
  return () => statement(sql);
}

/** {@linkcode SQLDialect.drawResidue} */
export function drawResidue({ quoted }: SQLTable): SQLDialect["drawResidue"] {
  const number = `${align(BASE, "given.residue", `${RESIDUES}`)} + ${RESIDUES}`;
  // The counter is set last: what is set before it uses its old value.
  const sql = `UPDATE ${quoted} AS state JOIN ${given({ floor: "SIGNED", residue: "SIGNED" })} ` +
    `SET state.updated_at = ${number}, state.max_stamp = ${number}, ` +
    `state.counter = LAST_INSERT_ID(${number}) WHERE state.node_key = '' AND state.updated_at = ? ` +
    `AND ${isSame("state.mesh", "?")} AND ${number} <= ${MAX_VERSION}`;
  return ({ mesh, drawn }, residue, floor) => ({ sql, params: [floor, residue, drawn, mesh], toRows });
}

/** {@linkcode SQLDialect.increment} */
export function increment({ quoted }: SQLTable): SQLDialect["increment"] {
  const sql = `UPDATE ${quoted} AS state JOIN ${given({ floor: "SIGNED", step: "SIGNED" })} ` +
    `SET state.counter = LAST_INSERT_ID(${START} + given.step) ` +
    `WHERE state.node_key = '' AND ${START} + given.step <= ${MAX_VERSION}`;
  return ({ floor, step }) => ({ sql, params: [floor, step], toRows });
}

/** {@linkcode SQLDialect.renewIdentity} */
export function renewIdentity({ quoted }: SQLTable): SQLDialect["renewIdentity"] {
  const sql = `UPDATE ${quoted} SET epoch = ?, origin = ?, mesh = IF(LAST_INSERT_ID(1) = 1, ?, NULL) ` +
    `WHERE node_key = '' AND ${isSame("epoch", "?")} AND ${isSame("mesh", "?")}`;
  return (before, { epoch, replicaId, mesh }) => ({
    sql,
    params: [epoch, replicaId, mesh, before.epoch, before.mesh],
    toRows,
  });
}
