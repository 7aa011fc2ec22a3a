/**
 * One contender behind HTTP, in a process of its own: `node bench/http/server.ts limit`. Prints its port, and a second one
 * for the bench, so that the contender gets every request as its users mount it. On the second port, `GET /usage` returns
 * the processor time and memory so far (`/memory` collects garbage first), and `GET /change?<key>` changes a node.
 *
 * @module
 */
import { createServer, type RequestListener } from "node:http";
import process from "node:process";
import { serveBare } from "../contenders/bare.ts";
import { serveLimit } from "../contenders/limit.ts";
import { serveLongPoll } from "../contenders/long_poll.ts";
import { servePlainSSE } from "../contenders/plain_sse.ts";
import { servePublished } from "../contenders/published.ts";
import { serveExpress, serveReality, serveVersion } from "../contenders/reality.ts";
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
const served = await (contenders[name] ?? others(name))(NODES);
process.stdin.on("end", () => process.exit()).resume();
let port = 0;
for (const hostname of hosts.split(",")) port = await open({ hostname, port });
const controls = await listen((request, response) => {
  void control(request.url!).then((answer) => response.end(JSON.stringify(answer)));
}, { hostname: "127.0.0.1", port: 0 });
console.log(`${port} ${controls}`);

/** A bare handler with additions, or this package from another folder: `in FOLDER`. */
function others(name: string): (nodes: number) => Served | Promise<Served> {
  if (name.startsWith("in ")) return (nodes) => serveVersion(name.slice(3), nodes);
  return (nodes) => serveBare(name, nodes);
}

/** Listens, and answers at which port. */
async function open(address: { hostname: string; port: number }): Promise<number> {
  const { fetch, listener = () => {}, attach } = served;
  if (Deno && fetch) {
    return Deno.serve({ ...address, onListen() {} }, async (request, host) => await fetch(request, host)).addr
      .port;
  }
  if (Bun && fetch) return Bun.serve({ ...address, idleTimeout: 255, fetch }).port;
  return await listen(listener, address, attach);
}

async function listen(
  listener: RequestListener,
  { hostname, port }: { hostname: string; port: number },
  attach?: Served["attach"],
): Promise<number> {
  const server = createServer(listener);
  attach?.(server);
  await new Promise<void>((resolve) => server.listen(port, hostname, resolve));
  return (server.address() as { port: number }).port;
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
