/**
 * SQLite's statements that track a table. Pure.
 *
 * @module
 */
import { conditionOf, type TemplatePart } from "./template.ts";
import {
  MAX_WRITTEN,
  type Tracking,
  type TriggerEvent,
  triggerName,
  type UntrackOptions,
} from "./tracking.ts";

const EVENTS = ["insert", "update", "delete"] as const satisfies readonly TriggerEvent[];

const ROWS: Readonly<Record<typeof EVENTS[number], readonly string[]>> = {
  insert: ["NEW"],
  update: ["OLD", "NEW"],
  delete: ["OLD"],
};

/** The statements that track a table. */
export function trackOnSQLite(options: UntrackOptions, tracking: Tracking): string[] {
  const { keys, when, outbox } = tracking;
  const table = quoteName(options.table);
  const into = `${quoteName(outbox.table)} ("key")`;
  return [
    // Fails here, and not in the application's writes, when a column does not exist.
    `INSERT INTO ${schemaOf(options)}${into} ` +
    `SELECT ${keys.map((key) => keyOf(key, "reality_row")).join(" || ")} FROM ${
      schemaOf(options)
    }${table} AS reality_row ` +
    `WHERE ${when ? conditionIn("reality_row", when) : "1"} LIMIT 0`,
    ...EVENTS.flatMap((event) => [
      dropTrigger(options, event),
      `CREATE TRIGGER ${schemaOf(options)}${quoteName(triggerName(options, event))} ` +
      `AFTER ${event.toUpperCase()} ON ${table} FOR EACH ROW BEGIN\n` +
      `  INSERT INTO ${into} SELECT key FROM (${
        selectKeys(tracking, ROWS[event])
      }) WHERE key IS NOT NULL;\nEND`,
    ]),
  ];
}

/** The statements that end it. */
export function untrackOnSQLite(options: UntrackOptions): string[] {
  return EVENTS.map((event) => dropTrigger(options, event));
}

function dropTrigger(options: UntrackOptions, event: typeof EVENTS[number]): string {
  return `DROP TRIGGER IF EXISTS ${schemaOf(options)}${quoteName(triggerName(options, event))}`;
}

/** Selects each key of these rows once. `substr()` makes a value of a column, to which the column's collation does not apply. */
function selectKeys({ keys, when }: Tracking, rows: readonly string[]): string {
  return rows.flatMap((row) =>
    keys.map((key) => {
      const text = `substr(${keyOf(key, row)}, 1, ${MAX_WRITTEN})`;
      return `SELECT ${when ? `CASE WHEN ${conditionIn(row, when)} THEN ${text} END` : text} AS key`;
    })
  ).join(" UNION ");
}

/** The text of a key; NULL when a column is NULL. */
function keyOf(key: readonly TemplatePart[], row: string): string {
  const parts = key.map((part) =>
    "column" in part ? `CAST(${columnOf(part.column, row)} AS TEXT)` : quoteText(part.text)
  );
  return parts.length === 1 ? parts[0]! : `(${parts.join(" || ")})`;
}

function conditionIn(row: string, when: readonly TemplatePart[]): string {
  return conditionOf(when, (column) => columnOf(column, row));
}

function columnOf(column: string, row: string): string {
  return `${row}.${quoteName(column)}`;
}

function schemaOf({ schema }: UntrackOptions): string {
  return schema === undefined ? "" : `${quoteName(schema)}.`;
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
