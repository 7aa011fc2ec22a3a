/**
 * What the author of an adapter needs: the request and the reply of `RealityServer.getRequestHandler`, and the parts of
 * hosts that the server uses.
 *
 * ```ts
 * import type { IncomingRequest, Reply } from "@rootlodge/reality-server/adapter";
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const handler = server.getRequestHandler();
 * const original = new Request("http://localhost/reality/health");
 * const request: IncomingRequest = {
 *   method: original.method,
 *   url: original.url,
 *   header: (name) => original.headers.get(name),
 *   readJSON: () => original.json(),
 *   remoteAddress: () => null,
 *   getSignal: () => original.signal,
 *   toRequest: () => original,
 *   getContext: () => undefined,
 * };
 * const reply: Reply = await handler(request);
 * console.assert(reply.status === 200);
 * await server.close();
 * ```
 *
 * @module
 */
export type { AbortSignalLike } from "../src/abort_signal.ts";
export type { IncomingRequest, PulledBody, Reply, RequestHandler } from "../src/http/exchange.ts";
export type { ConnectedSocket, NodeRequest } from "../src/http/request_shape.ts";
export type { BodyBudget, BodyReservation } from "../src/limits/body_budget.ts";
export type { PendingResponse, ResponseBudget } from "../src/limits/pending_responses.ts";
export type { IORedisSubscriber, NodeRedisSubscriber, RedisListener } from "../src/redis/client.ts";
export type { NodeIncoming, NodeOutgoing } from "./node/types.ts";
