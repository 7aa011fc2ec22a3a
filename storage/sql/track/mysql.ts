/**
 * MySQL's and MariaDB's statements that track a table. Pure.
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

/** A row of a trigger. */
type Row = "OLD" | "NEW";

const ROWS: Readonly<Record<typeof EVENTS[number], readonly Row[]>> = {
  insert: ["NEW"],
  update: ["OLD", "NEW"],
  delete: ["OLD"],
};

/** The statements that track a table. */
export function trackOnMySQL(options: UntrackOptions, tracking: Tracking): string[] {
  const table = tableOf(options);
  const { outbox } = tracking;
  const schema = outbox.schema ?? options.schema;
  const into = `INSERT INTO ${qualify(schema, outbox.table)} (\`key\`) `;
  return [
    // Fails here when a column does not exist, before an old trigger is dropped.
    `${into}SELECT CONCAT(${
      tracking.keys.map((key) => keyOf(key, "reality_row")).join(", ")
    }) FROM ${table} AS reality_row ` +
    `WHERE FALSE${tracking.when ? ` AND ${conditionIn("reality_row", tracking.when)}` : ""}`,
    ...EVENTS.flatMap((event) => [
      dropTrigger(options, event),
      `CREATE TRIGGER ${qualify(options.schema, triggerName(options, event))} ` +
      `AFTER ${event.toUpperCase()} ON ${table} FOR EACH ROW\n${bodyOf(tracking, into, ROWS[event])}`,
    ]),
  ];
}

/** The statements that end it. */
export function untrackOnMySQL(options: UntrackOptions): string[] {
  return EVENTS.map((event) => dropTrigger(options, event));
}

function dropTrigger(options: UntrackOptions, event: typeof EVENTS[number]): string {
  return `DROP TRIGGER IF EXISTS ${qualify(options.schema, triggerName(options, event))}`;
}

/**
 * The keys are compared as bytes: a collation would take different keys for the same. Each is written by a statement with
 * one row of values. `INSERT … SELECT` would lock the outbox's AUTO_INCREMENT until the application's statement has ended.
 */
function bodyOf(tracking: Tracking, into: string, rows: readonly Row[]): string {
  const lines = tracking.keys.flatMap((key) => {
    const set = (row: Row) => {
      const text = keyOf(key, row);
      const { when } = tracking;
      return `  SET ${VARIABLE[row]} = ${
        when ? `CASE WHEN ${conditionIn(row, when)} THEN ${text} END` : text
      };`;
    };
    const write = (row: Row, condition = "") =>
      `  IF ${VARIABLE[row]} IS NOT NULL${condition} THEN ` +
      `${into}VALUES (LEFT(CONVERT(${VARIABLE[row]} USING utf8mb4), ${MAX_WRITTEN})); END IF;`;
    const [first, second] = rows;
    if (second === undefined) return [set(first!), write(first!)];
    const isOther = ` AND NOT (${VARIABLE.OLD} <=> ${VARIABLE.NEW})`;
    return [set("OLD"), set("NEW"), write("OLD"), write("NEW", isOther)];
  });
  return `BEGIN\n  DECLARE ${rows.map((row) => VARIABLE[row]).join(", ")} LONGBLOB;\n${
    lines.join("\n")
  }\nEND`;
}

const VARIABLE: Readonly<Record<Row, string>> = { OLD: "reality_old_key", NEW: "reality_new_key" };

/** The text of a key in UTF-8; NULL when a column is NULL. */
function keyOf(key: readonly TemplatePart[], row: string): string {
  const parts = key.map((part) =>
    "column" in part ? `CONVERT(${columnOf(part.column, row)} USING utf8mb4)` : quoteText(part.text)
  );
  return `CONCAT(${parts.join(", ")})`;
}

function conditionIn(row: string, when: readonly TemplatePart[]): string {
  return conditionOf(when, (column) => columnOf(column, row));
}

function columnOf(column: string, row: string): string {
  return `${row}.${quoteName(column)}`;
}

/** The table, as statements name it. */
export function tableOf({ schema, table }: UntrackOptions): string {
  return qualify(schema, table);
}

function qualify(schema: string | undefined, name: string): string {
  return schema === undefined ? quoteName(name) : `${quoteName(schema)}.${quoteName(name)}`;
}

function quoteName(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/**
 * Plain text in quotes, other text as its bytes. So neither `sql_mode` nor the connection's character set changes what it
 * stands for.
 */
function quoteText(text: string): string {
  if (/^[\w :;/.,+@#%&!?()<>=*-]*$/.test(text)) return `'${text}'`;
  const bytes = [...new TextEncoder().encode(text)];
  return `_utf8mb4 X'${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}'`;
}
