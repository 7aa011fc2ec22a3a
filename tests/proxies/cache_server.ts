/**
 * A server on a PostgreSQL whose keys are all public, as a process behind a cache. It prints a line when it listens. Routes below
 * `/control` say what has reached it, change nodes and start a new epoch.
 *
 * @module
 */
import { createServer, type ServerResponse } from "node:http";
import process from "node:process";
import { createNodeHandler } from "../../adapters/node.ts";
import { RealityServer } from "../../src/server.ts";
import { openPostgres } from "../../storage/sql/postgres/postgres_storage.ts";

/** What the process is told, as JSON. */
export interface CacheServerOrder {
  /** The address of the PostgreSQL. */
  readonly database: string;
  readonly tableName: string;
  readonly port: number;
  /** The limit `maxWait`, in milliseconds. */
  readonly maxWait: number;
}

/** What has reached a server, and what it has used. */
export interface CacheServerUsage {
  /** How many syncs came by GET. */
  readonly gets: number;
  /** How many syncs came by POST. */
  readonly posts: number;
  /** How many of them wait. */
  readonly waiting: number;
  /** Processor time, in microseconds. */
  readonly processor: number;
}

const MANY = 1_000_000;
const { database, tableName, port, maxWait } = JSON.parse(process.argv[2] ?? "") as CacheServerOrder;
const storage = openPostgres(database, { tableName });
const server = new RealityServer({
  storage,
  public: () => true,
  trustProxy: ["127.0.0.1"],
  limits: { maxWait, maxWaiters: MANY, maxWaitersPerClient: MANY, maxWaitingBytes: MANY * 1_000 },
});
const handler = createNodeHandler(server);
let [gets, posts] = [0, 0];
await storage.getMaxVersion();
createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url!, "http://localhost");
  if (pathname === "/reality/sync") request.method === "GET" ? gets++ : posts++;
  if (!pathname.startsWith("/control/")) return handler(request, response);
  void control(pathname.slice(9), searchParams, response);
}).listen({ port, host: "127.0.0.1", backlog: 4096 }, () => console.log("listening"));

async function control(name: string, parameters: URLSearchParams, response: ServerResponse): Promise<void> {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(await answer(name, parameters) ?? null));
}

async function answer(name: string, parameters: URLSearchParams): Promise<unknown> {
  const prefix = parameters.get("prefix") ?? "";
  const keys = Array.from({ length: Number(parameters.get("count") ?? 1) }, (_, i) => `${prefix}${i}`);
  switch (name) {
    case "change":
      return await server.updateMany(keys.map((key) => ({ key, hash: parameters.get("hash") ?? "1" })));
    case "delete":
      return await server.deleteNode(parameters.get("key")!);
    case "epoch":
      return await storage.newEpoch();
    default: {
      const { user, system } = process.cpuUsage();
      const { waiters } = await server.getStats();
      return { gets, posts, waiting: waiters, processor: user + system } satisfies CacheServerUsage;
    }
  }
}
