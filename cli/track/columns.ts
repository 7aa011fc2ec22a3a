/**
 * Compares what is tracked with the table, so that an error names what is missing before anything is changed.
 *
 * @module
 */
import type { SQLDialectName } from "../../storage/sql/sql_options.ts";
import type { TrackOptions, UntrackOptions } from "../../storage/sql/track/track_table.ts";
import { readTracking } from "../../storage/sql/track/tracking.ts";
import { columnsOf } from "../../storage/sql/track/template.ts";
import type { Connection, Row } from "./database.ts";

/**
 * Each returns a row for each column, with its type and the kind of its table; on MySQL also the table's engine if that has
 * no transactions. The parameters are schema and table.
 */
const COLUMNS: Readonly<Record<SQLDialectName, string>> = {
  postgres: "SELECT attname AS name, format_type(atttypid, NULL) AS type, " +
    "CASE WHEN relkind IN ('r', 'p') THEN 'table' WHEN relkind = 'f' THEN 'foreign table' ELSE 'view' END AS kind " +
    "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace " +
    "WHERE nspname = coalesce($1::text, 'public') AND relname = $2::text AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
  mysql:
    "SELECT column_name AS name, data_type AS type, IF(table_type LIKE '%VIEW', 'view', 'table') AS kind, " +
    "(SELECT list.engine FROM information_schema.engines AS list " +
    "WHERE list.engine = tables.engine AND list.transactions <> 'YES') AS engine " +
    "FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) " +
    "WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? ORDER BY ordinal_position",
  sqlite: "SELECT info.name, info.type, list.type AS kind FROM pragma_table_list AS list, " +
    "pragma_table_xinfo(list.name, list.schema) AS info WHERE list.schema = coalesce(?, 'main') " +
    "AND list.name = ? COLLATE NOCASE",
};

/** Types of MySQL whose text depends on the writer's time zone, or that are no text. */
const WITHOUT_TEXT =
  /^(timestamp|bit|binary|varbinary|\w*blob|geometry|\w*point|\w*linestring|\w*polygon|geometrycollection)$/i;

/**
 * Checks that the outbox, the table and its columns exist.
 *
 * @throws {Error} When they do not, or a column cannot be part of a key. The message names it.
 */
export async function checkColumns(connection: Connection, options: TrackOptions): Promise<void> {
  const { keys, outbox, columns } = readTracking(options);
  const list = async (schema: string | undefined, table: string): Promise<readonly Row[]> =>
    await connection.run(COLUMNS[options.dialect], [schema ?? null, table]);
  const found = await list(options.schema, options.table);
  if (found.length === 0) throw new Error(`there is no table ${show(options.schema, options.table)}`);
  if (found[0]?.kind !== "table") {
    throw new Error(`${show(options.schema, options.table)} is not a table, but a ${found[0]?.kind}`);
  }
  if (typeof found[0].engine === "string") {
    throw new Error(
      `${show(options.schema, options.table)} has the engine ${
        found[0].engine
      }, which has no transactions: ROLLBACK would keep a changed row, but not its row of the outbox; use InnoDB`,
    );
  }
  const isExact = options.dialect === "postgres";
  const fold = (name: unknown) => isExact ? String(name) : String(name).toLowerCase();
  const types = new Map(found.map(({ name, type }) => [fold(name), String(type)]));
  for (const column of columns) {
    if (types.has(fold(column))) continue;
    const names = found.map(({ name }) => name).join(", ");
    throw new Error(
      `there is no column "${column}" in ${show(options.schema, options.table)}: it has ${names}`,
    );
  }
  for (const column of options.dialect === "mysql" ? columnsOf(keys) : []) {
    const type = types.get(fold(column)) ?? "";
    if (!WITHOUT_TEXT.test(type)) continue;
    throw new Error(
      `the column "${column}" has the type ${type}, whose text depends on the writer: add a generated column of text`,
    );
  }
  const schema = outbox.schema ?? (options.dialect === "postgres" ? undefined : options.schema);
  if ((await list(schema, outbox.table)).some(({ name }) => name === "key")) return;
  throw new Error(
    `there is no outbox ${show(outbox.schema, outbox.table)}: start a server whose storage has the option ` +
      "outbox, or the command with REALITY_OUTBOX, and send it a request, which creates it",
  );
}

/** The foreign keys of a table by which MySQL changes its rows without triggers. */
const CASCADES = "SELECT constraint_name AS name, delete_rule AS on_delete, update_rule AS on_update " +
  "FROM information_schema.referential_constraints WHERE constraint_schema = COALESCE(?, DATABASE()) " +
  "AND table_name = ? ORDER BY constraint_name";

/** Describes which changes of a table its triggers do not see. */
export async function listUnseen(
  connection: Connection,
  { dialect, schema, table }: UntrackOptions,
): Promise<string[]> {
  if (dialect !== "mysql") return [];
  return (await connection.run(CASCADES, [schema ?? null, table])).flatMap(
    ({ name, on_delete, on_update }) => {
      const rules = [["ON DELETE", on_delete], ["ON UPDATE", on_update]]
        .filter(([, rule]) => rule === "CASCADE" || rule === "SET NULL").map((rule) => rule.join(" "));
      if (rules.length === 0) return [];
      return [
        `what the foreign key ${name} (${rules.join(", ")}) changes, since MySQL runs no triggers for it`,
      ];
    },
  );
}

function show(schema: string | undefined, table: string): string {
  return `"${schema === undefined ? "" : `${schema}.`}${table}"`;
}
