/**
 * A whole server, storage included, as its settings say.
 *
 * @module
 */
import { describe, redactText } from "../src/redact.ts";
import { RealityServer } from "../src/server.ts";
import type { RealityStorage } from "../src/storage.ts";
import { MemoryStorage } from "../storage/memory.ts";
import type { Settings, StorageSetting } from "./environment.ts";
import type { RedisConnection } from "./ioredis.ts";

/** A server that owns its storage and its connections to Redis. */
export interface Standalone {
  /** The server. */
  readonly server: RealityServer;
  /** Answers everybody who waits, then closes server, storage and connections. */
  close(): Promise<void>;
}

/**
 * Opens the storage, connects to Redis if there is one, and makes the server.
 *
 * @param settings What the environment says.
 * @returns All of it, once the storage has answered. A Redis that is away is not waited for.
 * @throws {Error} When the storage cannot be opened, or the package for Redis is missing; names the variable.
 */
export async function openStandalone(settings: Settings): Promise<Standalone> {
  const { serverId, meshPeers, meshSecrets, writeTokens } = settings;
  const storage = await openStorage(settings.storage);
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
    redis,
    onError: (error) => console.error(error),
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

/** Loads a storage only when it is asked for: Node 20 has no SQLite, and PostgreSQL needs a package. */
async function openStorage(setting: StorageSetting): Promise<RealityStorage> {
  if (setting.kind === "memory") return new MemoryStorage();
  try {
    const storage = setting.kind === "sqlite"
      ? (await import("../storage/sqlite.ts")).openSQLite(setting.path)
      : (await import("../storage/postgres.ts")).openPostgres(setting.url);
    await storage.getMaxVersion();
    return storage;
  } catch (cause) {
    // A URL may hold a password.
    const name = setting.kind === "sqlite" ? `sqlite:${setting.path}` : "postgres:…";
    throw new Error(`Cannot use REALITY_STORAGE, ${name}: ${redactText(describe(cause))}`);
  }
}

/** Loads the package only when it is asked for. */
async function openRedis(url: string | undefined): Promise<RedisConnection | undefined> {
  if (url === undefined) return undefined;
  try {
    return await (await import("./ioredis.ts")).connectRedis(url);
  } catch (cause) {
    throw new Error(`Cannot use REDIS_URL, redis:…: ${redactText(describe(cause))}`);
  }
}
