/**
 * The adapter for Express 4 and 5 and for Fastify, with and without a middleware that reads bodies.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import express from "express";
import fastify from "fastify";
import { createExpressAdapter } from "../../adapters/express.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { openAdapter } from "../http/in_process.ts";
import { testAdapter } from "../http/kit.ts";
import { testMultiplexed } from "../http/multiplexed.ts";
import { type Scene, type SceneName, SMALL } from "../http/scenes.ts";
import { runtime } from "../runtimes/child.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

for (const [name, framework] of [["Express 5", express], ["Express 4", requireExpress4()]] as const) {
  testAdapter(test, {
    name: `createExpressAdapter() in ${name}`,
    host: "Express, ana",
    ownNotFound: true,
    open: (scene) =>
      openAdapter(scene, ({ server, handler }) => {
        const app = framework();
        app.use(signIn);
        app.use(createExpressAdapter(server, handler));
        return listenNode(app);
      }),
  });

  testAdapter(test, {
    name: `createExpressAdapter() in ${name} behind express.json()`,
    host: "Express, ana",
    parsesBodies: true,
    ownNotFound: true,
    open: (scene) =>
      openAdapter(scene, ({ server, handler }) => {
        const app = framework();
        app.set("env", "test");
        app.use(framework.json({ limit: limitOf(scene) }), signIn);
        app.use(createExpressAdapter(server, handler));
        return listenNode(app);
      }),
  });

  for (const json of [false, true]) {
    const place = `${name} ${json ? "with" : "without"} express.json()`;

    test(`createExpressAdapter() answers on one path, in a router too, in ${place}`, async () => {
      await withServer(async (server) => {
        const app = framework();
        if (json) app.use(framework.json());
        app.post("/reality/sync", createExpressAdapter(server));
        const router = framework.Router();
        router.post("/sync", createExpressAdapter(server, { basePath: "/api/live" }));
        router.post("/misplaced", createExpressAdapter(server));
        app.use("/api/live", router);
        const { origin, close } = await listenNode(app);
        for (const path of ["/reality/sync", "/api/live/sync"]) {
          const response = await post(origin + path, { known: { a: 0 } });
          assert.equal(response.status, 200);
          assert.equal((await response.json()).changed.a.hash, "1");
        }
        // A route that does not match the base path is answered here, and the message says what was expected.
        const response = await post(`${origin}/api/live/misplaced`, { known: {} });
        assert.equal(response.status, 404);
        assert.match((await response.json()).error.message, /basePath "\/reality"/);
        await close();
      });
    });

    test(`createExpressAdapter() passes other requests on with their bodies, in ${place}`, async () => {
      await withServer(async (server) => {
        const app = framework();
        if (json) app.use(framework.json());
        app.use(createExpressAdapter(server));
        app.use(framework.json());
        app.post("/notes", (request, response) => void response.json({ got: request.body }));
        const { origin, close } = await listenNode(app);
        assert.deepEqual(await (await post(`${origin}/notes`, { a: 1 })).json(), { got: { a: 1 } });
        assert.equal((await post(`${origin}/reality/sync`, { known: { a: 0 } })).status, 200);
        await close();
      });
    });
  }

  test(`createExpressAdapter() accepts bodies that were read as text or bytes, within its limit, in ${name}`, async () => {
    await withServer(async (server) => {
      for (const read of [framework.text({ type: "*/*" }), framework.raw({ type: "*/*" })]) {
        const app = framework();
        app.use(read);
        app.use(createExpressAdapter(server));
        const { origin, close } = await listenNode(app);
        const response = await post(`${origin}/reality/sync`, { known: { a: 0 } });
        assert.equal((await response.json()).changed.a.hash, "1");
        for (
          const [body, status] of [["{", 400], [
            `{"known":{},"x":"${"x".repeat(SMALL.maxBodyBytes)}"}`,
            413,
          ]] as const
        ) {
          assert.equal((await post(`${origin}/reality/sync`, body)).status, status);
        }
        await close();
      }
    });
  });

  test(`createExpressAdapter() accepts every value that a middleware leaves as the body, in ${name}`, async () => {
    await withServer(async (server) => {
      const app = framework();
      app.use(framework.raw({ type: "*/*" }), (request, _response, next) => {
        // Bytes of another realm, as in Jest, are not instances of our Uint8Array. Some frameworks keep the raw body as well.
        const body = runInNewContext("Uint8Array.from(bytes)", { bytes: [...request.body] });
        assert.ok(!(body instanceof Uint8Array));
        Object.assign(request, { body, raw: request.body });
        next();
      });
      app.use(createExpressAdapter(server));
      const { origin, close } = await listenNode(app);
      const response = await post(`${origin}/reality/sync`, { known: { a: 0 } });
      assert.equal((await response.json()).changed.a.hash, "1");
      await close();
    });
  });

  test(`createExpressAdapter() accepts bodies that express.json() has decompressed, within its limit, in ${name}`, async () => {
    await withServer(async (server) => {
      for (
        const [options, statuses] of [[{ limit: 1_000 }, [200, 413]], [{ inflate: false }, [
          415,
          415,
        ]]] as const
      ) {
        const app = framework();
        app.set("env", "test");
        app.use(framework.json(options));
        app.use(createExpressAdapter(server));
        const { origin, close } = await listenNode(app);
        for (const [i, size] of [10, 5_000].entries()) {
          const response = await fetch(`${origin}/reality/sync`, {
            method: "POST",
            headers: { "content-type": "application/json", "content-encoding": "gzip" },
            body: gzipSync(JSON.stringify({ known: { a: 0 }, x: "x".repeat(size) })),
          });
          assert.equal(response.status, statuses[i]);
          await response.body?.cancel();
        }
        await close();
      }
    });
  });

  test(`createExpressAdapter() leaves other paths, their preflights and their headers to the application, in ${name}`, async () => {
    await withServer(async (server) => {
      const app = framework();
      app.use((_request, response, next) => {
        response.setHeader("vary", "Accept-Encoding, origin");
        response.append("set-cookie", "a=1");
        response.append("set-cookie", "b=2");
        next();
      });
      const allowed = ["https://app.example"];
      app.use(createExpressAdapter(server, { cors: { origin: allowed, credentials: true } }));
      app.options("/own", (_request, response) => void response.status(200).end("own"));
      const { origin, close } = await listenNode(app);
      const headers = { "origin": "https://app.example", "access-control-request-method": "POST" };
      const other = await fetch(`${origin}/own`, { method: "OPTIONS", headers });
      assert.equal(await other.text(), "own");
      assert.equal(other.headers.get("access-control-allow-origin"), null);
      assert.equal(other.headers.get("vary"), "Accept-Encoding, origin");
      const ours = await fetch(`${origin}/reality/sync`, { method: "OPTIONS", headers });
      assert.equal(ours.headers.get("access-control-allow-origin"), "https://app.example");
      for (const path of ["health", "events?keys=a"]) {
        const response = await fetch(`${origin}/reality/${path}`, { headers });
        assert.equal(response.headers.get("vary"), "Accept-Encoding, Origin");
        assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
        await response.body?.cancel();
      }
      await close();
    });
  });

  test(`createExpressAdapter() reports a body that was read and is not available, in ${name}`, async () => {
    const reports: Error[] = [];
    await withServer(async (server) => {
      const app = framework();
      app.use((request, _response, next) => void request.resume().once("end", () => next()));
      app.use(createExpressAdapter(server));
      const { origin, close } = await listenNode(app);
      assert.equal((await post(`${origin}/reality/sync`, { known: {} })).status, 500);
      assert.match(String(reports[0]?.cause), /read before/);
      await close();
    }, reports);
  });
}

