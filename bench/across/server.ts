/**
 * One of two servers, joined in one way: `node bench/across/server.ts "mesh"`. It says its port, is told the other's,
 * and then changes a node for each line that it reads, saying when it began by its own clock; `tick` asks what that
 * clock shows.
 *
 * @module
 */
import { createServer } from "node:http";
import process from "node:process";
import { createInterface } from "node:readline";
import { connectRedis } from "../../adapters/ioredis.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { LongPoll } from "../contenders/long_poll.ts";
import { HEAD, readText, type Served } from "../contenders/served.ts";
import { serveSocketIO } from "../contenders/socket_io.ts";
import { runtime } from "../report.ts";
import { HASH, keyOf } from "../workload.ts";
import type { Way } from "./pair.ts";

interface Host {
  Deno?: { serve(options: object, handler: NonNullable<Served["fetch"]>): { addr: { port: number } } };
  Bun?: { serve(options: object): { port: number } };
}

const KEY = keyOf(0);
/** As long as a message of the mesh. */
const MESSAGE = JSON.stringify({ key: KEY, gossip: "x".repeat(500) });
const redisURL = process.env.REALITY_BENCH_REDIS ?? "";

const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
const way = process.argv[2] as Way;
/** Where the other one listens; known once both do. */
let other = "";
let changes = 0;
let change: () => unknown = () => {};

const { Deno, Bun } = globalThis as Host;
let served: Served | undefined;
const address = { hostname: "127.0.0.1", port: 0 };
if (way === "socket.io and Redis") served = await serve();
say([await listen(), runtime]);
other = `http://127.0.0.1:${await read()}`;
served ??= await serve();
say("joined");
for (let line = await read(); line !== undefined; line = await read()) {
  say(now());
  if (line === "change") await change();
}
process.exit();

/** The server behind the adapter. */
async function serve(): Promise<Served> {
  switch (way) {
    case "bare POST":
    case "bare publish":
      return await serveBare();
    case "mesh":
      return serveReality({});
    case "mesh and Redis": {
      const { publisher, subscriber } = await connectRedis(redisURL);
      return serveReality({ redis: { publisher, subscriber } });
    }
    case "socket.io and Redis": {
      const served = await serveSocketIO(1, await connectRedis(redisURL));
      change = () => served.change(KEY);
      return served;
    }
  }
}

function serveReality(options: Partial<RealityServerOptions>): Served {
  const server = new RealityServer({
    storage: new MemoryStorage(),
    meshPeers: [`${other}/reality/sync`],
    meshSecret: "a secret of more than 32 characters, for the bench",
    ...options,
  });
  change = () => server.updateNode(KEY, `${HASH}${changes++}`);
  return {
    fetch: server.getFetchHandler(),
    listener: createNodeHandler(server),
    change,
    watch: () => Promise.resolve({ waiting: 0, reads: 0 }),
  };
}

/** Holds answers; a message from the other server, by POST or through Redis, gives them out. */
async function serveBare(): Promise<Served> {
  const poll = new LongPoll(1);
  let isMissed = false;
  const tell = () => {
    isMissed = poll.waiting === 0;
    poll.update(KEY);
  };
  if (way === "bare publish") {
    const { publisher, subscriber } = await connectRedis(redisURL);
    await subscriber.subscribe("bare");
    subscriber.on("message", tell);
    change = () => publisher.publish("bare", MESSAGE);
  } else {
    change = async () => {
      const init = { method: "POST", headers: { "content-type": "application/json" }, body: MESSAGE };
      await (await fetch(`${other}/tell`, init)).text();
    };
  }
  const take = (url: string, body: string, answer: (text: string) => void) => {
    if (url.endsWith("/tell")) {
      tell();
      return answer("{}");
    }
    poll.hold(body, answer);
    if (isMissed) tell();
  };
  return {
    async fetch(request) {
      const body = await request.text();
      return await new Promise((resolve) =>
        take(request.url, body, (text) => resolve(new Response(text, { headers: HEAD })))
      );
    },
    async listener(request, response) {
      take(request.url!, await readText(request), (text) => {
        response.writeHead(200, { ...HEAD, "content-length": text.length });
        response.end(text);
      });
    },
    change,
    watch: () => Promise.resolve({ waiting: 0, reads: 0 }),
  };
}

async function listen(): Promise<number> {
  const { attach } = served ?? {};
  // Deno passes as many arguments as a function has parameters.
  const fetch = (request: Request, host: unknown) => served!.fetch!(request, host);
  if (Deno && !attach) {
    return Deno.serve({ ...address, onListen() {} }, fetch).addr.port;
  }
  if (Bun && !attach) {
    return Bun.serve({ ...address, idleTimeout: 60, fetch }).port;
  }
  const server = createServer((request, response) => served!.listener?.(request, response));
  attach?.(server);
  await new Promise<void>((resolve) => server.listen(0, address.hostname, resolve));
  return (server.address() as { port: number }).port;
}

async function read(): Promise<string | undefined> {
  return (await lines.next()).value;
}

/** Milliseconds of the machine's monotonic clock, from a point that each runtime chooses for itself. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function say(answer: unknown): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
