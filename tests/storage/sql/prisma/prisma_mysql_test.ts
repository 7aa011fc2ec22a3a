/**
 * createPrismaAdapter on MariaDB, through Prisma's adapter for it.
 *
 * @module
 */
import { PrismaMariaDb } from "@prisma/adapter-mariadb";
import { createConnection } from "mysql2/promise";
import assert from "node:assert/strict";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createPrismaAdapter } from "../../../../storage/prisma.ts";
import { testOnEngine } from "../../engines.ts";
import { MYSQL_URL } from "../mysql/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";
import { type Client, generate, testOutbox } from "./prisma_kit.ts";

const { PrismaClient, tables } = await generate("mysql");
const made = new Set<string>();

async function connect(name: string, statements: readonly string[] = tables): Promise<Client> {
  if (!made.has(name)) {
    made.add(name);
    const client = await createConnection(MYSQL_URL);
    for (const sql of [`CREATE DATABASE ${name}`, `USE ${name}`, ...statements]) await client.query(sql);
    await client.end();
  }
  const { hostname: host, port, username: user, password } = new URL(MYSQL_URL);
  const adapter = new PrismaMariaDb({
    ...{ host, port: Number(port), user, password },
    ...{ database: name, connectionLimit: 3 },
  });
  return new PrismaClient({ adapter });
}

const { create, share, destroy, elapse } = new Tables(async (name, now) => {
  const prisma = await connect(name);
  return [createPrismaAdapter(prisma, { modelName: "RealityNode", now }), () => prisma.$disconnect()];
});
testStorage({
  name: "createPrismaAdapter through MariaDB's driver",
  ...{ create, share, destroy, elapse },
  test: testOnEngine, // the driver starts a timer of its own in the first one
  supports: SQL_SUPPORTS,
  runs: 10,
});

testOnEngine("createPrismaAdapter on a transaction of MariaDB writes as part of it", async () => {
  const prisma = await connect(newTableName());
  const options = { counter: "sequential" as const, modelName: "RealityNode" };
  const change = { key: "a", hash: "x", updatedAt: 1 };
  const storage = createPrismaAdapter(prisma, options);
  await storage.applyChanges([change]);
  const undone = prisma.$transaction(async (tx) => {
    const [meta] = await createPrismaAdapter(tx, options).applyChanges([{ ...change, hash: "y" }]);
    assert.equal(meta?.version, 2);
    throw new Error("no");
  });
  await assert.rejects(undone, /no/);
  assert.deepEqual(await storage.getNode("a"), { ...change, version: 1 });
  const [meta] = await prisma.$transaction((tx) => createPrismaAdapter(tx, options).applyChanges([change]));
  assert.deepEqual(await storage.getNode("a"), meta);
  await prisma.$disconnect();
});

testOnEngine("the outbox works with transactions of Prisma on MariaDB", async () => {
  const name = newTableName();
  await testOutbox(await connect(name, []), {
    dialect: "mysql",
    async migrate(...migrations) {
      // Prisma's engine sends a migration in one piece too.
      const client = await createConnection({ uri: MYSQL_URL, multipleStatements: true });
      for (const script of [`USE ${name}`, ...migrations]) await client.query(script);
      await client.end();
    },
  });
});

testOnEngine("createPrismaAdapter makes the table on MariaDB when it is told to", async () => {
  const prisma = await connect(newTableName(), []);
  const storage = createPrismaAdapter(prisma, { modelName: "RealityNode", createTables: true });
  const [meta] = await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  assert.deepEqual(await storage.getNode("a"), meta);
  await prisma.$disconnect();
});