testAdapter(test, {
  name: "createExpressAdapter() in Fastify",
  host: "Fastify, ana",
  parsesBodies: true,
  ownNotFound: true,
  onlyPlainJSON: true,
  open: (name) => openAdapter(name, (scene) => listenFastify(scene, limitOf(name))),
});

testMultiplexed(test, {
  name: "createExpressAdapter() in Fastify before node:http2",
  missesEarlyResets: runtime === "deno",
  open: (name) =>
    openAdapter(name, async ({ server, handler }) => {
      const app = fastify({ http2: true });
      app.all("/reality/*", createExpressAdapter(server, handler));
      await app.listen({ port: 0, host: "127.0.0.1" });
      return {
        origin: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
        close: () => app.close(),
      };
    }),
});

test("createExpressAdapter() in Fastify keeps several cookies as headers, and merges Vary", async () => {
  await withServer(async (server) => {
    const app = fastify();
    app.addHook("onRequest", (_request, reply, done) => {
      reply.header("vary", "Accept-Encoding");
      reply.header("set-cookie", ["a=1", "b=2"]);
      done();
    });
    const cors = { origin: ["https://app.example"] };
    app.all("/reality/*", createExpressAdapter(server, { cors }));
    await app.listen({ port: 0, host: "127.0.0.1" });
    const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
    for (const path of ["health", "events?keys=a"]) {
      const response = await fetch(`${origin}/reality/${path}`);
      assert.equal(response.headers.get("vary"), "Accept-Encoding, Origin");
      assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
      await response.body?.cancel();
    }
    app.server.closeAllConnections();
    await app.close();
  });
});

