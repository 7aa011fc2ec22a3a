/**
 * A standalone server: a server with its storage and its Redis connections, made from settings.
 *
 * @module
 */
import type { Authorize } from "../src/options.ts";
import { describe, redactText } from "../src/redact.ts";
import { RealityServer } from "../src/server.ts";
import type { RealityStorage } from "../src/store/contract.ts";
import { MemoryStorage } from "../storage/memory/memory_storage.ts";
import type { ReaderSetting, Settings } from "./environment/settings.ts";
import type { RedisConnection } from "../adapters/ioredis.ts";
import type { Log } from "./log.ts";
import { loadWith } from "./optional_package.ts";

/** A server that owns its storage and its connections to Redis. */
export interface Standalone {
  /** The server. */
  readonly server: RealityServer;
  /** Answers waiting requests, then closes the server, the storage and the connections. */
  close(): Promise<void>;
}

/**
 * Opens the storage, connects to Redis if it is set, and creates the server.
 *
 * @param settings The settings from the environment.
 * @param log Gets failures.
 * @returns The server, once the storage has answered. Does not wait for a Redis that is unreachable.
 * @throws {Error} If the storage cannot be opened or a package is missing. The message names the variable, and the
 *   command that installs the package.
 */
export async function openStandalone(settings: Settings, log: Log): Promise<Standalone> {
  const { serverId, meshPeers, meshSecrets, writeTokens, limits, rateLimit, trustProxy } = settings;
  const authorize = await openReaders(settings.readers);
  const storage = await openStorage(settings, log);
  const redis = await openRedis(settings.redis).catch(async (error) => {
    await storage.close?.();
    throw error;
  });
  const server = new RealityServer({
    storage,
    serverId,
    meshPeers,
    meshSecret: meshSecrets.length > 0 ? meshSecrets : undefined,
    writeTokens,
    authorize,
    limits,
    rateLimit,
    trustProxy,
    redis,
    onError: log.onError,
    onEvent: log.onEvent,
  });
  return {
    server,
    async close() {
      await server.close();
      await storage.close?.();
      await redis?.close();
    },
  };
}

/** Opens the storage. Each storage is imported only when it is used: Node 20 has no SQLite, PostgreSQL needs a package. */
async function openStorage(
  { storage: setting, outbox: tableName }: Settings,
  log: Log,
): Promise<RealityStorage> {
  if (setting.kind === "memory") return new MemoryStorage();
  const outbox = tableName === undefined ? {} : { outbox: { tableName } };
  try {
    const storage = setting.kind === "sqlite"
      ? (await import("../storage/sql/sqlite/sqlite_storage.ts")).openSQLite(setting.path, outbox)
      : (await loadWith("postgres", () => import("../storage/sql/postgres/postgres_storage.ts")))
        .openPostgres(setting.url, {
          ...outbox,
          onWarning: (message) => log.write("warn", message),
        });
    await storage.getMaxVersion();
    return storage;
  } catch (cause) {
    // A URL may contain a password.
    const name = setting.kind === "sqlite" ? `sqlite:${setting.path}` : "postgres:…";
    throw new Error(`Cannot use REALITY_STORAGE, ${name}: ${redactText(describe(cause))}`);
  }
}

async function openRedis(url: string | undefined): Promise<RedisConnection | undefined> {
  if (url === undefined) return undefined;
  try {
    return await (await loadWith("ioredis", () => import("../adapters/ioredis.ts"))).connectRedis(url);
  } catch (cause) {
    throw new Error(`Cannot use REDIS_URL, redis:…: ${redactText(describe(cause))}`);
  }
}

async function openReaders(setting: ReaderSetting): Promise<Authorize | undefined> {
  if (setting.kind === "everybody") return undefined;
  if (setting.kind === "url") return (await import("./authorize_url.ts")).authorizeByURL(setting);
  const { secrets, jwksURL, issuer, audience, cookie } = setting;
  const key = jwksURL === undefined ? { secret: secrets } : { jwksURL };
  try {
    return (await loadWith("jose", () => import("../adapters/jwt.ts"))).jwtAuthorize({
      ...key,
      issuer,
      audience,
      cookie,
    });
  } catch (cause) {
    const name = jwksURL === undefined ? "REALITY_JWT_SECRET" : "REALITY_JWKS_URL";
    throw new Error(`Cannot use ${name}: ${redactText(describe(cause))}`);
  }
}
