/**
 * The statements for SQLite 3.37 and newer, and for databases built on it (D1, libSQL, …).
 *
 * @module
 */
import type { OutboxNames, SQLDialect } from "../dialect.ts";
import { COLUMNS, MAX_CHANGES } from "../fragments.ts";
import { sqliteTable } from "./fragments.ts";
import { adoptVector, mergeNodes, readMissing, readMissingPage, readReplicated } from "./merge.ts";
import { sqliteOutbox } from "./outbox.ts";
import { listChanged, readChanges, readMoment, readNodes } from "./read.ts";
import {
  columns,
  createCounter,
  drawResidue,
  increment,
  readCounter,
  renewIdentity,
  schema,
} from "./tables.ts";
import { collect, findExpired, markCollected } from "./tombstones.ts";
import { applyChanges, applyConditional, setNode } from "./write.ts";

/**
 * The statements for one table. Lists travel as one JSON text, so no limit on bound parameters applies.
 *
 * @param tableName A plain name, checked before.
 * @param isTimed Whether a test's clock gives the time, instead of the database's.
 * @param outbox The outbox; left out for none.
 */
export function sqliteDialect(
  tableName: string,
  isTimed: boolean = false,
  outbox?: OutboxNames,
): SQLDialect {
  const table = sqliteTable(tableName, isTimed, outbox);
  return {
    maxChanges: MAX_CHANGES,
    retried: [],
    missing: { codes: [], message: /no such (table|column)|has no column named/ },
    columnNames: COLUMNS,
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
    mergeNodes: mergeNodes(table),
    adoptVector: adoptVector(table),
    findExpired: findExpired(table),
    markCollected: markCollected(table),
    collect: collect(table),
    ...(table.outbox && { outbox: sqliteOutbox(table, table.outbox) }),
  };
}
