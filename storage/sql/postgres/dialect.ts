/**
 * The statements for PostgreSQL 12 and newer, and for databases built on it (PGlite, …).
 *
 * @module
 */
import type { OutboxNames, SQLDialect, SQLRow } from "../dialect.ts";
import { COLUMNS, MAX_CHANGES } from "../fragments.ts";
import { postgresTable } from "./fragments.ts";
import { adoptVector, mergeNodes, readMissing, readMissingPage, readReplicated } from "./merge.ts";
import { postgresOutbox } from "./outbox.ts";
import { listChanged, readChanges, readMoment, readNodes } from "./read.ts";
import {
  columns,
  createCounter,
  createTable,
  drawResidue,
  increment,
  readCounter,
  renewIdentity,
  schema,
} from "./tables.ts";
import { collect, findExpired, markCollected } from "./tombstones.ts";
import { applyChanges, applyConditional, setNode } from "./write.ts";

/** Whether the rows of an answer say that the server, or the transaction, is read-only. */
export function tellsReadOnly(rows: readonly object[]): boolean {
  // All rows of an answer have the column, or none of them.
  return "read_only" in (rows[0] ?? {}) && rows.some((row) => Number((row as SQLRow).read_only) === 1);
}

/**
 * The statements for one table.
 *
 * A change first updates the counter's row. So it waits until the transaction that holds the row has committed. Under
 * READ COMMITTED the update then works on the newest counter, and `ON CONFLICT` on the newest node. The lock is kept until
 * the change is visible, so versions become visible in order. The counter is in columns without an index, so that updates
 * of its row touch no index.
 *
 * @param tableName A plain name, checked before.
 * @param isTimed Whether a test's clock gives the time, instead of the database's.
 * @param outbox The outbox; left out for none.
 */
export function postgresDialect(
  tableName: string,
  isTimed: boolean = false,
  outbox?: OutboxNames,
): SQLDialect {
  const table = postgresTable(tableName, isTimed, outbox);
  return {
    maxChanges: MAX_CHANGES,
    retried: [/* serialization_failure */ "40001", /* deadlock_detected */ "40P01"],
    missing: {
      codes: [
        /* undefined_table */ "42P01",
        /* undefined_column */ "42703",
        /* invalid_schema_name */ "3F000",
      ],
      message: /(relation|column) .* does not exist/,
    },
    tellsReadOnly,
    columnNames: [...COLUMNS, "counter"],
    schema: schema(table),
    createTable: createTable(table),
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
    ...(table.outbox && { outbox: postgresOutbox(table, table.outbox) }),
  };
}
