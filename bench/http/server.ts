/**
 * One contender behind HTTP, in a process of its own: `node bench/http/server.ts limit`. Prints its port.
 * `GET /usage` returns its processor time and memory so far (`/memory` collects garbage first). `GET /change?<key>` changes
 * a node.
 *
 * @module
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import process from "node:process";
import { serveLimit } from "../contenders/limit.ts";
import { serveLongPoll } from "../contenders/long_poll.ts";
import { servePlainSSE } from "../contenders/plain_sse.ts";
import { servePublished } from "../contenders/published.ts";
import { serveExpress, serveReality } from "../contenders/reality.ts";
import type { Served, Watched } from "../contenders/served.ts";
import { serveSocketIO } from "../contenders/socket_io.ts";
import { runtime } from "../report.ts";

/** How many nodes each contender keeps. */
const NODES = 20_000;

/** What a server says about itself. */
export interface Usage extends Watched {
  readonly runtime: string;
  /** Processor time, in microseconds. */
  readonly processor: number;
  /** Resident memory and the heap's part of it, in bytes. */
  readonly memory: number;
  readonly heap: number;
}

type Fetch = (request: Request, host: unknown) => Promise<Response>;

interface Host {
  Deno?: { serve(options: object, handler: Fetch): { addr: { port: number } } };
  Bun?: { serve(options: object): { port: number } };
  gc?(): void;
}

const contenders: Record<string, (nodes: number) => Served | Promise<Served>> = {
  "limit": serveLimit,
  "long poll": serveLongPoll,
  "plain SSE": servePlainSSE,
  "1.2.2": servePublished,
  "socket.io": serveSocketIO,
  "reality": serveReality,
  "reality, SSE": serveReality,
  "reality, Express": serveExpress,
};

const { Deno, Bun, gc } = globalThis as Host;
const [, , name = "", hosts = "127.0.0.1"] = process.argv;
const served = await contenders[name]!(NODES);
process.stdin.on("end", () => process.exit()).resume();
let port = 0;
for (const hostname of hosts.split(",")) port = await open({ hostname, port });
console.log(port);

/** Listens, and answers at which port. */
async function open(address: { hostname: string; port: number }): Promise<number> {
  if (Deno && served.fetch) return Deno.serve({ ...address, onListen() {} }, fetch).addr.port;
  if (Bun && served.fetch) return Bun.serve({ ...address, idleTimeout: 255, fetch }).port;
  const server = createServer(listen);
  served.attach?.(server);
  await new Promise<void>((resolve) => server.listen(address.port, address.hostname, resolve));
  return (server.address() as { port: number }).port;
}

/** Whether it is about the process, and not for what runs in it. */
function isControl(method: string, url: string): boolean {
  return method === "GET" && /\/(usage|memory|change)(\?|$)/.test(url);
}

async function fetch(request: Request, host: unknown): Promise<Response> {
  if (!isControl(request.method, request.url)) return await served.fetch!(request, host);
  return Response.json(await control(request.url));
}

function listen(request: IncomingMessage, response: ServerResponse): void {
  if (!isControl(request.method!, request.url!)) return served.listener?.(request, response);
  void control(request.url!).then((answer) => response.end(JSON.stringify(answer)));
}

async function control(url: string): Promise<object> {
  const [, key] = url.split("?");
  if (key !== undefined) {
    const start = performance.now();
    await served.change(key);
    return { took: performance.now() - start };
  }
  // Not while processor time is measured: collecting garbage would count as work of the contender.
  if (url.endsWith("/memory")) gc?.();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return { runtime, processor: user + system, memory: rss, heap: heapUsed, ...await served.watch() };
}
