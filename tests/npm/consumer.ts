/**
 * What a TypeScript user of the npm package writes; compiled against its declarations, never run.
 *
 * @module
 */

import type { IncomingRequest, Reply, RequestHandler } from "@rootlodge/reality-server/adapter";
import type { Dot, MeshStorage, VersionVector } from "@rootlodge/reality-server/storage";
import {
  type RealityNodeMeta,
  RealityServer,
  type RealityServerOptions,
  type RealityStorage,
  type ServerStats,
  type SSEOptions,
  type SyncRequest,
  type SyncResponse,
} from "@rootlodge/reality-server";

/** A storage of the user's own, with the eight methods of the contract and no more. */
class OwnStorage implements RealityStorage {
  readonly #nodes = new Map<string, RealityNodeMeta>();
  #counter = 0;
  getNode(key: string): Promise<RealityNodeMeta | null> {
    return Promise.resolve(this.#nodes.get(key) ?? null);
  }
  setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    this.#nodes.set(key, meta);
    return Promise.resolve();
  }
  incrementVersion(_key: string): Promise<number> {
    return Promise.resolve(++this.#counter);
  }
  listChangedSince(version: number): Promise<RealityNodeMeta[]> {
    return Promise.resolve([...this.#nodes.values()].filter((node) => node.version > version));
  }
  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>> {
    return Promise.resolve(new Map(keys.flatMap((key) => [...this.#nodes].filter(([name]) => name === key))));
  }
  getMaxVersion(): Promise<number> {
    return Promise.resolve(this.#counter);
  }
  deleteNode(key: string): Promise<void> {
    this.#nodes.delete(key);
    return Promise.resolve();
  }
  isHealthy(): Promise<boolean> {
    return Promise.resolve(true);
  }
}

const options: RealityServerOptions = {
  storage: new OwnStorage(),
  serverId: "server-1",
  meshPeers: [],
  onError: (error: Error) => console.error(error.message),
};
const server: RealityServer = new RealityServer(options);

export const request: SyncRequest = { known: { "chat:room:general": 5 } };
export const response: SyncResponse = await server.handleSync(request);
export const node: RealityNodeMeta | null = await server.getNode("chat:room:general");
export const peers: string[] = await server.getMeshPeers();
export const stats: ServerStats = await server.getStats();
export const sse: SSEOptions = { keys: ["notifications:all"], heartbeatInterval: 30_000 };
export const stream: Response = await server.handleSSECompat(new Request("http://localhost/events"), sse);

/** What the author of an adapter writes. */
export function answer(handler: RequestHandler, request: IncomingRequest): Promise<Reply> {
  return handler(request);
}

/** What the author of a storage writes. */
export const vector: VersionVector = new Map([["a", 1]]);
export const dot: Dot = { replicaId: "a", version: 1 };
export const methods: readonly (keyof MeshStorage)[] = ["readNodes"];
