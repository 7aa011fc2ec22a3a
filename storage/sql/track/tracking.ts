/**
 * Checks what is tracked in a table, and names the triggers. Pure.
 *
 * @module
 */
import { checkNames, optionError } from "../../../src/check.ts";
import { keyFault, kindOf, MAX_KEY_BYTES, utf8Length } from "../../../src/store/node.ts";
import type { SQLDialectName } from "../sql_options.ts";
import { columnsOf, parseTemplate, type TemplatePart } from "./template.ts";

/** Which table is tracked, and where its keys are written. */
export interface UntrackOptions {
  /** The kind of database: `mysql` stands for MariaDB as well. */
  dialect: SQLDialectName;
  /** The table's name, in any letters, as it is without quotes around it. */
  table: string;
  /**
   * The schema of the table; on MySQL its database, on SQLite the name of an attached file.
   *
   * @default "public" on PostgreSQL, elsewhere that of the connection
   */
  schema?: string;
  /**
   * A name of this tracking, to track one table in several ways. The names of triggers are made of it and the table's name.
   *
   * @default none
   */
  name?: string;
}

/** Which keys the rows of a table have. */
export interface TrackOptions extends UntrackOptions {
  /** The keys of a row, such as `chat:{room_id}`. A row whose column is NULL does not have that key. */
  keys: readonly string[];
  /**
   * An SQL condition, such as `{published} AND {kind} <> 'draft'`. Only rows for which it is true have keys. It is put into
   * the triggers as it is, except for the names of columns in braces: never build it from input.
   *
   * @default every row
   */
  when?: string;
  /**
   * The outbox of the server. In another schema, or database on MySQL: `schema.table`.
   *
   * @default {"reality_outbox"}
   */
  outbox?: string;
}

/** The options of {@linkcode TrackOptions}, checked, parsed and with defaults. */
export interface Tracking {
  readonly table: string;
  readonly schema: string | undefined;
  /** The templates of the keys. */
  readonly keys: readonly (readonly TemplatePart[])[];
  /** The condition. */
  readonly when: readonly TemplatePart[] | undefined;
  /** The outbox. */
  readonly outbox: { readonly schema: string | undefined; readonly table: string };
  /** All columns that keys and condition name. */
  readonly columns: readonly string[];
}

/** The events that have a trigger. */
export type TriggerEvent = "insert" | "update" | "delete" | "truncate";

const TABLE_OPTIONS = ["dialect", "table", "schema", "name"];

/** The longest name that every database takes, in bytes: that of PostgreSQL. */
const MAX_NAME_BYTES = 63;

/** The longest text of a key that triggers write, in characters. It is too long for a key, which the server reports. */
export const MAX_WRITTEN: number = MAX_KEY_BYTES + 1;

/**
 * Checks the options of a tracking.
 *
 * @throws {TypeError} When one is wrong; the message names it.
 */
export function readTracking(options: TrackOptions): Tracking {
  const { keys, when, outbox = "reality_outbox" } = options;
  checkTable("trackTable", options, ["keys", "when", "outbox"]);
  if (!Array.isArray(keys) || keys.length === 0) {
    throw optionError("keys", 'an array of keys such as "chat:{room_id}"', kindOf(keys));
  }
  const templates = [...new Set(keys)].map(readKey);
  const condition = when === undefined ? undefined : readCondition(when);
  return {
    table: options.table,
    schema: options.schema,
    keys: templates,
    when: condition,
    outbox: readOutbox(outbox, options.dialect),
    columns: columnsOf([...templates, condition ?? []]),
  };
}

/**
 * Checks the options that name a table.
 *
 * @param owner The function whose options they are.
 * @param options The options.
 * @param more The names of further options.
 * @throws {TypeError} When one is wrong; the message names it.
 */
