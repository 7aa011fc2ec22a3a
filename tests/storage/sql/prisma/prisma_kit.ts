/**
 * What the tests of the Prisma storage share: clients and tables, made by Prisma itself.
 *
 * @module
 */
import type { SqlDriverAdapterFactory } from "@prisma/driver-adapter-utils";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { randomName } from "../../../../src/store/contract.ts";
import { RealityServer } from "../../../../src/server.ts";
import { createPrismaAdapter, type PrismaDatabase } from "../../../../storage/prisma.ts";
import { printModel } from "../../../../storage/sql/prisma_model.ts";
import type { SQLDialectName } from "../../../../storage/sql/sql_storage.ts";
import { trackTable } from "../../../../storage/sql/track/track_table.ts";

/** What the tests call of a client. */
export interface Client extends PrismaDatabase {
  $disconnect(): Promise<void>;
  $transaction<T>(use: (tx: PrismaDatabase) => Promise<T>): Promise<T>;
  $extends(extension: object): Client;
}

/** What Prisma makes of a schema. */
export interface Generated {
  readonly PrismaClient: new (options: { adapter: SqlDriverAdapterFactory }) => Client;
  /** The statements that make its tables. */
  readonly tables: readonly string[];
  /** Applies migrations with Prisma's own engine, to a file of SQLite. */
  migrate(url: string, ...migrations: string[]): Promise<void>;
}

const PROVIDERS = { sqlite: "sqlite", postgres: "postgresql", mysql: "mysql" } as const;
const root = new URL("../../../../", import.meta.url);
const flags = "Deno" in globalThis ? ["run", "--allow-all", "--quiet"] : [];
const cache = new URL(".cache/prisma/", root);

/** As `prisma migrate` makes it; its engine for MySQL would have to be downloaded. */
const MYSQL_TABLES = `CREATE TABLE reality_nodes (
  node_key VARBINARY(512) NOT NULL,
  version BIGINT NOT NULL,
  hash VARBINARY(256) NOT NULL,
  updated_at BIGINT NOT NULL,
  expires_at BIGINT NULL,
  origin VARBINARY(128) NULL,
  stamp BIGINT NULL,
  epoch VARCHAR(128) NULL,
  counter BIGINT NULL,
  max_version BIGINT NULL,
  max_stamp BIGINT NULL,
  swept_version BIGINT NULL,
  late BIGINT NULL,
  mesh MEDIUMTEXT NULL,
  INDEX version(version),
  INDEX expires_at(expires_at),
  INDEX stamp(stamp),
  PRIMARY KEY (node_key)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;`;

/** The model that the docs give. */
export function modelOf(dialect: SQLDialectName): string {
  return printModel(dialect, "RealityNode", "reality_nodes");
}

/**
 * What Prisma makes of a schema with this model, unless it was made before. Several processes may ask at once:
 * each makes it in a folder of its own, and the first to be done gives it the lasting name.
 */
export async function generate(
  dialect: SQLDialectName,
  model: string = modelOf(dialect),
): Promise<Generated> {
  const schema = [
    'generator client {\n  provider = "prisma-client"\n  output   = "./client"\n  runtime  = "nodejs"\n}',
    `datasource db {\n  provider = "${PROVIDERS[dialect]}"\n}`,
    `${model}\n`,
  ].join("\n\n");
  const name = createHash("sha256").update(schema).digest("hex").slice(0, 16);
  const folder = new URL(`${name}/`, cache);
  if (!existsSync(folder)) {
    const own = new URL(`${name}-${randomName(8)}/`, cache);
    await mkdir(own, { recursive: true });
    const path = fileURLToPath(new URL("schema.prisma", own));
    await writeFile(path, schema);
    await run(
      process.env.REALITY_NODE ?? "node",
      "node_modules/prisma/build/index.js",
      "generate",
      "--schema",
      path,
    );
    const tables = dialect === "mysql"
      ? MYSQL_TABLES
      : await run(process.execPath, ...flags, "tests/storage/sql/prisma/print_tables.ts", path, dialect);
    await writeFile(new URL("tables.sql", own), tables);
    await rename(own, folder).catch(() => rm(own, { recursive: true }));
  }
  const { PrismaClient } = await import(new URL("client/client.ts", folder).href);
  const sql = (await readFile(new URL("tables.sql", folder), "utf8")).replaceAll(/^--.*$/gm, "");
  const tables = sql.split(";").map((statement) => statement.trim()).filter((statement) => statement !== "");
  const migrate = async (url: string, ...migrations: string[]) => {
    const path = fileURLToPath(new URL("schema.prisma", folder));
    const program = "tests/storage/sql/prisma/apply_migrations.ts";
    await run(process.execPath, ...flags, program, path, JSON.stringify([url, ...migrations]));
  };
  return { PrismaClient, tables, migrate };
}

/** A database that {@linkcode testOutbox} migrates. */
export interface Migrated {
  readonly dialect: SQLDialectName;
  /** The schema on PostgreSQL. */
  readonly schema?: string;
  /** Applies migrations to the empty database as Prisma does. */
  migrate(...migrations: string[]): Promise<void>;
}

/**
 * Tests the outbox with Prisma: migrations that make its table and the triggers of `trackTable()`, and transactions that write
 * to it.
 *
 * @param prisma A client of an empty database.
 */
export async function testOutbox(prisma: Client, { dialect, schema, migrate }: Migrated): Promise<void> {
  const storage = createPrismaAdapter(prisma, { modelName: "RealityNode", outbox: true });
  const where = schema === undefined ? {} : { schema, outbox: `${schema}.reality_outbox` };
  const statements = trackTable({ dialect, table: "messages", keys: ["chat:{room_id}"], ...where });
  await migrate(
    `${storage.schema}\nCREATE TABLE messages (room_id VARCHAR(20));\n`,
    statements.join(";\n") + ";\n",
  );
  const server = new RealityServer({ storage });
  const write = (key: string) =>
    prisma.$transaction(async (tx) => {
      await server.updateIn((text, params) => tx.$executeRawUnsafe(text, ...params), [{ key, hash: "x" }]);
      await tx.$executeRawUnsafe(`INSERT INTO messages VALUES ('${key}')`);
      if (key === "undone") throw new Error("undone");
    });
  await write("done");
  await assert.rejects(write("undone"), /undone/);
  assert.equal((await server.getNode("done"))?.hash, "x");
  assert.ok(await server.getNode("chat:done") !== null);
  assert.equal(await server.getNode("undone"), null);
  assert.equal(await server.getNode("chat:undone"), null);
  await server.close();
  await prisma.$disconnect();
}

async function run(program: string, ...args: string[]): Promise<string> {
  // The engine that migrates is a download, and generating does without.
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: "/bin/true", CHECKPOINT_DISABLE: "1" };
  return (await promisify(execFile)(program, args, { cwd: root, env })).stdout;
}
