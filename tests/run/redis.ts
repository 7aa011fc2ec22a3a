/**
 * How a private Redis is made.
 *
 * @module
 */
import { findProgram, install } from "./databases.ts";
import type { Recipe } from "./server.ts";

/** Redis, all in memory; it ends as by `kill -9`. */
export function redisRecipe(): Recipe {
  const name = "redis-server";
  const program = findProgram(name) ?? install(name, () => findProgram(name));
  return {
    ready: "Ready to accept connections",
    signal: "KILL",
    prepare: () => {},
    command: (folder, port) => [
      ...[program, "--bind", "127.0.0.1", "--port", `${port}`, "--dir", folder],
      ...["--save", "", "--appendonly", "no"],
    ],
    address: (port) => `redis://127.0.0.1:${port}`,
  };
}
