/**
 * One contender behind HTTP, in a process of its own: `node bench/http/server.ts limit`. Says its port on stdout,
 * tells at `GET /usage` what it has used so far (at `/memory` after collecting garbage), and changes a node at
 * `GET /change?<key>`.
 *
 * @module
 */
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import process from "node:process";
import { createNodeHandler } from "../../adapters/node.ts";
import { Limit } from "../contenders/limit.ts";
import { LongPoll } from "../contenders/long_poll.ts";
import { createReality } from "../contenders/reality.ts";
import { runtime } from "../report.ts";
import { HASH } from "../workload.ts";

/** How many nodes each contender keeps. */
const NODES = 20_000;

/** What a server says about itself. */
export interface Usage {
  readonly runtime: string;
  /** Processor time, in microseconds. */
  readonly processor: number;
  /** Resident memory and the heap's part of it, in bytes. */
  readonly memory: number;
  readonly heap: number;
  /** How many requests wait. */
  readonly waiting: number;
  /** How many reads of the storage there were. */
  readonly reads: number;
}

type Fetch = (request: Request, host: unknown) => Promise<Response>;

interface Served {
  readonly fetch: Fetch;
  readonly listener: RequestListener;
  change(key: string): void | Promise<void>;
  watch(): Promise<Pick<Usage, "waiting" | "reads">>;
}

interface Host {
  Deno?: { serve(options: object, handler: Fetch): { addr: { port: number } } };
  Bun?: { serve(options: object): { port: number } };
  gc?(): void;
}

const contenders: Record<string, () => Served | Promise<Served>> = {
  limit: serveLimit,
  "long poll": serveLongPoll,
  reality: serveReality,
};

const { Deno, Bun, gc } = globalThis as Host;
const served = await contenders[process.argv[2] ?? ""]!();
process.stdin.on("end", () => process.exit()).resume();
const address = { hostname: "127.0.0.1", port: 0 };
if (Deno) say(Deno.serve({ ...address, onListen() {} }, fetch).addr.port);
else if (Bun) say(Bun.serve({ ...address, idleTimeout: 60, fetch }).port);
else {
  const server = createServer(listen);
  server.listen(0, address.hostname, () => say((server.address() as { port: number }).port));
}

async function fetch(request: Request, host: unknown): Promise<Response> {
  if (request.method === "POST") return await served.fetch(request, host);
  return Response.json(await control(request.url));
}

function listen(request: Parameters<RequestListener>[0], response: Parameters<RequestListener>[1]): void {
  if (request.method === "POST") return served.listener(request, response);
  void control(request.url!).then((answer) => response.end(JSON.stringify(answer)));
}

async function control(url: string): Promise<object> {
  const [, key] = url.split("?");
  if (key !== undefined) {
    const start = performance.now();
    await served.change(key);
    return { took: performance.now() - start };
  }
  // Never while processor time is measured: it would count as work of the contender.
  if (url.endsWith("/memory")) gc?.();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return { runtime, processor: user + system, memory: rss, heap: heapUsed, ...await served.watch() };
}

function serveLimit(): Served {
  const limit = new Limit(NODES);
  return {
    fetch: (request) => limit.fetch(request),
    listener: async (request, response) => {
      const body = limit.answer(await readText(request));
      response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
      response.end(body);
    },
    change: (key) => limit.update(key, HASH),
    watch: () => Promise.resolve({ waiting: 0, reads: 0 }),
  };
}

function serveLongPoll(): Served {
  const poll = new LongPoll(NODES);
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  return {
    async fetch(request) {
      const body = await request.text();
      return await new Promise((resolve) => {
        const release = poll.hold(body, (text) => resolve(new Response(text, { headers })));
        request.signal.addEventListener("abort", release);
      });
    },
    async listener(request, response) {
      const release = poll.hold(await readText(request), (text) => {
        response.writeHead(200, headers);
        response.end(text);
      });
      response.on("close", release);
    },
    change: (key) => poll.update(key),
    watch: () => Promise.resolve({ waiting: poll.waiting, reads: 0 }),
  };
}

async function serveReality(): Promise<Served> {
  const { server, fetch } = await createReality(NODES);
  return {
    fetch,
    listener: createNodeHandler(server),
    change: (key) => server.updateNode(key, HASH),
    async watch() {
      const { waiters, storageReads } = await server.getStats();
      return { waiting: waiters, reads: storageReads };
    },
  };
}

function readText(request: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => resolve(Buffer.concat(chunks).toString()));
  });
}

function say(port: number): void {
  console.log(port);
}
