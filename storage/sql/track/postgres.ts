/**
 * PostgreSQL's statements that track a table. Pure.
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

const EVENTS: readonly TriggerEvent[] = ["insert", "update", "delete", "truncate"];

/**
 * Settings of the session that change how a value is written as text. The same value must give the same key in every
 * session. Rules of rows must not hide rows from TRUNCATE: with `off` that is an error.
 */
const SETTINGS: readonly string[] = [
  "search_path = pg_catalog, pg_temp",
  "row_security = off",
  "datestyle = 'ISO, YMD'",
  "intervalstyle = 'postgres'",
  "timezone = 'UTC'",
  "extra_float_digits = 1",
  "bytea_output = 'hex'",
  "lc_monetary = 'C'",
];

/** The statements that track a table. */
export function trackOnPostgres(options: UntrackOptions, tracking: Tracking): string[] {
  const table = tableOf(options);
  const outbox = `${quoteName(tracking.outbox.schema ?? "public")}.${quoteName(tracking.outbox.table)}`;
  const insert = `INSERT INTO ${outbox} ("key") `;
  const name = functionOf(options);
  const body = `
#variable_conflict use_column
BEGIN
  IF TG_OP = 'INSERT' THEN
    ${insert}${selectKeys(tracking, "new_rows")};
  ELSIF TG_OP = 'UPDATE' THEN
    ${insert}${selectKeys(tracking, "old_rows", "new_rows")};
  ELSIF TG_OP = 'DELETE' THEN
    ${insert}${selectKeys(tracking, "old_rows")};
  ELSE
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
      -- Rows that were committed after the transaction's snapshot are removed as well, and cannot be read.
      RAISE EXCEPTION 'Cannot tell which keys TRUNCATE changes at isolation level %: use READ COMMITTED, or DELETE',
        current_setting('transaction_isolation');
    END IF;
    ${insert}${selectKeys(tracking, table)};
  END IF;
  RETURN NULL;
END`;
  const tag = freeTag(body);
  const triggers = `BEGIN\n${
    EVENTS.map((event) =>
      `  DROP TRIGGER IF EXISTS ${quoteName(triggerName(options, event))} ON ${table};\n` +
      `  CREATE TRIGGER ${quoteName(triggerName(options, event))} ${WHEN_FIRED[event]}`
        .replace("{table}", () => table) +
      `\n    FOR EACH STATEMENT EXECUTE FUNCTION ${name}();\n`
    ).join("")
  }END`;
  const triggersTag = freeTag(triggers);
  return [
    // Fails here, and not in the application's writes, when a column does not exist.
    insert + `SELECT ${tracking.keys.map((key) => keyOf(key)).join(" || ")} FROM ${table} AS reality_row ` +
    `WHERE false${tracking.when ? ` AND ${conditionOf(tracking.when, columnOf)}` : ""}`,
    refuse(options, tracking),
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n  ` +
    `${SETTINGS.map((setting) => `SET ${setting}`).join("\n  ")}\nAS ${tag}${body}\n${tag}`,
    `REVOKE ALL ON FUNCTION ${name}() FROM PUBLIC`,
    // One statement, so that no change is missed between the old triggers and the new ones.
    `DO ${triggersTag}\n${triggers}\n${triggersTag}`,
  ];
}

/**
 * Fails where triggers would be wrong. They read NULL from a generated column without a stored value, so no key would be
 * written. And a function that a superuser replaces keeps its owner, who could put other code into it.
 */
function refuse(options: UntrackOptions, { columns }: Tracking): string {
  const names = columns.map((column) => `, ${quoteText(column)}`).join("");
  const signature = quoteText(`${functionOf(options)}()`);
  const body = `
DECLARE
  tracked pg_catalog.regclass := ${quoteText(tableOf(options))};
  unseen text := (SELECT attname FROM pg_catalog.pg_attribute
    WHERE attrelid = tracked AND attname IN (NULL${names}) AND attgenerated = 'v' LIMIT 1);
  other pg_catalog.regrole := (SELECT proowner FROM pg_catalog.pg_proc
    WHERE oid = pg_catalog.to_regprocedure(${signature})
      AND proowner NOT IN (SELECT relowner FROM pg_catalog.pg_class WHERE oid = tracked)
      AND proowner NOT IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper)
      AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolsuper AND rolname = current_user));
BEGIN
  IF unseen IS NOT NULL THEN
    RAISE EXCEPTION 'Cannot track the column "%": triggers do not see the value of a virtual generated column, make it STORED', unseen;
  END IF;
  IF other IS NOT NULL THEN
    RAISE EXCEPTION 'Cannot replace the function %: it belongs to %, who could change it again; drop it first', ${signature}, other;
  END IF;
END`;
  const tag = freeTag(body);
  return `DO ${tag}${body}\n${tag}`;
}

/** The statements that end it. */
export function untrackOnPostgres(options: UntrackOptions): string[] {
  return [
    ...EVENTS.map((event) =>
      `DROP TRIGGER IF EXISTS ${quoteName(triggerName(options, event))} ON ${tableOf(options)}`
    ),
    `DROP FUNCTION IF EXISTS ${functionOf(options)}()`,
  ];
}

const WHEN_FIRED: Readonly<Record<TriggerEvent, string>> = {
  insert: "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows",
  update: "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
  delete: "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows",
  truncate: "BEFORE TRUNCATE ON {table}",
};

function tableOf({ schema = "public", table }: UntrackOptions): string {
  return `${quoteName(schema)}.${quoteName(table)}`;
}

function functionOf(options: UntrackOptions): string {
  return `${quoteName(options.schema ?? "public")}.${quoteName(triggerName(options))}`;
}

/** Selects each key of these rows once. */
function selectKeys({ keys, when }: Tracking, ...sources: readonly string[]): string {
  const condition = when ? ` WHERE ${conditionOf(when, columnOf)}` : "";
  const rows = sources.map((source) =>
    `SELECT unnest(ARRAY[${keys.map(keyOf).join(", ")}]) AS key FROM ${source} AS reality_row${condition}`
  );
  return `SELECT DISTINCT left(keys.key, ${MAX_WRITTEN}) ` +
    `FROM (${rows.join(" UNION ALL ")}) AS keys WHERE keys.key IS NOT NULL`;
}

/**
 * The text of a key; NULL when a column is NULL. Keys are compared as bytes: the collation of a column may take different
 * keys for the same.
 */
function keyOf(key: readonly TemplatePart[]): string {
  const parts = key.map((part) =>
    "column" in part ? `(${columnOf(part.column)})::text` : quoteText(part.text)
  );
  return `(${parts.join(" || ")})::text COLLATE pg_catalog."C"`;
}

function columnOf(column: string): string {
  return `reality_row.${quoteName(column)}`;
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Independent of `standard_conforming_strings`. */
function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll("\\", "\\\\")}'`;
  return text.includes("\\") ? `E${quoted}` : quoted;
}

/** A dollar quote that does not occur in the text. */
function freeTag(text: string): string {
  for (let i = 0;; i++) {
    const tag = `$reality${i === 0 ? "" : i}$`;
    if (!text.includes(tag)) return tag;
  }
}
