/**
 * Runs a command beside a private Redis and a private PostgreSQL, with their addresses in `REALITY_BENCH_REDIS` and
 * `REALITY_BENCH_POSTGRES`: `with_redis.ts node bench/mesh/latency_bench.ts`.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { postgresRecipe } from "./databases.ts";
import { redisRecipe } from "./redis.ts";
import { PrivateServer } from "./server.ts";

const servers: PrivateServer[] = [];
let code = 1;
try {
  for (const recipe of [redisRecipe(), postgresRecipe()]) servers.push(await PrivateServer.start(recipe));
  const [redis, postgres] = servers.map(({ address }) => address);
  const env = { ...process.env, REALITY_BENCH_REDIS: redis, REALITY_BENCH_POSTGRES: postgres };
  const [program = "", ...args] = process.argv.slice(2);
  const child = spawn(program, args, { env, stdio: "inherit" });
  code = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? 1)));
} finally {
  for (const server of servers) await server.stop();
}
process.exit(code);