export function checkTable(owner: string, options: UntrackOptions, more: readonly string[] = []): void {
  checkNames(owner, options, [...TABLE_OPTIONS, ...more]);
  const { dialect, table, schema, name } = options;
  if (!["sqlite", "postgres", "mysql"].includes(dialect)) {
    throw optionError("dialect", '"postgres", "mysql" or "sqlite"', show(dialect));
  }
  checkName("table", table);
  if (schema !== undefined) checkName("schema", schema);
  if (name !== undefined) checkName("name", name);
}

/**
 * The name of a trigger. A name of the tracking is added to that of the table, with a checksum of both: other tables may
 * have a tracking of the same name, or names that are the same once they are joined. What is too long is cut, and ends with
 * a checksum of the whole.
 */
export function triggerName({ table, name }: UntrackOptions, event?: TriggerEvent): string {
  const whole = name === undefined ? table : `${table}_${name}_${checksum(JSON.stringify([table, name]))}`;
  const base = `reality_track_${whole}`;
  const end = event === undefined ? "" : `_${event}`;
  // As long as the longest event, so that all names of one tracking begin alike.
  if (utf8Length(base) <= MAX_NAME_BYTES - "_truncate".length) return base + end;
  const sum = `_${checksum(base)}`;
  const room = MAX_NAME_BYTES - "_truncate".length - sum.length;
  let cut = "";
  for (const letter of base) {
    if (utf8Length(cut + letter) > room) break;
    cut += letter;
  }
  return cut + sum + end;
}

function readKey(key: unknown): readonly TemplatePart[] {
  if (typeof key !== "string" || key === "") {
    throw optionError("keys", 'keys such as "chat:{room_id}"', show(key));
  }
  const parts = parseTemplate(key, "keys").map((part, i, all) => {
    if ("column" in part || all[i + 1] === undefined || !part.text.endsWith("$")) return part;
    // A single one comes from ${column}. It would be a part of every key, and no page follows such a key.
    if (!part.text.endsWith("$$")) {
      throw optionError("keys", "{column} without a dollar sign, and $${column} for one", show(key));
    }
    return { text: part.text.slice(0, -1) };
  });
  for (const part of parts) {
    if ("column" in part) checkName("keys", part.column);
    else {
      const fault = keyFault(part.text);
      if (fault !== undefined) {
        throw new TypeError(`Option "keys" is wrong: ${JSON.stringify(key)} makes no key: ${fault}`);
      }
    }
  }
  return parts;
}

function readCondition(when: unknown): readonly TemplatePart[] {
  const parts = typeof when === "string" ? parseTemplate(when, "when") : [];
  if (columnsOf([parts]).length > 0) return parts;
  throw optionError("when", 'a condition on columns in braces, such as "{published} = 1"', show(when));
}

function readOutbox(outbox: unknown, dialect: SQLDialectName): Tracking["outbox"] {
  const [, schema, table] = typeof outbox === "string"
    ? /^(?:(.+)\.)?([A-Za-z_][A-Za-z0-9_]{0,62})$/su.exec(outbox) ?? []
    : [];
  if (table === undefined) {
    throw optionError("outbox", "a name of letters, digits and _, or schema.name", show(outbox));
  }
  if (schema !== undefined && dialect === "sqlite") {
    throw optionError("outbox", "a name without a schema: SQLite's triggers stay in one file", show(outbox));
  }
  if (schema !== undefined) checkName("outbox", schema);
  return { schema, table };
}

/** No database takes a name that is empty or contains NUL, and a lone surrogate has no UTF-8. */
function checkName(option: string, name: unknown): void {
  if (typeof name === "string" && name !== "" && !/[\0\p{Cs}]/u.test(name)) return;
  throw optionError(option, "a name without NUL", show(name));
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 200)) : kindOf(value);
}

/** FNV-1a of the text's UTF-16 units: 8 hexadecimal digits. */
function checksum(text: string): string {
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  return (sum >>> 0).toString(16).padStart(8, "0");
}
