/**
 * What some tests need: private servers, started for a run and gone after it, and programs that they start themselves.
 *
 * @module
 */
import process from "node:process";
import { findProgram, install, mariadbRecipe, postgresRecipe } from "./databases.ts";
import { dynamodbRecipe } from "./dynamodb.ts";
import { redisRecipe } from "./redis.ts";
import { PrivateServer, type Recipe } from "./server.ts";

/** Something that some test files need. */
interface Need {
  /** The variable by which tests find it. When it is set already, nothing is done. */
  readonly variable: string;
  /** What the paths of those test files begin with. */
  readonly users: readonly string[];
}

/** One kind of server: the variable holds its address. */
interface Service extends Need {
  /** How it is made, or an error that says why it cannot be had here. */
  readonly recipe: () => Recipe;
}

const list: readonly Service[] = [
  {
    variable: "REALITY_TEST_POSTGRES",
    users: [
      ...["tests/leaks_", "tests/storage/sql/postgres/", "tests/races/postgres/"],
      ...["tests/cluster/postgres_", "tests/cluster/mixed_"],
      ...["tests/proxies/nginx_deploy_", "tests/proxies/nginx_cache_", "tests/proxies/varnish_"],
      ...["tests/storage/sql/drizzle/drizzle_postgres_", "tests/storage/sql/prisma/prisma_postgres_"],
      ...["tests/storage/sql/track/track_postgres_", "tests/storage/sql/track/track_writers_"],
      "tests/storage/sql/track/track_knex_",
    ],
    recipe: () => postgresRecipe(),
  },
  {
    variable: "REALITY_TEST_MYSQL",
    users: [
      ...["tests/leaks_", "tests/storage/sql/mysql/", "tests/races/mysql/"],
      ...["tests/storage/sql/drizzle/drizzle_mysql_", "tests/storage/sql/prisma/prisma_mysql_"],
      ...["tests/storage/sql/track/track_mysql_", "tests/storage/sql/track/track_writers_"],
      "tests/storage/sql/track/track_knex_",
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
    users: ["tests/leaks_", "tests/redis/", "tests/adapters/ioredis_", "tests/cluster/redis_"],
    recipe: () => redisRecipe(),
  },
];

/** A program that tests start themselves: the variable holds its path. */
interface Program extends Need {
  readonly name: string;
  /** Its Debian package; left out, it has the program's name. */
  readonly debianPackage?: string;
}

const programs: readonly Program[] = [
  { name: "nginx", variable: "REALITY_NGINX", users: ["tests/proxies/nginx_"] },
  { name: "caddy", variable: "REALITY_CADDY", users: ["tests/proxies/caddy_"] },
  { name: "sqlite3", variable: "REALITY_SQLITE3", users: ["tests/storage/sql/track/track_writers_"] },
  { name: "haproxy", variable: "REALITY_HAPROXY", users: ["tests/proxies/haproxy_"] },
  {
    name: "varnishd",
    debianPackage: "varnish",
    variable: "REALITY_VARNISH",
    users: ["tests/proxies/varnish_"],
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

/** Whether a test file needs a server or a program that is not part of its runtime. */
export function needsService(file: string): boolean {
  return [...list, ...programs].some((need) => needs(need, file));
}

function needs({ users }: Need, file: string): boolean {
  return users.some((path) => file.startsWith(path));
}

/** Starts what these test files need. */
export async function startServices(files: readonly string[]): Promise<Services> {
  const environment: Record<string, string> = {};
  const missing: [Need, string][] = [];
  const servers: PrivateServer[] = [];
  const provide = async <T extends Need>(need: T, get: (need: T) => string | Promise<string>) => {
    if (process.env[need.variable] || !files.some((file) => needs(need, file))) return;
    try {
      environment[need.variable] = await get(need);
    } catch (error) {
      missing.push([need, error instanceof Error ? error.message : String(error)]);
    }
  };
  // All at once: each server takes seconds until it listens.
  await Promise.all(list.map((service) =>
    provide(service, async ({ recipe }) => {
      const server = await PrivateServer.start(recipe());
      servers.push(server);
      return server.address;
    })
  ));
  for (const program of programs) {
    await provide(
      program,
      ({ name, debianPackage }) =>
        findProgram(name) ?? install(debianPackage ?? name, () => findProgram(name)),
    );
  }
  return {
    environment,
    missing: (file) => missing.find(([need]) => needs(need, file))?.[1],
    stop: async () => {
      for (const server of servers) await server.stop();
    },
  };
}
