/**
 * A whole server, storage included, as its settings say.
 *
 * @module
 */
import { RealityServer } from "../src/server.ts";
import type { RealityStorage } from "../src/storage.ts";
import { MemoryStorage } from "../storage/memory.ts";
import type { Settings } from "./environment.ts";

/** A server that owns its storage. */
export interface Standalone {
  /** The server. */
  readonly server: RealityServer;
  /** Answers everybody who waits, then closes server and storage. */
  close(): Promise<void>;
}

/**
 * Opens the storage and makes the server.
 *
 * @param settings What the environment says.
 * @returns Both, once the storage has answered.
 * @throws {Error} When the storage cannot be opened; names the variable.
 */
export async function openStandalone(settings: Settings): Promise<Standalone> {
  const { serverId, writeTokens } = settings;
  const storage = await openStorage(settings.path);
  const server = new RealityServer({
    storage,
    serverId,
    writeTokens,
    onError: (error) => console.error(error),
  });
  return {
    server,
    async close() {
      await server.close();
      await storage.close?.();
    },
  };
}

async function openStorage(path: string | null): Promise<RealityStorage> {
  if (path === null) return new MemoryStorage();
  try {
    // Loaded only here: Node 20, which has no SQLite of its own, can still keep nodes in memory.
    const { openSQLite } = await import("../storage/sqlite.ts");
    const storage = openSQLite(path);
    await storage.getMaxVersion();
    return storage;
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot use REALITY_STORAGE, sqlite:${path}: ${found}`, { cause });
  }
}
