/**
 * Prisma's own engine for schemas and migrations, as far as it needs no download: the one for MySQL is a download only. It keeps a
 * timer for a minute, so it runs in a process of its own.
 *
 * @module
 */
import { PrismaLibSql } from "@prisma/adapter-libsql";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";
import * as engine from "@prisma/schema-engine-wasm/schema_engine_bg";
import { readFileSync } from "node:fs";

/** Where the engine works. */
export interface EnginePlace {
  readonly dialect: string;
  /** The address of the database. */
  readonly url: string;
}

/** Starts the engine on a file with a schema. */
export async function openEngine(
  { dialect, url }: EnginePlace,
  path: string,
): Promise<engine.SchemaEngine> {
  const file = new URL(
    "../../../../node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm",
    import.meta.url,
  );
  const { instance } = await WebAssembly.instantiate(readFileSync(file), {
    "./schema_engine_bg.js": engine as unknown as WebAssembly.ModuleImports,
  });
  engine.__wbg_set_wasm(instance.exports);
  (instance.exports.__wbindgen_start as () => void)();
  const adapter = dialect === "sqlite" ? new PrismaLibSql({ url }) : new PrismaPg({ connectionString: url });
  return await engine.SchemaEngine.new(
    { datamodels: [[path, readFileSync(path, "utf8")]] },
    () => {},
    bindMigrationAwareSqlAdapterFactory(adapter),
  );
}