test("createExpressAdapter() in Fastify keeps Fastify's hooks and headers", async () => {
  await withServer(async (server) => {
    const app = fastify();
    const seen: number[] = [];
    app.addHook("onRequest", (_request, reply, done) => {
      reply.header("x-hook", "ran");
      done();
    });
    app.addHook("onResponse", (_request, reply, done) => {
      seen.push(reply.statusCode);
      done();
    });
    app.post("/reality/sync", createExpressAdapter(server));
    app.get("/reality/events", createExpressAdapter(server));
    await app.listen({ port: 0, host: "127.0.0.1" });
    const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
    const response = await post(`${origin}/reality/sync`, { known: { a: 0 } });
    assert.equal((await response.json()).changed.a.hash, "1");
    assert.equal(response.headers.get("x-hook"), "ran");
    const events = await fetch(`${origin}/reality/events?keys=a`);
    assert.equal(events.headers.get("x-hook"), "ran");
    await server.close();
    assert.match(await events.text(), /event: update/);
    app.server.closeAllConnections();
    await app.close();
    assert.deepEqual(seen, [200, 200]);
  });
});

/** Express 4 besides Express 5: the same package name in another folder. */
function requireExpress4(): typeof express {
  const packages = "node_modules/.deno";
  const folder = readdirSync(packages).find((name) => name.startsWith("express@4."));
  assert.ok(folder !== undefined, "Express 4 is not installed");
  return createRequire(import.meta.url)(`../../${packages}/${folder}/node_modules/express`);
}

/** Sets the user, as the middleware of an application would. */
const signIn: express.RequestHandler = (request, _response, next) => {
  Object.assign(request, { user: request.headers["x-user"] });
  next();
};

/** The limit of the middleware that reads bodies: it applies to a body without a declared length. */
function limitOf(scene: SceneName): number {
  return scene === "small" ? SMALL.maxBodyBytes : 1_048_576;
}

async function listenFastify({ server, handler }: Scene, bodyLimit: number): Promise<Listening> {
  const app = fastify({
    bodyLimit,
    onProtoPoisoning: "ignore",
    onConstructorPoisoning: "ignore",
    forceCloseConnections: true,
  });
  app.addHook("onRequest", (request, _reply, done) => {
    Object.assign(request, { user: request.headers["x-user"] });
    done();
  });
  app.all(`${handler.basePath ?? "/reality"}/*`, createExpressAdapter(server, handler));
  await app.listen({ port: 0, host: "127.0.0.1" });
  return {
    origin: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    async close() {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

async function withServer(
  run: (server: RealityServer) => Promise<void>,
  reports: Error[] = [],
): Promise<void> {
  const server = new RealityServer({
    storage: new MemoryStorage(),
    limits: { maxBodyBytes: SMALL.maxBodyBytes },
    onError: (error) => reports.push(error),
  });
  await server.updateNode("a", "1");
  try {
    await run(server);
  } finally {
    await server.close();
  }
}

async function post(url: string, body: unknown): Promise<Response> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  // Read the body here, so that no test forgets it.
  return new Response(await response.text(), response);
}
