/**
 * The servers that some tests need: private ones, started for a run and gone after it.
 *
 * @module
 */
import process from "node:process";
import { mariadbRecipe, postgresRecipe } from "./databases.ts";
import { dynamodbRecipe } from "./dynamodb.ts";
import { redisRecipe } from "./redis.ts";
import { PrivateServer, type Recipe } from "./server.ts";

/** One kind of server, and who needs it. */
interface Service {
  /** The variable that tells tests its address. When it is set already, nothing is started. */
  readonly variable: string;
  /** What the paths of those test files begin with. */
  readonly users: readonly string[];
  /** How it is made, or an error that says why it cannot be had here. */
  readonly recipe: () => Recipe;
}

const list: readonly Service[] = [
  {
    variable: "REALITY_TEST_POSTGRES",
    users: [
      ...["tests/storage/postgres/", "tests/races/postgres/"],
      ...["tests/cluster/postgres_", "tests/cluster/mixed_"],
      ...["tests/storage/drizzle/drizzle_postgres_", "tests/storage/prisma/prisma_postgres_"],
    ],
    recipe: () => postgresRecipe(),
  },
  {
    variable: "REALITY_TEST_MYSQL",
    users: [
      ...["tests/storage/mysql/", "tests/races/mysql/"],
      ...["tests/storage/drizzle/drizzle_mysql_", "tests/storage/prisma/prisma_mysql_"],
    ],
    recipe: () => mariadbRecipe(),
  },
  {
    variable: "REALITY_TEST_DYNAMODB",
    users: ["tests/storage/dynamodb/", "tests/races/dynamodb/"],
    recipe: () => dynamodbRecipe(),
  },
  {
    variable: "REALITY_TEST_REDIS",
    users: ["tests/redis/", "tests/adapters/ioredis_", "tests/cluster/redis_"],
    recipe: () => redisRecipe(),
  },
];

/** The services of one run. */
export interface Services {
  /** Variables for the tests. */
  readonly environment: Record<string, string>;
  /** Why a test file cannot run, if so. */
  missing(file: string): string | undefined;
  /** Ends them all. They end by themselves when this process goes away. */
  stop(): Promise<void>;
}

/** Starts what these test files need. */
export async function startServices(files: readonly string[]): Promise<Services> {
  const environment: Record<string, string> = {};
  const missing: [Service, string][] = [];
  const servers: PrivateServer[] = [];
  const needs = (service: Service, file: string) => service.users.some((path) => file.startsWith(path));
  for (const service of list) {
    if (process.env[service.variable] || !files.some((file) => needs(service, file))) continue;
    try {
      const server = await PrivateServer.start(service.recipe());
      servers.push(server);
      environment[service.variable] = server.address;
    } catch (error) {
      missing.push([service, error instanceof Error ? error.message : String(error)]);
    }
  }
  return {
    environment,
    missing: (file) => missing.find(([service]) => needs(service, file))?.[1],
    stop: async () => {
      for (const server of servers) await server.stop();
    },
  };
}
