/**
 * This package with a `MemoryStorage`.
 *
 * @module
 */
import { createNodeHandler } from "../../adapters/node.ts";
import { createExpressAdapter, createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { HASH, keyOf } from "../workload.ts";
import type { Served } from "./served.ts";

/** Above all measured counts. */
const MANY = 200_000;
/** Longer than it takes until so many wait, in milliseconds. */
const LONG = 300_000;

/** Counts 1, 2, 3, as the other contenders do, so that all of them are asked about the same versions. */
export function createSequentialStorage(): MemoryStorage {
  return new MemoryStorage({ counter: "sequential" });
}

/** A server that keeps some nodes. */
export async function createReality(
  nodes: number,
  storage: MemoryStorage = createSequentialStorage(),
): Promise<{
  readonly server: RealityServer;
  /** Answers a body with a body: `handleSync` between the same two JSON calls as the limit's. */
  answer(body: string): Promise<string>;
  /** Answers a request with a response. Bun's server is handed over beside it. */
  fetch(request: Request, host?: unknown): Promise<Response>;
}> {
  for (let start = 0; start < nodes; start += 10_000) {
    const length = Math.min(10_000, nodes - start);
    const updatedAt = Date.now();
    await storage.applyChanges(
      Array.from({ length }, (_, i) => ({ key: keyOf(start + i), hash: HASH, updatedAt })),
    );
  }
  const server = new RealityServer({
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
    fetch: createFetchHandler(server),
  };
}

/** The package behind HTTP. */
export async function serveReality(nodes: number): Promise<Served> {
  const { server, fetch } = await createReality(nodes);
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
  app.use(createExpressAdapter(server));
  return {
    listener: app,
    change: (key) => server.updateNode(key, HASH),
    watch: async () => ({ waiting: (await server.getStats()).waiters, reads: 0 }),
  };
}
