/**
 * A database server for one test.
 *
 * @module
 */
import { PrivateServer, type Recipe } from "../run/server.ts";

/** Starts a server, runs the test with it, and takes it away. */
export async function withServer(
  recipe: Recipe,
  test: (address: string, server: PrivateServer) => Promise<void>,
): Promise<void> {
  const server = await PrivateServer.start(recipe);
  try {
    await test(server.address, server);
  } finally {
    await server.stop();
  }
}
