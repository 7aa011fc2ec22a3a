/**
 * createPrismaAdapter on SQLite files, through Prisma's libSQL adapter.
 *
 * @module
 */
import { createClient } from "@libsql/client";
import { PrismaLibSql } from "@prisma/adapter-libsql";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createPrismaAdapter } from "../../../../storage/prisma.ts";
import { test } from "../../../harness.ts";
import { createFolder, removeFolder, SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { Tables } from "../../table_kit.ts";
import { generate, testOutbox } from "./prisma_kit.ts";

const { PrismaClient, tables, migrate } = await generate("sqlite");
const folder = createFolder();
process.once("exit", () => removeFolder(folder));

const { create, share, destroy, elapse } = new Tables(async (name, now) => {
  const path = join(folder, `${name}.db`);
  const url = `file:${path}`;
  if (!existsSync(path)) {
    const client = createClient({ url });
    await client.batch([...tables]);
    client.close();
  }
  const prisma = new PrismaClient({ adapter: new PrismaLibSql({ url }) });
  return [createPrismaAdapter(prisma, { modelName: "RealityNode", now }), () => prisma.$disconnect()];
});
testStorage({
  name: "createPrismaAdapter through libSQL",
  ...{ create, share, destroy, elapse },
  test,
  supports: SQL_SUPPORTS,
  runs: 10,
});

test("the outbox works with transactions and migrations of Prisma on SQLite", async () => {
  const url = `file:${join(folder, "outbox.db")}`;
  const prisma = new PrismaClient({ adapter: new PrismaLibSql({ url }) });
  await testOutbox(prisma, {
    dialect: "sqlite",
    migrate: (...migrations) => migrate(url, ...migrations),
  });
});
