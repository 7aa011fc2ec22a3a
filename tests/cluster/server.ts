/**
 * One of the servers of a cluster, as a process: it prints the port at which it listens, then what it reports, and
 * ends by itself after SIGTERM.
 *
 * @module
 */
import process from "node:process";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import type { RedisOptions } from "../../src/options.ts";
import { RealityServer } from "../../src/server.ts";
import type { ServerStats } from "../../src/types.ts";
import { open, type Place } from "../races/engines.ts";
import { listenFetch } from "../runtimes/fetch.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

/** What a server is told, as JSON. */
export interface ServerOrder {
  readonly place: Place;
  readonly serverId: string;
  readonly meshPeers: readonly string[];
  readonly meshSecret?: string;
  readonly redis?: { readonly library: RedisLibrary; readonly url: string };
  readonly writeToken: string;
  /** How often it says what it holds, in milliseconds; left out, never. */
  readonly statsInterval?: number;
}

/** What a server says about itself. */
export interface ServerSample extends Pick<ServerStats, Counted> {
  /** Resident memory, and the heap's part of it, in bytes. */
  readonly rss: number;
  readonly heap: number;
  /** Processor time so far, in microseconds. */
  readonly processor: number;
}

type Counted = "waiters" | "streams" | "syncs" | "changes" | "storageReads" | "storageWrites";

/** A Redis client's name. */
export type RedisLibrary = "ioredis" | "node-redis";

/** What a server prints, a line of JSON each. */
export type ServerLine =
  | { readonly port: number }
  | { readonly report: string; readonly message: string }
  | { readonly sample: ServerSample };

/** How long one request to a peer may take, in milliseconds. */
const TIMEOUT = 1000;

const order = JSON.parse(process.argv[2] ?? "") as ServerOrder;
const { place, serverId, meshPeers, meshSecret, writeToken } = order;
const { storage, close } = await open(place);
const redis = order.redis && await connect(order.redis);
const server = new RealityServer({
  storage,
  serverId,
  meshPeers,
  meshSecret,
  mesh: { timeout: TIMEOUT },
  redis: redis?.options,
  writeTokens: [writeToken],
  onError: ({ code, message }) => print({ report: code, message }),
});
const listening = await listen();
process.once("SIGTERM", () => void end());
print({ port: Number(new URL(listening.origin).port) });
const { statsInterval } = order;
const sampling = statsInterval === undefined ? undefined : setInterval(() => void sample(), statsInterval);

/** With what each runtime has: on Node, the adapter. */
function listen(): Promise<Listening> {
  const hasOwn = "Deno" in globalThis || "Bun" in globalThis;
  return hasOwn ? listenFetch(createFetchHandler(server)) : listenNode(createNodeHandler(server));
}

async function sample(): Promise<void> {
  const { waiters, streams, syncs, changes, storageReads, storageWrites } = await server.getStats();
  const { rss, heapUsed: heap } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const processor = user + system;
  print({ sample: { rss, heap, processor, waiters, streams, syncs, changes, storageReads, storageWrites } });
}

async function end(): Promise<void> {
  clearInterval(sampling);
  await server.close();
  await listening.close();
  await redis?.end();
  await close();
}

/** Makes two clients, which connect when they can. */
async function connect(
  { library, url }: NonNullable<ServerOrder["redis"]>,
): Promise<{ options: RedisOptions; end(): Promise<void> }> {
  if (library === "ioredis") {
    const { connectRedis } = await import("../../adapters/ioredis.ts");
    const connection = await connectRedis(url);
    return { options: connection, end: () => connection.close() };
  }
  const { createClient } = await import("redis");
  const clients = [createClient({ url }), createClient({ url })] as const;
  for (const client of clients) {
    client.on("error", () => {});
    client.connect().catch(() => {});
  }
  return {
    options: { publisher: clients[0], subscriber: clients[1] },
    end() {
      for (const client of clients) if (client.isOpen) client.destroy();
      return Promise.resolve();
    },
  };
}

function print(line: ServerLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
