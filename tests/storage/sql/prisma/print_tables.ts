/**
 * Prints the SQL that Prisma's own engine makes of a schema, as `prisma migrate diff --script` does. A process of
 * its own, because the engine keeps a timer for a minute. The one for MySQL is a download only.
 *
 * @module
 */
import { PrismaLibSql } from "@prisma/adapter-libsql";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";
import * as engine from "@prisma/schema-engine-wasm/schema_engine_bg";
import { readFileSync } from "node:fs";
import process from "node:process";
import { addressOf } from "../../table_kit.ts";

const [path = "", dialect] = process.argv.slice(2);
const content = readFileSync(path, "utf8");

const file = new URL(
  "../../../../node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm",
  import.meta.url,
);
const { instance } = await WebAssembly.instantiate(readFileSync(file), {
  "./schema_engine_bg.js": engine as unknown as WebAssembly.ModuleImports,
});
engine.__wbg_set_wasm(instance.exports);
(instance.exports.__wbindgen_start as () => void)();

const adapter = dialect === "sqlite"
  ? new PrismaLibSql({ url: ":memory:" })
  : new PrismaPg({ connectionString: addressOf("REALITY_TEST_POSTGRES") });
const made = await engine.SchemaEngine.new(
  { datamodels: [[path, content]] },
  () => {},
  bindMigrationAwareSqlAdapterFactory(adapter),
);
const { stdout } = await made.diff({
  from: { tag: "empty" },
  to: { tag: "schemaDatamodel", files: [{ path, content }] },
  ...{ script: true, exitCode: null, shadowDatabaseUrl: null },
  filters: { externalTables: [], externalEnums: [] },
});
process.stdout.write(stdout ?? "", () => process.exit(0));
