/**
 * The adapter of `node:http` behind `node:http2`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connect, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createNodeHandler } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer, type SyncResponse } from "../../mod.ts";
import { test } from "../harness.ts";
import { soon, until } from "../http/client.ts";
import { openAdapter } from "../http/in_process.ts";
import { testMultiplexed } from "../http/multiplexed.ts";
import { runtime } from "../runtimes/child.ts";
import { listenHttp2 } from "../runtimes/node.ts";

testMultiplexed(test, {
  name: "createNodeHandler() before node:http2",
  missesEarlyResets: runtime === "deno",
  open: (name) => openAdapter(name, ({ server, handler }) => listenHttp2(createNodeHandler(server, handler))),
});

testMultiplexed(test, {
  name: "createNodeHandler() before node:http2, behind middleware that takes its time",
  missesEarlyResets: runtime === "deno",
  open: (name) =>
    openAdapter(name, ({ server, handler }) => {
      const answer = createNodeHandler(server, handler);
      return listenHttp2((request, response) => void setTimeout(() => answer(request, response), 20));
    }),
});

test("an HTTP/2 session has as many waiting slots as one connection", async () => {
  const limits = { maxWaitersPerConnection: 2 };
  const server = new RealityServer({
    storage: new MemoryStorage(),
    limits,
    trustProxy: ["127.0.0.0/8", "::1"],
  });
  const listener = createServer(createNodeHandler(server));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const session = connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`);
  const wait = async (more: Record<string, string> = {}): Promise<SyncResponse> => {
    const head = { ":method": "POST", ":path": "/reality/sync", "content-type": "application/json" };
    const stream = session.request({ ...head, ...more });
    stream.end('{"known":{"a":0},"wait":20000}');
    let text = "";
    for await (const chunk of stream.setEncoding("utf8")) text += chunk;
    return JSON.parse(text);
  };
  const waiting = Array.from({ length: 5 }, () => wait());
  let paused = 0;
  const all = waiting.map((answer) => answer.then(({ pause }) => paused += pause === undefined ? 0 : 1));
  await until(() => Promise.resolve(paused === 3), "three are sent away");
  assert.equal((await server.getStats()).waiters, 2);
  // A proxy sends requests of many clients on one connection.
  const others = Array.from({ length: 3 }, (_, i) => wait({ "x-forwarded-for": `203.0.113.${i}` }));
  await until(async () => (await server.getStats()).waiters === 5, "three more wait");
  await server.updateNode("a", "1");
  for (const other of others) assert.equal((await other).pause, undefined);
  await Promise.all(all);
  assert.equal(paused, 3);
  session.close();
  await server.close();
  await new Promise((resolve) => listener.close(resolve));
});

test("createNodeHandler() answers, waits and streams over HTTP/2, and notices disconnected clients", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), limits: { maxBodyBytes: 100 } });
  await server.updateNode("a", "1");
  const listener = createServer(createNodeHandler(server));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const session = connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`);
  const ask = async (method: string, path: string, body?: string) => {
    const stream = session.request({ ":method": method, ":path": path, "content-type": "application/json" });
    let status = 0;
    stream.on("response", (headers) => status = Number(headers[":status"]));
    stream.end(body);
    let text = "";
    for await (const chunk of stream.setEncoding("utf8")) text += chunk;
    return { status, text };
  };
  const sync = await ask("POST", "/reality/sync", '{"known":{"a":0}}');
  assert.equal(sync.status, 200);
  assert.equal(JSON.parse(sync.text).changed.a.hash, "1");
  assert.equal((await ask("POST", "/reality/sync", "x".repeat(200))).status, 413);
  assert.equal((await ask("GET", "/reality/nope")).status, 404);

  const events = session.request({ ":method": "GET", ":path": "/reality/events?keys=a" });
  const opening = await new Promise<string>((resolve) =>
    events.once("data", (chunk) => resolve(String(chunk)))
  );
  assert.match(opening, /"hash":"1"/);
  assert.equal((await server.getStats()).streams, 1);
  events.close();
  while ((await server.getStats()).streams > 0) await new Promise((resolve) => setTimeout(resolve, 2));

  await new Promise<void>((resolve) => session.close(resolve));
  await server.close();
  await new Promise((resolve) => listener.close(resolve));
});

test("createNodeHandler() abandons an HTTP/2 body that stalls, and closes its stream", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), limits: { bodyTimeout: 50 } });
  const listener = createServer(createNodeHandler(server));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const session = connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/reality/sync",
    "content-type": "application/json",
  });
  const closed = new Promise<void>((resolve) => stream.once("close", resolve));
  stream.on("error", () => {});
  let status = 0;
  stream.on("response", (headers) => status = Number(headers[":status"]));
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk) => text += chunk);
  stream.write('{"kno');
  await soon(closed, "the stream's end");
  assert.equal(status, 408);
  assert.match(text, /ERR_REALITY_TIMEOUT/);
  await new Promise<void>((resolve) => session.close(resolve));
  await server.close();
  await new Promise((resolve) => listener.close(resolve));
});
