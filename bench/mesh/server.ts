/**
 * One of the two processes of the latency bench: `server.ts`, with what it needs in `REALITY_BENCH_REDIS` and
 * `REALITY_BENCH_POSTGRES`. A server of this package for each way of joining it to the other process, all behind one
 * HTTP server, with the bare messages beside them. It is told what to do line by line, and answers so.
 *
 * @module
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import process from "node:process";
import { createInterface } from "node:readline";
import { connectRedis } from "../../adapters/ioredis.ts";
import { createNodeHandler, type NodeHandler } from "../../adapters/node.ts";
import { type FetchHandler, MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { openPostgres } from "../../storage/sql/postgres/postgres_storage.ts";
import { runtime } from "../report.ts";
import { HASH } from "../workload.ts";
import { BARE, KEY, MESHES, type MeshName } from "./contenders.ts";

/** What the process is told. */
export type Command =
  | { readonly to: "join"; readonly port: number }
  | { readonly to: "size"; readonly post: number; readonly answer: number; readonly publish: number }
  | { readonly to: "send"; readonly way: string }
  | { readonly to: "tell" }
  | { readonly to: "tick" };

/** What the process has noted, in milliseconds of its own clock. */
export interface Notes {
  readonly runtime: string;
  /** Way → when each change or message began, … */
  readonly begun: Readonly<Record<string, readonly number[]>>;
  /** … when the call of `updateNode` had settled, or the answer of a POST was there, … */
  readonly settled: Readonly<Record<string, readonly number[]>>;
  /** … and when a bare message had come here. */
  readonly arrived: Readonly<Record<string, readonly number[]>>;
  /** Way → bytes of a message and of its answer. */
  readonly sizes: Readonly<Record<string, readonly [number, number]>>;
  /** Characters of a message through Redis. */
  readonly publish: number;
}

interface Host {
  Deno?: { serve(options: object, handler: FetchHandler): { addr: { port: number } } };
  Bun?: { serve(options: object): { port: number } };
}

interface Joined {
  readonly server: RealityServer;
  readonly fetch: FetchHandler;
  readonly listener: NodeHandler;
}

const CHANNEL = "reality:bench";
const BARE_CHANNEL = "bare";
const headers = { "content-type": "application/json", "cache-control": "no-store" };
const redisURL = process.env.REALITY_BENCH_REDIS ?? "";
const postgresURL = process.env.REALITY_BENCH_POSTGRES ?? "";

const joined = new Map<string, Joined>();
const begun: Record<string, number[]> = {};
const settled: Record<string, number[]> = {};
const arrived: Record<string, number[]> = {};
/** Path → the request that waits there for a bare message, and whether one arrived without a request. */
const held = new Map<string, (text: string) => void>();
const missed = new Set<string>();
let [other, message, answer, published, publishLength] = ["", "{}", "{}", "{}", 0];
const redis = redisURL === "" ? undefined : await connectRedis(redisURL);
await redis?.subscriber.subscribe(BARE_CHANNEL);
await redis?.subscriber.subscribe(CHANNEL);
redis?.subscriber.on("message", (channel, text) => {
  if (channel === CHANNEL) publishLength = String(text).length;
  else arrive(BARE.redis.path);
});

const { Deno, Bun } = globalThis as Host;
const address = { hostname: "127.0.0.1", port: 0 };
if (Deno) say(Deno.serve({ ...address, onListen() {} }, fetchBare).addr.port);
else if (Bun) say(Bun.serve({ ...address, idleTimeout: 60, fetch: fetchBare }).port);
else {
  const server = createServer(listen);
  server.listen(0, address.hostname, () => say((server.address() as { port: number }).port));
}
for await (const line of createInterface(process.stdin)) await obey(JSON.parse(line));
process.exit();

async function obey(command: Command): Promise<void> {
  switch (command.to) {
    case "join":
      other = `http://127.0.0.1:${command.port}`;
      for (const name of Object.keys(MESHES) as MeshName[]) await join(name);
      return say(true);
    case "size":
      message = fill(command.post);
      answer = fill(command.answer);
      published = fill(command.publish);
      await redis?.subscriber.unsubscribe(CHANNEL).then(() => redis.subscriber.subscribe(BARE_CHANNEL));
      return say(true);
    case "send":
      // Nothing is printed here: it would take time between the change and the message.
      return void send(command.way);
    case "tell":
      return say(await tell());
    case "tick":
      return say(now());
  }
}

