/**
 * A server that is closed by a message, in a process that ends only when nothing keeps it running.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { createNodeHandler } from "../../adapters/node.ts";

const server = new RealityServer({
  storage: new MemoryStorage(),
  // No server listens there: pending updates are sent again and again.
  meshPeers: ["http://127.0.0.1:9"],
  mesh: { interval: 100, timeout: 500 },
  onError: (error) => console.log(`reported ${error.code}`),
});
const http = createServer(createNodeHandler(server));
http.listen(0, "127.0.0.1", () => console.log(`listens on ${(http.address() as AddressInfo).port}.`));

process.once("SIGTERM", async () => {
  const change = server.updateNode("a", "1");
  await server.close();
  await change;
  http.close();
  const { waiters, streams } = await server.getStats();
  console.log(`closed with ${waiters} waiters, ${streams} streams.`);
});
