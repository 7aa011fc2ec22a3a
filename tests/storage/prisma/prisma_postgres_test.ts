/**
 * createPrismaAdapter on PostgreSQL, through Prisma's node-postgres adapter.
 *
 * @module
 */
import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";
import { testStorage } from "../../../storage/conformance/mod.ts";
import { createPrismaAdapter } from "../../../storage/prisma.ts";
import { test } from "../../harness.ts";
import { POSTGRES_URL } from "../postgres/drivers.ts";
import { SQL_SUPPORTS } from "../sqlite_kit.ts";
import { Tables } from "../table_kit.ts";
import { generate } from "./prisma_kit.ts";

const { PrismaClient, tables } = await generate("postgres");
const made = new Set<string>();

const { create, share, destroy, elapse } = new Tables(async (name, now) => {
  const settings = { connectionString: POSTGRES_URL, options: `-c search_path=${name}` };
  if (!made.has(name)) {
    made.add(name);
    const client = new pg.Client(settings);
    await client.connect();
    await client.query([`CREATE SCHEMA ${name}`, ...tables].join(";\n"));
    await client.end();
  }
  const prisma = new PrismaClient({ adapter: new PrismaPg({ ...settings, max: 3 }) });
  return [createPrismaAdapter(prisma, { modelName: "RealityNode", now }), () => prisma.$disconnect()];
});
testStorage({
  name: "createPrismaAdapter through node-postgres",
  ...{ create, share, destroy, elapse },
  test,
  supports: SQL_SUPPORTS,
  runs: 10,
});
