/**
 * Applies migrations to a file of SQLite with Prisma's own engine, as `prisma migrate deploy` does.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { openEngine } from "./engine.ts";

const [path = "", order = ""] = process.argv.slice(2);
const [url = "", ...scripts] = JSON.parse(order) as string[];
const engine = await openEngine({ dialect: "sqlite", url }, path);
const names = scripts.map((_, i) => `${i + 1}_migration`);
const { appliedMigrationNames } = await engine.applyMigrations({
  migrationsList: {
    baseDir: "migrations",
    lockfile: { path: "migration_lock.toml", content: null },
    shadowDbInitScript: "",
    migrationDirectories: scripts.map((value, i) => ({
      path: names[i]!,
      migrationFile: { path: "migration.sql", content: { tag: "ok", value } },
    })),
  },
  filters: { externalTables: [], externalEnums: [] },
});
assert.deepEqual(appliedMigrationNames, names);
process.exit(0);
