/**
 * The package that is published on npm under our name, 1.2.2, with its own memory storage.
 *
 * @module
 */
import type { RequestHandler } from "express";
import type { RequestListener } from "node:http";
import { runtimeName } from "../report.ts";
import { HASH, keyOf } from "../workload.ts";
import { importPackage } from "./packages.ts";
import type { Served } from "./served.ts";

/** What each of its requests has to name beside the keys. */
export const PUBLISHED_FIELDS = {
  clientId: "6e9b8b4c-3f0e-4d5e-9a52-3d1c8a7f0b11",
  mode: "native",
  hint: "focus",
} as const;

const isNode = runtimeName === "node";

interface Deps {
  readonly events: { listenerCount(name: string): number; setMaxListeners(count: number): void };
}

interface PublishedServer {
  updateNode(key: string, hash: string): Promise<unknown>;
  getFetchHandler(): (request: Request) => Promise<Response>;
  getHandlerDeps(): Deps;
}

interface PublishedModule {
  readonly RealityServer: new (config: object) => PublishedServer;
  handleNodeUpdate(request: object, deps: Deps): Promise<unknown>;
  createExpressMiddleware(deps: Deps): RequestHandler;
}

/** A server that keeps some nodes. */
export async function createPublished(nodes: number): Promise<{
  /** Changes a node, as an application does. */
  update(key: string): Promise<unknown>;
  fetch(request: Request): Promise<Response>;
  serve(): Promise<Served>;
}> {
  const module = await importPackage<PublishedModule>("@rootlodge/reality-server");
  const server = new module.RealityServer({ serverId: "bench" });
  for (let i = 0; i < nodes; i++) await server.updateNode(keyOf(i), HASH);
  const fetch = server.getFetchHandler();
  const deps = server.getHandlerDeps();
  // Each waiting client is a listener. Without this, Node prints a warning.
  deps.events.setMaxListeners(0);
  return {
    update: (key) => server.updateNode(key, HASH),
    fetch,
    serve: async () => ({
      fetch,
      ...isNode && { listener: await listenerOf(module, deps) },
      // Only changes through a route wake waiting clients.
      change: (key) => module.handleNodeUpdate({ body: { key, hash: HASH } }, deps),
      watch: () => Promise.resolve({ waiting: deps.events.listenerCount("invalidation"), reads: 0 }),
    }),
  };
}

/** The package behind HTTP: behind Express on Node, for which it has a middleware. */
export async function servePublished(nodes: number): Promise<Served> {
  return await (await createPublished(nodes)).serve();
}

async function listenerOf(module: PublishedModule, deps: Deps): Promise<RequestListener> {
  const { default: express } = await import("express");
  return express().use(express.json({ limit: "1mb" })).use("/reality", module.createExpressMiddleware(deps));
}
