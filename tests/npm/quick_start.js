/**
 * The quick start as a person types it after `npm install`, with the two helpers it leaves to the reader; then
 * one question by each of the two doors.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import {
  createExpressAdapter,
  createFetchHandler,
  MemoryStorage,
  RealityServer,
} from "@rootlodge/reality-server";

/** @type {Array<(request: Request) => Promise<Response>>} */
const fetchRoutes = [];
/** @type {import("node:http").RequestListener[]} */
const nodeRoutes = [];
const fetchApp = {
  /** @param {string} _path @param {(request: Request) => Promise<Response>} handler */
  post: (_path, handler) => void fetchRoutes.push(handler),
};
const expressApp = {
  /** @param {string} _path @param {import("node:http").RequestListener} handler */
  post: (_path, handler) => void nodeRoutes.push(handler),
};
const hashOfCurrentState = "abc123";

// 1. Create storage adapter
const storage = new MemoryStorage();

// 2. Create server instance
const server = new RealityServer({
  storage,
  serverId: "server-1", // Unique per instance
  meshPeers: [], // Other server URLs for mesh
  redis: undefined, // Optional Redis for acceleration
});

// 3. Create HTTP handler
const handler = createFetchHandler(server);

// 4. Mount on your framework
// Fetch API (Bun, Deno, Cloudflare Workers)
fetchApp.post("/reality/sync", handler);

// Express/Fastify
expressApp.post("/reality/sync", createExpressAdapter(server));

// 5. Update nodes when data changes
await server.updateNode("chat:room:general", hashOfCurrentState);

const node = await server.getNode("chat:room:general");
assert(node !== null && node.version > 0);

const question = {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ known: { "chat:room:general": 0 } }),
};
for (const route of fetchRoutes) {
  await check(await route(new Request("http://localhost/reality/sync", question)));
}
for (const route of nodeRoutes) {
  const listener = createServer(route);
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = listener.address();
  assert(address !== null && typeof address === "object");
  await check(await fetch(`http://127.0.0.1:${address.port}/reality/sync`, question));
  listener.closeAllConnections();
  await new Promise((resolve) => listener.close(resolve));
}
await server.close();
console.log("quick start: ok");

/** @param {Response} response */
async function check(response) {
  assert.equal(response.status, 200);
  const { changed } = await response.json();
  assert.equal(changed["chat:room:general"].hash, hashOfCurrentState);
  assert.equal(changed["chat:room:general"].version, node?.version);
}