async function join(name: MeshName): Promise<void> {
  const way = MESHES[name];
  const options = await optionsOf(name);
  if (options === undefined) return;
  const server = new RealityServer({ meshPeers: [other + way.path], ...options });
  const basePath = way.path.replace(/\/sync$/, "");
  joined.set(way.path, {
    server,
    fetch: server.getFetchHandler({ basePath }),
    listener: createNodeHandler(server, { basePath }),
  });
}

async function optionsOf(name: MeshName): Promise<RealityServerOptions | undefined> {
  const meshSecret = "a secret of more than 32 characters, for the bench";
  switch (name) {
    case "secret":
      return { storage: new MemoryStorage(), meshSecret };
    case "callback":
      return { storage: new MemoryStorage() };
    case "redis": {
      if (redisURL === "") return undefined;
      const { publisher, subscriber } = await connectRedis(redisURL);
      return { storage: new MemoryStorage(), meshSecret, redis: { publisher, subscriber, channel: CHANNEL } };
    }
    case "shared":
      if (postgresURL === "") return undefined;
      return { storage: openPostgres(postgresURL, { tableName: "bench_mesh", listen: false }), meshSecret };
  }
}

async function send(path: string): Promise<void> {
  const server = joined.get(path)?.server;
  const start = now();
  (begun[path] ??= []).push(start);
  if (server !== undefined) await server.updateNode(KEY, `${HASH}${begun[path].length}`);
  else if (path === BARE.redis.path) await redis?.publisher.publish(BARE_CHANNEL, published);
  else {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: message };
    await (await fetch(other + path, init)).text();
  }
  (settled[path] ??= []).push(now());
}

async function tell(): Promise<Notes> {
  const sizes: Record<string, [number, number]> = {};
  for (const [path, { server }] of joined) {
    const { mesh } = await server.getStats();
    if (mesh === null || mesh.exchanges === 0) continue;
    sizes[path] = [mesh.sentBytes / mesh.exchanges, mesh.receivedBytes / mesh.exchanges];
  }
  return { runtime, begun, settled, arrived, sizes, publish: publishLength };
}

/** A bare message is here. */
function arrive(path: string): void {
  (arrived[path] ??= []).push(now());
  const release = held.get(path);
  held.delete(path);
  if (release === undefined) missed.add(path);
  else release(answer);
}

/** Holds a request until a bare message comes. */
function hold(path: string, release: (text: string) => void): void {
  if (missed.delete(path)) release(answer);
  else held.set(path, release);
}

async function fetchBare(request: Parameters<FetchHandler>[0], host?: unknown): Promise<Response> {
  const given = request as Request;
  const { pathname } = new URL(given.url);
  const own = joined.get(pathname);
  if (own !== undefined) return await own.fetch(given, host);
  await given.text();
  if (given.headers.get("x-wait") === null) {
    arrive(pathname);
    return new Response(answer, { headers });
  }
  return await new Promise((resolve) =>
    held.set(pathname, (text) => resolve(new Response(text, { headers })))
  );
}

async function listen(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url!;
  const own = joined.get(path);
  if (own !== undefined) return own.listener(request, response);
  await readText(request);
  const reply = (text: string) => {
    response.writeHead(200, { ...headers, "content-length": text.length });
    response.end(text);
  };
  if (request.headers["x-wait"] !== undefined) return hold(path, reply);
  arrive(path);
  reply(answer);
}

function readText(request: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => resolve(Buffer.concat(chunks).toString()));
  });
}

/** JSON of so many bytes, so that a bare message is as long as the one beside which it stands. */
function fill(bytes: number): string {
  return JSON.stringify({ gossip: "x".repeat(Math.max(0, Math.round(bytes) - 13)) });
}

/** Milliseconds of the machine's monotonic clock, from a point that each runtime chooses for itself. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function say(answer: unknown): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
