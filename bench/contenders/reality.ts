/**
 * This package, as it stands, with a `MemoryStorage`.
 *
 * @module
 */
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { HASH, keyOf } from "../workload.ts";

/** A server that keeps some nodes. */
export async function createReality(nodes: number, storage: MemoryStorage = new MemoryStorage()): Promise<{
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
  const server = new RealityServer({ storage });
  return {
    server,
    answer: async (body) => JSON.stringify(await server.handleSync(JSON.parse(body))),
    fetch: createFetchHandler(server),
  };
}
