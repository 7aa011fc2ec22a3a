/**
 * The fetch handler in Hono, which passes a context to its handlers.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Context, Hono, type MiddlewareHandler } from "hono";
import { validator } from "hono/validator";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { openAdapter } from "../http/in_process.ts";
import { until } from "../http/client.ts";
import { testAdapter } from "../http/kit.ts";
import { listenBun, listenFetch, serverName } from "../runtimes/fetch.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

/** Hono has its own server for Node. Elsewhere the server of the runtime is used. */
const isNode = serverName === "a bridge on Node";

testAdapter(test, {
  name: `createFetchHandler() in Hono before ${isNode ? "@hono/node-server" : serverName}`,
  ownNotFound: true,
  host: "Hono, ana",
  keepsConnection: serverName === "Deno.serve",
  losesPipelined: serverName === "Bun.serve",
  answersInTurn: serverName === "Deno.serve",
  leavesBodies: isNode,
  open: (name) =>
    openAdapter(name, ({ server, handler }) => {
      const app = new Hono<{ Variables: { user: string | undefined } }>();
      app.use((c, next) => (c.set("user", c.req.header("x-user")), next()));
      app.all(`${handler.basePath ?? "/reality"}/*`, createFetchHandler(server, handler));
      return listenHono((request, env) => app.fetch(request, env));
    }),
});

test("createFetchHandler() returns a handler that Hono can mount", async () => {
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

const reads: readonly (readonly [string, MiddlewareHandler])[] = [
  ["json", async (c, next) => void await Promise.allSettled([c.req.json()]).then(next)],
  ["text", async (c, next) => void await c.req.text().then(next)],
  ["arrayBuffer", async (c, next) => void await c.req.arrayBuffer().then(next)],
  ["blob", async (c, next) => void await c.req.blob().then(next)],
  ["parseBody", async (c, next) => void await c.req.parseBody().then(next)],
  ["text that is not awaited", async (c, next) => (void c.req.text().catch(() => {}), await next())],
  ["a validator", validator("json", (value) => value)],
];

for (const [title, middleware] of reads) {
  test(`createFetchHandler() accepts a body that was read before, within its limit, in Hono: ${title}`, async () => {
    const server = new RealityServer({ storage: new MemoryStorage(), limits: { maxBodyBytes: 1_000 } });
    await server.updateNode("a", "1");
    const app = new Hono();
    app.use(middleware);
    app.post("/reality/sync", createFetchHandler(server));
    const { origin, close } = await listenHono((request, env) => app.fetch(request, env));
    const post = (body: string | ReadableStream, headers = {}) =>
      fetch(`${origin}/reality/sync`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body,
        duplex: "half",
      } as RequestInit);
    const response = await post('{"known":{"a":0}}');
    assert.equal((await response.json()).changed.a.hash, "1");
    const large = `{"known":{},"x":"${"x".repeat(1_000)}"}`;
    const refused = [
      [400, post("{")],
      [413, post(large)],
      // Without a declared length.
      [413, post(new Blob([large]).stream())],
      // Hono does not decompress bodies.
      [415, post('{"known":{}}', { "content-encoding": "gzip" })],
    ] as const;
    for (const [status, refusal] of refused) {
      const response = await refusal;
      assert.equal(response.status, status);
      await response.text();
    }
    await server.close();
    await close();
  });
}

test("createFetchHandler() reports a body that was read before", async () => {
  const reports: Error[] = [];
  const server = new RealityServer({ storage: new MemoryStorage(), onError: (error) => reports.push(error) });
  const request = new Request("http://localhost/reality/sync", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"known":{}}',
  });
  await request.text();
  const handler = createFetchHandler(server);
  assert.equal((await handler(request)).status, 500);
  // Hono did not cache the body that was read.
  assert.equal((await handler(new Context(request))).status, 500);
  for (const report of reports) assert.match(String(report.cause), /read before.*Hono's context/);
  assert.equal(reports.length, 2);
  await server.close();
});

if (serverName === "Bun.serve") {
  test("createFetchHandler() lets clients wait longer than Bun's idle timeout, in Hono that Bun starts", async () => {
    const server = new RealityServer({ storage: new MemoryStorage() });
    const app = new Hono();
    app.get("/silent", () => new Promise<Response>(() => {}));
    app.all("/reality/*", createFetchHandler(server));
    const starts = [
      (request: Request, bun: unknown) => app.fetch(request, bun as object),
      (request: Request, bun: unknown) => app.fetch(request, { server: bun }),
    ];
    const listening = starts.map((fetch) => listenBun(fetch));
    const waiting = listening.flatMap(({ origin }) => [
      fetch(`${origin}/reality/sync`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"known":{"a":0},"wait":20000}',
      }),
      fetch(`${origin}/reality/events?keys=a`),
    ]);
    await until(async () => (await server.getStats()).waiters === 4, "all wait");
    // Bun checks every few seconds. An idle connection would be closed by then.
    await Promise.all(listening.map(({ origin }) => assert.rejects(fetch(`${origin}/silent`))));
    await server.updateNode("a", "1");
    for (const response of await Promise.all(waiting)) {
      const reader = response.body!.getReader();
      let text = "";
      while (!text.includes('"hash":"1"')) text += new TextDecoder().decode((await reader.read()).value);
      await reader.cancel();
    }
    await server.close();
    for (const { close } of listening) await close();
  });
}

test("createFetchHandler() finds Bun's server in Hono's environment, and nothing else there", async () => {
  const server = new RealityServer({
    storage: new MemoryStorage(),
    rateLimit: { limit: 1, window: 60_000 },
  });
  const app = new Hono();
  app.all("/reality/*", createFetchHandler(server));
  const asked: unknown[] = [];
  const sync = async (env: object) => {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body: '{"known":{"a":0},"wait":1}' };
    return (await app.request("/reality/sync", init, env)).status;
  };
  const createBun = (address: string) => ({
    pendingRequests: 1,
    timeout: (_request: Request, seconds: number) => void asked.push(seconds),
    requestIP: () => ({ address }),
  });
  for (const env of [createBun("192.0.2.1"), { server: createBun("192.0.2.2") }]) {
    assert.equal(await sync(env), 200);
    assert.deepEqual(asked.splice(0), [0, 10]);
    assert.equal(await sync(env), 429);
  }
  // A service binding of a Worker has every property.
  const binding = new Proxy({}, { get: (_target, name) => (...args: unknown[]) => asked.push([name, args]) });
  assert.equal(await sync({ server: binding }), 200);
  assert.deepEqual(asked, []);
  await server.close();
});

function listenHono(
  answer: (request: Request, env: object) => Response | Promise<Response>,
): Promise<Listening> {
  return isNode
    ? listenNode(getRequestListener(answer as Parameters<typeof getRequestListener>[0]) as RequestListener)
    : listenFetch(async (request, env) => await answer(request, env as object));
}
