/**
 * An application with a Reality server, as a process behind a proxy: it keeps a count for each key in PostgreSQL and
 * stamps its answers. It prints a line when it listens, and ends by itself after SIGTERM.
 *
 * @module
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import process from "node:process";
import postgres from "postgres";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { RealityServer } from "../../src/server.ts";
import type { Stamp } from "../../src/stamp/stamp.ts";
import { openPostgres } from "../../storage/sql/postgres/postgres_storage.ts";

/** What the process is told, as JSON. */
export interface ApplicationOrder {
  /** The address of the PostgreSQL. */
  readonly database: string;
  /** The table of the nodes. The counts are in the table of this name with `_counts` at its end. */
  readonly tableName: string;
  readonly port: number;
}

/** As much of Deno as is used here. */
interface DenoRuntime {
  serve(
    options: { port: number; hostname: string; onListen(): void },
    handler: (request: Request) => Promise<Response>,
  ): { shutdown(): Promise<void> };
}

const { database, tableName, port } = JSON.parse(process.argv[2] ?? "") as ApplicationOrder;
const hostname = "127.0.0.1";
const counts = `${tableName}_counts`;
const sql = postgres(database, { max: 4, max_lifetime: null, fetch_types: false });
const storage = openPostgres(database, { tableName });
const server = new RealityServer({ storage });
await storage.getMaxVersion();
const stopListening = await listen();
process.once("SIGTERM", () => void end());
console.log("listening");

/** Listens with what the runtime has for it. Returns a function that stops it once all requests are answered. */
async function listen(): Promise<() => Promise<void>> {
  const { Deno } = globalThis as { Deno?: DenoRuntime };
  if (Deno) {
    const listener = Deno.serve({ port, hostname, onListen() {} }, createWebHandler());
    return () => listener.shutdown();
  }
  const listener = createServer(createNodeListener());
  await new Promise<void>((resolve) => listener.listen(port, hostname, resolve));
  return async () => {
    const closed = new Promise((resolve) => listener.close(resolve));
    const timer = setInterval(() => listener.closeIdleConnections(), 20);
    await closed;
    clearInterval(timer);
  };
}

function createWebHandler(): (request: Request) => Promise<Response> {
  const reality = createFetchHandler(server);
  return async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== "/api/count") return await reality(request);
    const key = searchParams.get("key")!;
    try {
      if (request.method === "POST") return Response.json(await increment(key));
      const stamp = await server.stamp([key], { request });
      return stamp.isFresh(request) ? stamp.notModified() : stamp.json(await read(key));
    } catch (error) {
      return new Response(String(error), { status: 503 });
    }
  };
}

function createNodeListener(): (request: IncomingMessage, response: ServerResponse) => void {
  const reality = createNodeHandler(server);
  return (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, "http://localhost");
    if (pathname !== "/api/count") return reality(request, response);
    const send = (value: number, stamp?: Stamp) => {
      response.writeHead(200, { ...stamp?.headers, "content-type": "application/json" });
      response.end(JSON.stringify(value));
    };
    const answer = async (key: string) => {
      if (request.method === "POST") return send(await increment(key));
      const stamp = await server.stamp([key], { request });
      if (stamp.isFresh(request)) response.writeHead(304, stamp.headers).end();
      else send(await read(key), stamp);
    };
    answer(searchParams.get("key")!).catch((error) => response.writeHead(503).end(String(error)));
  };
}

async function read(key: string): Promise<number> {
  const [row] = await sql`SELECT count FROM ${sql(counts)} WHERE key = ${key}`;
  return Number(row?.count ?? 0);
}

/** Stores the change, then tells of it. A client that gets no answer has to repeat it, since only the first may have happened. */
async function increment(key: string): Promise<number> {
  const [row] = await sql`
    INSERT INTO ${sql(counts)} AS c (key, count) VALUES (${key}, 1)
    ON CONFLICT (key) DO UPDATE SET count = c.count + 1 RETURNING count`;
  await server.invalidate(key);
  return Number(row!.count);
}

async function end(): Promise<void> {
  const stopped = stopListening();
  await server.close();
  await stopped;
  await storage.close();
  await sql.end();
}
