/**
 * createPrismaAdapter on PostgreSQL, through Prisma's node-postgres adapter.
 *
 * @module
 */
import { PrismaPg } from "@prisma/adapter-pg";
import assert from "node:assert/strict";
import pg from "pg";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createPrismaAdapter } from "../../../../storage/prisma.ts";
import { test } from "../../../harness.ts";
import { POSTGRES_URL } from "../postgres/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";
import { type Client, generate, testOutbox } from "./prisma_kit.ts";

const { PrismaClient, tables } = await generate("postgres");
const made = new Set<string>();

async function connect(name: string, statements: readonly string[]): Promise<Client> {
  const settings = { connectionString: POSTGRES_URL, options: `-c search_path=${name}` };
  if (!made.has(name)) {
    made.add(name);
    const client = new pg.Client(settings);
    await client.connect();
    await client.query([`CREATE SCHEMA ${name}`, ...statements].join(";\n"));
    await client.end();
  }
  return new PrismaClient({ adapter: new PrismaPg({ ...settings, max: 3 }) });
}

const { create, share, destroy, elapse } = new Tables(async (name, now) => {
  const prisma = await connect(name, tables);
  return [createPrismaAdapter(prisma, { modelName: "RealityNode", now }), () => prisma.$disconnect()];
});
testStorage({
  name: "createPrismaAdapter through node-postgres",
  ...{ create, share, destroy, elapse },
  test,
  supports: SQL_SUPPORTS,
  runs: 10,
});

test("the outbox works with transactions and migrations of Prisma on PostgreSQL", async () => {
  const schema = newTableName();
  await testOutbox(await connect(schema, []), {
    ...{ dialect: "postgres", schema },
    async migrate(...migrations) {
      // Prisma's engine, which is a download, sends a migration in one piece too. Its adapter splits functions at semicolons.
      const client = new pg.Client({ connectionString: POSTGRES_URL, options: `-c search_path=${schema}` });
      await client.connect();
      for (const script of migrations) await client.query(script);
      await client.end();
    },
  });
});

test("createPrismaAdapter makes the table on PostgreSQL when it is told to", async () => {
  const prisma = await connect(newTableName(), []);
  const storage = createPrismaAdapter(prisma, { modelName: "RealityNode", createTables: true });
  const [meta] = await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  assert.deepEqual(await storage.getNode("a"), meta);
  await prisma.$disconnect();
});

test("createPrismaAdapter rejects with StorageError where no server answers", async () => {
  const adapter = new PrismaPg({ connectionString: "postgres://postgres@127.0.0.1:1/none" });
  const prisma = new PrismaClient({ adapter });
  const storage = createPrismaAdapter(prisma, { modelName: "RealityNode" });
  await assert.rejects(storage.getNode("a"), { name: "StorageError", operation: "getNode" });
  assert.equal(await storage.isHealthy(), false);
  await prisma.$disconnect();
});
