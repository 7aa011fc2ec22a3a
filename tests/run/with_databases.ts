/**
 * Runs a command beside private databases that keep what they acknowledge, with their addresses in
 * `REALITY_BENCH_POSTGRES` and `REALITY_BENCH_MYSQL`: `with_databases.ts node bench/storage/wakes_bench.ts`.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { mariadbRecipe, postgresRecipe } from "./databases.ts";
import { PrivateServer } from "./server.ts";

const servers: PrivateServer[] = [];
let code = 1;
try {
  const address = async (recipe: Parameters<typeof PrivateServer.start>[0]) => {
    const server = await PrivateServer.start(recipe);
    servers.push(server);
    return server.address;
  };
  const env = {
    ...process.env,
    REALITY_BENCH_POSTGRES: await address(postgresRecipe({ durable: true })),
    REALITY_BENCH_MYSQL: await address(mariadbRecipe({ durable: true })),
  };
  const [program = "", ...args] = process.argv.slice(2);
  const child = spawn(program, args, { env, stdio: "inherit" });
  code = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? 1)));
} finally {
  for (const server of servers) await server.stop();
}
process.exit(code);
