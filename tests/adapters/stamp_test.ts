/*
 * Stamps in each host: the headers arrive, and a request with `If-None-Match` is answered without reading data.
 */
import { deepEqual, equal } from "node:assert/strict";
import express from "express";
import Fastify from "fastify";
import { Hono } from "hono";
import { parseStamp } from "../../client/mod.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

/** Reads the data of the application. */
type Load = () => Promise<unknown>;

/** An application with one route that sends stamped data, as docs/stamps.md writes it for each host. */
type Application = (server: RealityServer, load: Load) => Promise<Listening> | Fetch;
type Fetch = (request: Request) => Promise<Response>;

const KEYS = ["messages", "büro"];

const applications: Readonly<Record<string, Application>> = {
  "a fetch handler": (server, load) => async (request) => {
    const stamp = await server.stamp(KEYS, { request });
    if (stamp.isFresh(request)) return stamp.notModified();
    return stamp.json(await load());
  },
  "Hono": (server, load) => {
    const app = new Hono();
    app.get("/", async (c) => {
      const stamp = await server.stamp(KEYS, { request: c });
      if (stamp.isFresh(c)) return stamp.notModified();
      return c.json(await load() as object, 200, stamp.headers);
    });
    return async (request) => await app.fetch(request);
  },
  "node:http": (server, load) =>
    listenNode(async (req, res) => {
      const stamp = await server.stamp(KEYS, { request: req });
      const isFresh = stamp.isFresh(req);
      res.writeHead(isFresh ? 304 : 200, { ...stamp.headers, "content-type": "application/json" });
      res.end(isFresh ? undefined : JSON.stringify(await load()));
    }),
  "Express": (server, load) => {
    const app = express();
    app.get("/", async (req, res) => {
      const stamp = await server.stamp(KEYS, { request: req });
      res.set(stamp.headers);
      if (stamp.isFresh(req)) return void res.status(304).end();
      res.json(await load());
    });
    return listenNode(app);
  },
  "Fastify": async (server, load) => {
    const app = Fastify();
    app.get("/", async (request, reply) => {
      const stamp = await server.stamp(KEYS, { request });
      reply.headers(stamp.headers);
      return stamp.isFresh(request) ? reply.code(304).send() : reply.send(await load());
    });
    await app.ready();
    return await listenNode((req, res) => app.routing(req, res));
  },
};

for (const [host, application] of Object.entries(applications)) {
  test(`a stamp in ${host}: versions in the answer, and 304 until they change`, async () => {
    const authorize = (request: Request, keys: readonly string[]) =>
      request.headers.get("x-user") === "ana" ? keys : false;
    const server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }), authorize });
    await server.updateMany(KEYS.map((key) => ({ key, hash: "1" })));
    let loads = 0;
    const opened = await application(server, () => Promise.resolve([`load ${++loads}`]));
    const ask = async (etag?: string) => {
      const headers = { "x-user": "ana", ...(etag !== undefined && { "if-none-match": etag }) };
      const request = new Request(typeof opened === "function" ? "http://localhost/" : opened.origin, {
        headers,
      });
      const response = await (typeof opened === "function" ? opened(request) : fetch(request));
      return { response, text: await response.text() };
    };
    try {
      const { epoch } = await server.handleSync({ known: {} });
      const first = await ask();
      equal(first.text, '["load 1"]');
      const { headers } = first.response;
      deepEqual(parseStamp(headers.get("reality-stamp")), { epoch, versions: { messages: 1, "büro": 2 } });
      deepEqual([headers.get("cache-control"), headers.get("vary")], [
        "private, no-cache",
        "Authorization, Cookie, Origin",
      ]);
      const etag = headers.get("etag")!;
      const again = await ask(etag);
      deepEqual([again.response.status, again.text, loads], [304, "", 1]);
      equal(again.response.headers.get("reality-stamp"), headers.get("reality-stamp"));
      equal(again.response.headers.get("etag"), etag);
      await server.invalidate("messages");
      const changed = await ask(etag);
      deepEqual([changed.response.status, changed.text], [200, '["load 2"]']);
      equal(parseStamp(changed.response.headers.get("reality-stamp"))?.versions["messages"], 3);
    } finally {
      if (typeof opened !== "function") await opened.close();
      await server.close();
    }
  });
}
