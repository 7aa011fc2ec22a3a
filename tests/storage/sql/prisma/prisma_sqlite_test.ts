/**
 * createPrismaAdapter on SQLite files, through Prisma's libSQL adapter.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createClient } from "@libsql/client";
import { PrismaLibSql } from "@prisma/adapter-libsql";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { RealityServer } from "../../../../src/server.ts";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createPrismaAdapter } from "../../../../storage/prisma.ts";
import { test } from "../../../harness.ts";
import { createFolder, removeFolder, SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { Tables } from "../../table_kit.ts";
import { generate } from "./prisma_kit.ts";

const { PrismaClient, tables } = await generate("sqlite");
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

test("a row of the outbox in a transaction of Prisma becomes a change when it is committed", async () => {
  const url = `file:${join(folder, "outbox.db")}`;
  const client = createClient({ url });
  await client.batch([...tables]);
  client.close();
  const prisma = new PrismaClient({ adapter: new PrismaLibSql({ url }) });
  const options = { modelName: "RealityNode", outbox: true, createTables: true };
  const server = new RealityServer({ storage: createPrismaAdapter(prisma, options) });
  assert.equal(await server.getNode("a"), null);
  const write = (key: string) =>
    prisma.$transaction(async (tx) => {
      await server.updateIn((text, params) => tx.$executeRawUnsafe(text, ...params), [{ key, hash: "x" }]);
      if (key === "undone") throw new Error("undone");
    });
  await write("a");
  await assert.rejects(write("undone"), /undone/);
  assert.equal((await server.getNode("a"))?.hash, "x");
  assert.equal(await server.getNode("undone"), null);
  await server.close();
  await prisma.$disconnect();
});
