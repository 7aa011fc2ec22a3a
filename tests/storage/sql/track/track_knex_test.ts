/**
 * The migration for Knex in docs/database.md, run by Knex itself.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import knex, { type Knex } from "knex";
import { testOnEngine } from "../../engines.ts";
import { addressOf, newTableName } from "../../table_kit.ts";

/** What the migration exports. */
type Migration = Required<Knex.Migration>;

const root = new URL("../../../../", import.meta.url);
const page = readFileSync(new URL("docs/database.md", root), "utf8");
const [, recipe = ""] = /\*\*Knex\.\*\*[^]*?```ts\n([^]*?)\n\/\/ What Knex does/.exec(page) ?? [];
const OPTIONS = 'dialect: "sqlite", table: "messages", keys: ["chat:{room_id}"]';

/** Imports the migration for other options, from a file that finds the package of Knex. */
async function load(name: string, options: string): Promise<Migration> {
  assert.ok(recipe.includes(OPTIONS), "the page has another recipe");
  const track = new URL("storage/sql/track/track_table.ts", root).href;
  const file = new URL(`.cache/knex/${name}.ts`, root);
  mkdirSync(new URL(".", file), { recursive: true });
  writeFileSync(file, recipe.replace(OPTIONS, options).replace("@rootlodge/reality-server/track", track));
  try {
    return await import(file.href) as Migration;
  } finally {
    rmSync(file);
  }
}

const engines: [name: string, dialect: string, config: () => Knex.Config][] = [
  ["SQLite", "sqlite", () => ({ client: "better-sqlite3", connection: ":memory:", useNullAsDefault: true })],
  ["PostgreSQL", "postgres", () => ({ client: "pg", connection: addressOf("REALITY_TEST_POSTGRES") })],
  ["MariaDB", "mysql", () => ({ client: "mysql2", connection: addressOf("REALITY_TEST_MYSQL") })],
];
for (const [name, dialect, config] of engines) {
  testOnEngine(`Knex on ${name} applies the migration of the docs, and takes it back`, async () => {
    const table = newTableName();
    const outbox = `${table}_outbox`;
    // Knex may take a question mark for a parameter.
    const keys = JSON.stringify(["chat:{room_id}", "is it {room_id}?"]);
    const migration = await load(
      table,
      `dialect: "${dialect}", table: "${table}", keys: ${keys}, outbox: "${outbox}"`,
    );
    const db = knex(config());
    try {
      await db.schema.createTable(table, (column) => column.string("room_id"));
      await db.schema.createTable(outbox, (column) => {
        column.bigIncrements("id");
        column.string("key", 600);
      });
      const migrationSource = {
        getMigrations: () => Promise.resolve(["track"]),
        getMigrationName: (name: string) => name,
        getMigration: () => Promise.resolve(migration),
      };
      const migrations = { migrationSource, tableName: `${table}_migrations` };
      await db.migrate.latest(migrations);
      await db(table).insert({ room_id: "general" });
      await assert.rejects(
        db.transaction(async (tx) => {
          await tx(table).insert({ room_id: "undone" });
          throw new Error("undone");
        }),
        /undone/,
      );
      const rows = await db(outbox).select("key").orderBy("id") as { key: string }[];
      assert.deepEqual(rows.map(({ key }) => key).sort(), ["chat:general", "is it general?"]);
      await db.migrate.rollback(migrations);
      await db(table).delete();
      assert.equal((await db(outbox).select("key")).length, 2);
    } finally {
      await db.destroy();
    }
  });
}
