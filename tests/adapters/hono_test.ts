/**
 * The fetch handler in Hono, which hands its handlers a context.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Hono } from "hono";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { openDoor } from "../http_door.ts";
import { testDoor } from "../http_kit.ts";
import { listenFetch, serverName } from "../runtimes/fetch.ts";

testDoor(test, {
  name: `createFetchHandler() in Hono before ${serverName}`,
  ownNotFound: true,
  keepsConnection: serverName === "Deno.serve",
  open: (name) =>
    openDoor(name, ({ server, handler }) => {
      const app = new Hono();
      app.all(`${handler.basePath ?? "/reality"}/*`, createFetchHandler(server, handler));
      return listenFetch(async (request, host) => await app.fetch(request, host as object));
    }),
});

test("createFetchHandler() is a handler of Hono as it stands", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateNode("a", "1");
  const handler = createFetchHandler(server);
  const app = new Hono();
  app.post("/reality/sync", handler);
  const response = await app.request("/reality/sync", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"known":{"a":0}}',
  });
  assert.equal((await response.json()).changed.a.hash, "1");
  await server.close();
});

test("createFetchHandler() says so when a body was read before", async () => {
  const reports: Error[] = [];
  const server = new RealityServer({ storage: new MemoryStorage(), onError: (error) => reports.push(error) });
  const request = new Request("http://localhost/reality/sync", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"known":{}}',
  });
  await request.text();
  assert.equal((await createFetchHandler(server)(request)).status, 500);
  assert.match(String(reports[0]?.cause), /read before/);
  await server.close();
});
