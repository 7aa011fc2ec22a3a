/**
 * Socketless real-time: clients say which versions they hold, the server says which of them are old.
 *
 * ```ts
 * import { createFetchHandler, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const handler = createFetchHandler(server); // mount it on POST /reality/sync, or give it every request
 *
 * await server.updateNode("chat:room:general", "abc123"); // tells everyone who follows the room
 * await server.close();
 * console.assert(typeof handler === "function");
 * ```
 *
 * @module
 */
export { createExpressAdapter, type ExpressHandler } from "./adapters/express.ts";
export { createFetchHandler } from "./adapters/fetch.ts";
export type { Clock } from "./src/clock.ts";
export {
  ClosedError,
  type ErrorCode,
  PeerError,
  type PeerFault,
  RealityError,
  RefusalError,
  type RefusalOptions,
  RelayError,
  StorageError,
} from "./src/errors.ts";
export { createHash } from "./src/hash.ts";
export type { CorsOptions } from "./src/http/cors.ts";
export type { FetchContext, FetchHandler, RequestContext } from "./src/http/fetch.ts";
export type { HandlerOptions } from "./src/http/handler.ts";
export type {
  AllowedKeys,
  Authorize,
  AuthorizeWrite,
  GroupFunction,
  GroupsOptions,
  HookInfo,
  MeshOptions,
  MetricsHook,
  RateLimitKey,
  RateLimitOptions,
  ReadingRights,
  RealityServerOptions,
  RedisOptions,
} from "./src/options.ts";
export type { RedisClient, RedisPublisher, RedisSubscriber } from "./src/redis/client.ts";
export { RealityServer } from "./src/server.ts";
export type { Limits } from "./src/server_limits.ts";
export type { EventSourceRequest } from "./src/sse/request.ts";
export type { StampVersions } from "./src/stamp/field.ts";
export type { StampRequest, StampSource } from "./src/stamp/request.ts";
export { joinStamps } from "./src/stamp/join.ts";
export type { Stamp } from "./src/stamp/stamp.ts";
export type { StampOptions } from "./src/stamp/stamps.ts";
export type { RealityStorage } from "./src/store/contract.ts";
export type {
  ChangeEvent,
  ClosingEvent,
  EventTime,
  PeerStateEvent,
  RealityEvent,
  RedisStateEvent,
  RefusalEvent,
  RequestEvent,
  RouteName,
  StorageStateEvent,
  StreamEvent,
  StreamReason,
  SyncEvent,
  WaitOutcome,
} from "./src/telemetry/events.ts";
export type {
  GroupDetail,
  KeyRefusal,
  MeshInfo,
  MeshPeerStats,
  MeshStats,
  NodeUpdate,
  OutboxQuery,
  PeerHealth,
  PeerState,
  RealityNodeMeta,
  RedisStats,
  ServerStats,
  SSEOptions,
  SyncRequest,
  SyncResponse,
  UpdateOptions,
} from "./src/types.ts";
export { createDrizzleAdapter, type DrizzleAdapterOptions } from "./storage/drizzle.ts";
export { DynamoDBStorage, type DynamoDBStorageOptions } from "./storage/dynamodb/dynamodb_storage.ts";
export { MemoryStorage, type MemoryStorageOptions } from "./storage/memory/memory_storage.ts";
export type { CounterKind, StorageOptions } from "./storage/options.ts";
export { createPrismaAdapter, type PrismaAdapterOptions } from "./storage/prisma.ts";
export { type SQLDialectName, SQLStorage, type SQLStorageOptions } from "./storage/sql/sql_storage.ts";
