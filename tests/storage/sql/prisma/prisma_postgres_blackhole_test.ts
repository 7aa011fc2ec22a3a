/**
 * createPrismaAdapter on PostgreSQL behind connections that go silent.
 *
 * @module
 */
import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";
import { createPrismaAdapter } from "../../../../storage/prisma.ts";
import { testBlackhole } from "../../blackhole_kit.ts";
import { POSTGRES_URL } from "../postgres/drivers.ts";
import { newTableName } from "../../table_kit.ts";
import { generate } from "./prisma_kit.ts";

const { PrismaClient } = await generate("postgres");

testBlackhole({
  name: "createPrismaAdapter through node-postgres with its time limits",
  address: POSTGRES_URL,
  open: async (connectionString) => {
    const schema = newTableName();
    const client = new pg.Client({ connectionString: POSTGRES_URL });
    await client.connect();
    await client.query(`CREATE SCHEMA ${schema}`);
    await client.end();
    const limits = { connectionTimeoutMillis: 1000, query_timeout: 1000 };
    const options = `-c search_path=${schema}`;
    const prisma = new PrismaClient({
      adapter: new PrismaPg({ connectionString, options, max: 3, ...limits }),
    });
    const storage = createPrismaAdapter(prisma, { modelName: "RealityNode", createTables: true });
    return [storage, () => prisma.$disconnect()];
  },
  storageTimeout: 10_000,
  succeedsAtOnce: false,
});
