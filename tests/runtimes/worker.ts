/**
 * A worker that holds any number of servers, each of its own scene and under its own base path.
 *
 * @module
 */
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { createScene, operate, type Operation, type Scene, type SceneName } from "../http_scenes.ts";

/** What the starter asks beside what clients ask. */
export type WorkerOrder =
  | { open: SceneName; basePath: string }
  | { operation: Operation; basePath: string };

// Made while the worker starts, as an application would: no timer and no chance may be needed for that.
const early = createFetchHandler(new RealityServer({ storage: new MemoryStorage() }));
const scenes = new Map<string, { scene: Scene; handler: (request: Request) => Promise<Response> }>();

const worker: { fetch(request: Request): Promise<Response> } = {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/order") return Response.json(await obey(await request.json()) ?? null);
    const found = [...scenes].find(([basePath]) => pathname.startsWith(`${basePath}/`));
    return await (found?.[1].handler ?? early)(request);
  },
};

export default worker;

async function obey(order: WorkerOrder): Promise<unknown> {
  if ("open" in order) {
    const scene = createScene(order.open, order.basePath);
    scenes.set(order.basePath, { scene, handler: createFetchHandler(scene.server, scene.handler) });
    return;
  }
  const found = scenes.get(order.basePath);
  return found && await operate(found.scene, order.operation);
}
