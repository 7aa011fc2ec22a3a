/**
 * The statements for MySQL 8 and MariaDB 10.6 and newer.
 *
 * @module
 */
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../../../src/store/node.ts";
import type { OutboxNames, SQLDialect } from "../dialect.ts";
import { COLUMNS, MAX_CHANGES } from "../fragments.ts";
import { mysqlTable } from "./fragments.ts";
import { adoptVector, mergeNodes, readMissing, readMissingPage, readReplicated } from "./merge.ts";
import { mysqlOutbox } from "./outbox.ts";
import { listChanged, readChanges, readMoment, readNodes } from "./read.ts";
import {
  columns,
  createCounter,
  drawResidue,
  increment,
  MAX_REPLICA_ID_BYTES,
  readCounter,
  renewIdentity,
  schema,
} from "./tables.ts";
import { collect, findExpired, markCollected } from "./tombstones.ts";
import { applyChanges, applyConditional, setNode } from "./write.ts";

/**
 * The statements for one table.
 *
 * A change is one `INSERT … SELECT … FOR UPDATE … ON DUPLICATE KEY UPDATE`. Its SELECT locks the counter's row first. So it
 * waits until the transaction that holds the row has committed, and reads the newest counter at any isolation level. The
 * lock is kept until the change is visible, so versions become visible in order. The last version is returned through
 * `LAST_INSERT_ID(expression)`, since these databases return no rows for such a write.
 *
 * @param tableName A plain name, checked before.
 * @param isTimed Whether a test's clock gives the time, instead of the database's.
 * @param outbox The outbox; left out for none.
 */
export function mysqlDialect(
  tableName: string,
  isTimed: boolean = false,
  outbox?: OutboxNames,
): SQLDialect {
  const table = mysqlTable(tableName, isTimed, outbox);
  return {
    maxChanges: MAX_CHANGES,
    maxBytes: { key: MAX_KEY_BYTES, hash: MAX_HASH_BYTES, origin: MAX_REPLICA_ID_BYTES },
    retried: [/* ER_CHECKREAD */ 1020, /* ER_LOCK_WAIT_TIMEOUT */ 1205, /* ER_LOCK_DEADLOCK */ 1213],
    missing: {
      codes: [/* ER_NO_SUCH_TABLE */ 1146, /* ER_BAD_FIELD_ERROR */ 1054],
      message: /Table .* doesn't exist|Unknown column/,
    },
    columnNames: [...COLUMNS, "counter"],
    schema: schema(table),
    columns: columns(table),
    createCounter: createCounter(table),
    readCounter: readCounter(table),
    drawResidue: drawResidue(table),
    increment: increment(table),
    renewIdentity: renewIdentity(table),
    readNodes: readNodes(table),
    readMoment: readMoment(table),
    readChanges: readChanges(table),
    listChanged: listChanged(table),
    applyChanges: applyChanges(table),
    applyConditional: applyConditional(table),
    setNode: setNode(table),
    readReplicated: readReplicated(table),
    readMissing: readMissing(table),
    readMissingPage: readMissingPage(table),
    writesUnreported: true,
    mergeNodes: mergeNodes(table),
    adoptVector: adoptVector(table),
    findExpired: findExpired(table),
    markCollected: markCollected(table),
    collect: collect(table),
    ...(table.outbox && { outbox: mysqlOutbox(table, table.outbox) }),
  };
}
