/**
 * Prints the SQL that Prisma's own engine makes of a schema, as `prisma migrate diff --script` does.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { addressOf } from "../../table_kit.ts";
import { openEngine } from "./engine.ts";

const [path = "", dialect = ""] = process.argv.slice(2);
const content = readFileSync(path, "utf8");
const url = dialect === "sqlite" ? ":memory:" : addressOf("REALITY_TEST_POSTGRES");
const made = await openEngine({ dialect, url }, path);
const { stdout } = await made.diff({
  from: { tag: "empty" },
  to: { tag: "schemaDatamodel", files: [{ path, content }] },
  ...{ script: true, exitCode: null, shadowDatabaseUrl: null },
  filters: { externalTables: [], externalEnums: [] },
});
process.stdout.write(stdout ?? "", () => process.exit(0));
