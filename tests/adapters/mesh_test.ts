/**
 * Servers that exchange messages through adapters with only `POST /reality/sync` mounted, over real sockets.
 *
 * @module
 */
import assert from "node:assert/strict";
import express from "express";
import createFastify from "fastify";
import { Hono } from "hono";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { listenFetch } from "../runtimes/fetch.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

/** Listens with an adapter whose server is created once all addresses are known. */
type Open = (getServer: () => RealityServer) => Promise<Listening>;

const adapters: Record<string, Open> = {
  "Express behind express.json()": (getServer) => {
    const app = express();
    app.use(express.json());
    app.post("/reality/sync", (request, response) => createExpressAdapter(getServer())(request, response));
    return listenNode(app);
  },
  "Fastify": async (getServer) => {
    const fastify = createFastify();
    fastify.post("/reality/sync", async (request, reply) => {
      const response = await createFetchHandler(getServer())(
        new Request("http://localhost/reality/sync", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(request.body),
        }),
      );
      reply.status(response.status).send(await response.json());
    });
    await fastify.ready();
    return await listenNode(fastify.routing);
  },
  "Hono": (getServer) => {
    const app = new Hono();
    app.post("/reality/sync", (context) => createFetchHandler(getServer())(context.req.raw));
    return listenFetch(async (request) => await app.fetch(request));
  },
  "node:http": (getServer) =>
    listenNode((request, response) => createNodeHandler(getServer())(request, response)),
};

for (const meshSecret of [undefined, "a secret of these servers"]) {
  const how = meshSecret === undefined ? "by call-back" : "by a secret";
  test(`servers behind ${Object.keys(adapters).join(", ")} converge ${how}`, async () => {
    const servers: RealityServer[] = [];
    const listening: Listening[] = [];
    try {
      for (const [i, open] of Object.values(adapters).entries()) {
        listening.push(await open(() => servers[i]!));
      }
      const urls = listening.map(({ origin }) => origin);
      urls.forEach((own, i) =>
        servers.push(
          new RealityServer({
            storage: new MemoryStorage(),
            serverId: `server-${i}`,
            meshPeers: urls.filter((url) => url !== own),
            meshSecret,
          }),
        )
      );
      // More than the body limit of Express: a delta that is too large for a peer is split.
      const many = Array.from(
        { length: 700 },
        (_, i) => ({ key: `many:${i}:${"x".repeat(200)}`, hash: "h" }),
      );
      await servers[3]!.updateMany(many);
      for (const server of servers) {
        await server.updateNode("k", `of ${server.serverId}`);
        const { version } = (await server.getNode("k"))!;
        for (const other of servers) {
          // Higher if it was merged with a concurrent change while other pages were still being sent.
          for (let known = 0; known < version;) {
            const { changed } = await other.handleSync({ known: { k: known }, wait: 10_000 });
            assert.ok(changed.k, `${other.serverId} does not receive a change of ${server.serverId}`);
            known = changed.k.version;
          }
        }
      }
      const last = many.at(-1)!.key;
      for (const server of servers) {
        while (await server.getNode(last) === null) {
          const { changed } = await server.handleSync({ known: { [last]: 0 }, wait: 10_000 });
          assert.ok(changed[last], `${server.serverId} does not get all`);
        }
      }
    } finally {
      await Promise.all(servers.map((server) => server.close()));
      await Promise.all(listening.map(({ close }) => close()));
    }
  });
}
