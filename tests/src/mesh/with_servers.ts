/**
 * Runs a test with servers that are closed afterwards.
 *
 * @module
 */
import type { Servers } from "./servers.ts";

export const SECRET = "nobody else knows this one";

/** Runs with servers that are closed afterwards, however it ends. */
export async function withServers(servers: Servers, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    await servers.close();
  }
}
