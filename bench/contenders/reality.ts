/**
 * This package with a `MemoryStorage`.
 *
 * @module
 */
import { createNodeHandler as createOwnNodeHandler } from "../../adapters/node.ts";
import * as own from "../../mod.ts";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HASH, keyOf } from "../workload.ts";
import type { Served } from "./served.ts";

/** The parts of one version of the package. */
type Parts = Pick<typeof own, "MemoryStorage" | "RealityServer" | "createFetchHandler">;

/** Above all measured counts. */
const MANY = 200_000;
/** Longer than it takes until so many wait, in milliseconds. */
const LONG = 300_000;

/** Counts 1, 2, 3, as the other contenders do, so that all of them are asked about the same versions. */
export function createSequentialStorage(parts: Parts = own): own.MemoryStorage {
  return new parts.MemoryStorage({ counter: "sequential" });
}

/** A server that keeps some nodes. */
export async function createReality(
  nodes: number,
  given?: own.MemoryStorage,
  parts: Parts = own,
): Promise<{
  readonly server: own.RealityServer;
  /** Answers a body with a body: `handleSync` between the same two JSON calls as the limit's. */
  answer(body: string): Promise<string>;
  /** Answers a request with a response. Bun's server is handed over beside it. */
  fetch(request: Request, host?: unknown): Promise<Response>;
}> {
  const storage = given ?? createSequentialStorage(parts);
  for (let start = 0; start < nodes; start += 10_000) {
    const length = Math.min(10_000, nodes - start);
    const updatedAt = Date.now();
    await storage.applyChanges(
      Array.from({ length }, (_, i) => ({ key: keyOf(start + i), hash: HASH, updatedAt })),
    );
  }
  const server = new parts.RealityServer({
    storage,
    limits: {
      ...{ maxWaiters: MANY, maxStreams: MANY, maxWait: LONG },
      // The default limits per client, for each of them.
      ...{ maxRequests: MANY, maxReadingBytes: MANY * 6_710 },
    },
  });
  return {
    server,
    answer: async (body) => JSON.stringify(await server.handleSync(JSON.parse(body))),
    fetch: parts.createFetchHandler(server),
  };
}

/** The package behind HTTP. */
export async function serveReality(nodes: number): Promise<Served> {
  return serveServer(await createReality(nodes), createOwnNodeHandler);
}

/**
 * Another version of the package behind HTTP.
 *
 * @param folder Its files.
 * @param nodes How many nodes it keeps.
 */
export async function serveVersion(folder: string, nodes: number): Promise<Served> {
  const { exports } = JSON.parse(readFileSync(join(folder, "deno.json"), "utf8"));
  const load = (entry: string) => import(pathToFileURL(resolve(folder, exports[entry])).href);
  const [parts, { createNodeHandler }] = await Promise.all([load("."), load("./node")]);
  return serveServer(await createReality(nodes, undefined, parts), createNodeHandler);
}

function serveServer(
  { server, fetch }: Awaited<ReturnType<typeof createReality>>,
  createNodeHandler: typeof createOwnNodeHandler,
): Served {
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

/** The package behind Express. */
export async function serveExpress(nodes: number): Promise<Served> {
  const { default: express } = await import("express");
  const { server } = await createReality(nodes);
  const app = express();
  app.use(own.createExpressAdapter(server));
  return {
    listener: app,
    change: (key) => server.updateNode(key, HASH),
    watch: async () => ({ waiting: (await server.getStats()).waiters, reads: 0 }),
  };
}
