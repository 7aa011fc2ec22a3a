/**
 * The adapter for `node:http`.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Request as ExpressRequest, RequestHandler } from "express";
import type { FastifyRequest, RouteHandlerMethod } from "fastify";
import type { Context } from "hono";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createNodeHandler, listenerLimits } from "../../adapters/node.ts";
import {
  type AuthorizeWrite,
  type FetchContext,
  type HandlerOptions,
  type HookInfo,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
} from "../../mod.ts";
import { test } from "../harness.ts";
import { RawClient, until } from "../http/client.ts";
import { openAdapter } from "../http/in_process.ts";
import type { Adapter } from "../http/adapter.ts";
import { testAdapter, testSlowReader } from "../http/kit.ts";
import { listenNode } from "../runtimes/node.ts";

const adapter: Adapter = {
  name: "createNodeHandler()",
  host: "node:http",
  open: (name) => openAdapter(name, ({ server, handler }) => listenNode(createNodeHandler(server, handler))),
};

testAdapter(test, adapter);
testSlowReader(test, adapter);

test("hooks can have the context type of their host", async () => {
  const authorizeWrite: AuthorizeWrite<ExpressRequest> = (_request, _keys, { context }) => context.secure;
  const options: RealityServerOptions = {
    storage: new MemoryStorage(),
    authorize: (_request, keys, { context }: HookInfo<FetchContext<{ readonly user: string }>>) =>
      keys.filter((key) => key.startsWith(`${context.env.user}:`)),
    authorizeWrite,
    rateLimit: {
      limit: 1,
      window: 1_000,
      key: (_request, { address, context }: HookInfo<FastifyRequest> & { address: string | null }) =>
        address ?? context.id,
    },
  };
  const handler: HandlerOptions = {
    metrics: (_request, { context }: HookInfo<Context>) => context.finalized,
  };
  const server = new RealityServer(options);
  assert.equal(typeof createNodeHandler(server, handler), "function");
  await server.close();
});

test("createNodeHandler() adds one listener to a connection for all of its waiting requests, and none if it is closed", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const answer = createNodeHandler(server);
  const late: (() => void)[] = [];
  let socket: Socket | undefined;
  const { origin, close } = await listenNode((request, response) => {
    socket = request.socket;
    if (request.url?.endsWith("late")) late.push(() => answer(request, response));
    else answer(request, response);
  });
  const get = (path: string) => `GET /reality/${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const raw = await RawClient.connect(origin);
  raw.send(get("events?keys=a").repeat(20));
  await until(async () => (await server.getStats()).streams === 20, "20 streams are open");
  const listeners = socket?.listenerCount("close") ?? 0;
  raw.send(get("events?keys=a").repeat(100) + get("events?keys=a&late").repeat(10));
  await until(async () => (await server.getStats()).streams === 120 && late.length === 10, "all are there");
  assert.equal(socket?.listenerCount("close"), listeners);
  await raw.close();
  await until(async () => (await server.getStats()).streams === 0, "no stream is open");
  for (const run of late) run();
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal((await server.getStats()).streamsBegun, 120);
  await server.close();
  await close();
});

test("createNodeHandler() and createExpressAdapter() match the types of Node, Express and Fastify", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const http: RequestListener = createNodeHandler(server);
  const http2: (request: Http2ServerRequest, response: Http2ServerResponse) => void = createNodeHandler(
    server,
  );
  const express: RequestHandler = createExpressAdapter(server);
  const fastify: RouteHandlerMethod = createExpressAdapter(server);
  for (const handler of [http, http2, express, fastify]) assert.equal(typeof handler, "function");
  await server.close();
});

test("createNodeHandler() closes the connection of a refused body after the answer was sent", async () => {
  await withNode({ limits: { maxBodyBytes: 100 } }, async (url) => {
    const raw = await RawClient.connect(url);
    raw.send("POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
    raw.send("Content-Length: 3000000\r\n\r\n");
    // More than the socket buffers hold: the server reads all of it, so that the client reads the answer.
    raw.send("x".repeat(3_000_000));
    await raw.closed();
    assert.match(raw.received, /^HTTP\/1\.1 413 [\s\S]*\r\nconnection: close\r\n[\s\S]*BODY_TOO_LARGE/i);
  });
});

test("createNodeHandler() does not read an endless body that is not needed", async () => {
  await withNode({}, async (url) => {
    for (const path of ["/nope", "/reality/sync", "/reality/update"]) {
      const raw = await RawClient.connect(url);
      raw.send(`POST ${path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n`);
      await raw.closed();
      assert.match(raw.received, /^HTTP\/1\.1 4(03|04|15) /);
    }
  });
});

test("createNodeHandler() passes hooks a Request with the method, URL and headers that were sent", async () => {
  const seen: Request[] = [];
  const authorizeWrite = (request: Request) => seen.push(request) > 0;
  await withNode({ authorizeWrite }, async (url) => {
    const raw = await RawClient.connect(url);
    raw.send("DELETE /reality/nodes/a%20b?c=d HTTP/1.1\r\nHost: shop.example:8080\r\n");
    raw.send("Cookie: a=1\r\nCookie: b=2\r\nX-Many: 1\r\nX-Many: 2\r\n\r\n");
    await raw.receive((text) => text.startsWith("HTTP/1.1 204"));
    await raw.close();
    const [request] = seen;
    assert.ok(request);
    assert.equal(request.method, "DELETE");
    assert.equal(request.url, "http://shop.example:8080/reality/nodes/a%20b?c=d");
    assert.match(request.headers.get("cookie") ?? "", /a=1.*b=2/);
    assert.equal(request.headers.get("x-many"), "1, 2");
    assert.equal(request.body, null);
  });
});

test("createNodeHandler() accepts an invalid Host header", async () => {
  const seen: string[] = [];
  const authorizeWrite = (request: Request) => seen.push(request.url) > 0;
  await withNode({ authorizeWrite }, async (url) => {
    const raw = await RawClient.connect(url);
    raw.send("DELETE /reality/nodes/a HTTP/1.1\r\nHost: a b/c\r\n\r\n");
    const received = await raw.receive((text) => text.includes("\r\n\r\n"));
    await raw.close();
    // A runtime may refuse it itself.
    assert.match(received, /^HTTP\/1\.1 (204|400) /);
    if (received.startsWith("HTTP/1.1 204")) assert.deepEqual(seen, ["http://localhost/reality/nodes/a"]);
  });
});

test("createNodeHandler() disconnects a client that reads a response too slowly, also a pipelined one", async () => {
  await withNode({ limits: { maxBodyBytes: 8_000_000, responseTimeout: 300 } }, async (url, server) => {
    // More than the socket buffers hold.
    const keys = Array.from({ length: 10_000 }, (_, i) => `${i}`.padEnd(500, "k"));
    await server.updateMany(keys.map((key) => ({ key, hash: "h".repeat(250) })));
    const send = (raw: RawClient, known: readonly string[], wait: number) => {
      const body = JSON.stringify({ known: Object.fromEntries(known.map((key) => [key, 0])), wait });
      raw.send(
        "POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" +
          `Content-Length: ${body.length}\r\n\r\n${body}`,
      );
    };
    const has = (count: number, name: "pendingResponses" | "waiters") =>
      until(async () => (await server.getStats())[name] === count, `${name} is ${count}`);

    const slow = await RawClient.connect(url);
    slow.pause();
    send(slow, keys, 0);
    await has(1, "pendingResponses");
    await has(0, "pendingResponses");
    await slow.close();

    const waiting = await RawClient.connect(url);
    send(waiting, ["quiet"], 20_000);
    send(waiting, keys.slice(0, 10), 0);
    await has(1, "pendingResponses");
    await waiting.closed();
    await has(0, "pendingResponses");
    await has(0, "waiters");

    const quick = await RawClient.connect(url);
    send(quick, keys.slice(0, 200), 0);
    const { body } = await quick.receiveAnswer();
    assert.equal(Object.keys(JSON.parse(body).changed).length, 200);
    await quick.close();
    await has(0, "pendingResponses");
    const metrics = await (await fetch(`${url}/reality/metrics`)).text();
    assert.match(metrics, /^reality_responses_cut_total 2$/m);
  });
});

test("listenerLimits keep idle connections longer than the 60 s of proxies", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const listener = createHttpServer(listenerLimits, createNodeHandler(server));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const raw = await RawClient.connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`);
  raw.send("GET /reality/health HTTP/1.1\r\nHost: a\r\n\r\n");
  const { head } = await raw.receiveAnswer();
  assert.ok(Number(/^keep-alive: *timeout=(\d+)/im.exec(head)?.[1]) > 60, head);
  await raw.close();
  await server.close();
  await new Promise((resolve) => listener.close(resolve));
});

test("createNodeHandler() reads a body after setEncoding, and counts its bytes", async () => {
  const reports: Error[] = [];
  const server = new RealityServer({
    storage: new MemoryStorage(),
    limits: { maxBodyBytes: 100_000 },
    onError: (error) => reports.push(error),
  });
  await server.updateNode("é🙂", "1");
  const handler = createNodeHandler(server);
  const { origin, close } = await listenNode((request, response) => {
    request.setEncoding(request.headers["x-encoding"] as BufferEncoding);
    handler(request, response);
  });
  const post = (encoding: string, length: number) =>
    fetch(`${origin}/reality/sync`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-encoding": encoding },
      // Without a declared length, and split within a character.
      body: new Blob([JSON.stringify({ known: { "é🙂": 0 }, x: "🙂".repeat(length / 4) })]).stream(),
      duplex: "half",
    } as RequestInit);
  for (const encoding of ["utf8", "utf-8"]) {
    assert.equal((await (await post(encoding, 90_000)).json()).changed["é🙂"].hash, "1");
    const refused = await post(encoding, 120_000);
    assert.equal(refused.status, 413);
    await refused.body?.cancel();
  }
  const unknown = await post("latin1", 4);
  assert.equal(unknown.status, 500);
  await unknown.body?.cancel();
  assert.match(String(reports[0]?.cause), /setEncoding\("(latin1|binary)"\)/);
  await server.close();
  await close();
});

async function withNode(
  options: Partial<RealityServerOptions>,
  run: (url: string, server: RealityServer) => Promise<void>,
): Promise<void> {
  const server = new RealityServer({ storage: new MemoryStorage(), ...options });
  const { origin, close } = await listenNode(createNodeHandler(server));
  try {
    await run(origin, server);
  } finally {
    await server.close();
    await close();
  }
}
