/**
 * The servers of the HTTP kit, and the operations that a test runs on them directly. Runs in
 * the process of the adapter.
 *
 * @module
 */
import {
  type Authorize,
  type Clock,
  type HandlerOptions,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
  RefusalError,
  type ServerStats,
} from "../../mod.ts";

/** The names of the servers. */
export type SceneName =
  | "plain"
  | "closed"
  | "hook"
  | "readers"
  | "small"
  | "full"
  | "cors"
  | "everyOrigin"
  | "asked"
  | "cached"
  | "cachedCors"
  | "elsewhere"
  | "broken"
  | "limited"
  | "impatient"
  | "crowded"
  | "shared"
  | "unwell"
  | "fast";

/** The options of a scene. */
interface SceneOptions {
  server?: Partial<RealityServerOptions>;
  handler?: HandlerOptions;
}

/** Two tokens that open the write routes of most scenes. */
export const TOKENS: readonly string[] = ["kit-token-of-today-01", "kit-token-of-tomorrow"];

/** The limits of the scene `small`. */
export const SMALL = {
  maxBodyBytes: 2_000,
  maxKeys: 3,
  maxKeyBytes: 16,
  maxHashBytes: 8,
  maxWait: 40,
} as const;

/** The limits of the scene `shared`: a client may hold 6,000 bytes. */
export const SHARES = {
  maxWaiters: 8,
  maxWaitersPerClient: 2,
  maxWaitersPerConnection: 1,
  maxWaitingBytes: 24_000,
} as const;

/** How often a client may ask in the scene `limited`. */
export const RATE = { limit: 3, window: 3_600_000 } as const;

/** Pages of this origin may read in the scenes with CORS. */
export const ORIGIN = "https://app.example";

class BrokenStorage extends MemoryStorage {
  override readNodes(): Promise<never> {
    return Promise.reject(new Error("password=secret"));
  }
}

class UnwellStorage extends MemoryStorage {
  override isHealthy(): Promise<boolean> {
    return Promise.resolve(false);
  }
}

/** The options of the scenes whose answers caches may keep. */
const CACHED: Partial<RealityServerOptions> = {
  public(key) {
    if (key.startsWith("broken:")) throw new Error("password=secret");
    if (key.startsWith("promised:")) return Promise.resolve(true) as unknown as boolean;
    return !key.startsWith("private:");
  },
  authorize: () => {
    throw new RefusalError("ERR_REALITY_UNAUTHORIZED", "Cannot read: no client may");
  },
};

const scenes: Record<SceneName, SceneOptions> = {
  /** Default options, with write tokens. */
  plain: { server: { writeTokens: TOKENS } },
  /** No write access, and no metrics. */
  closed: { handler: { metrics: false } },
  /** The application decides about writes without a token, and about the metrics. */
  hook: {
    server: {
      writeTokens: TOKENS,
      authorizeWrite: (request, keys, { context }) => {
        if (nameHost(context) === "none") return false;
        if (request.headers.get("x-user") === "broken") throw new Error("password=secret");
        return request.headers.get("x-user") === "writer" && new URL(request.url).pathname !== "/" &&
          keys.every((key) => key.startsWith(`${request.method}:`));
      },
      rateLimit: {
        ...RATE,
        key: (_request, { context }) => nameHost(context) === "none" ? "nobody" : null,
      },
    },
    handler: {
      metrics: (request, { context }) =>
        request.headers.get("x-user") === "scraper" && nameHost(context) !== "none",
    },
  },
  /** The application decides which keys a client may read: see {@linkcode createReaders}. */
  readers: { server: { writeTokens: TOKENS } },
  /** Limits so low that a test can exceed them. */
  small: { server: { writeTokens: TOKENS, limits: SMALL } },
  /** Room for one waiter. */
  full: { server: { limits: { maxWaiters: 1 } } },
  /** Pages of one other origin may read, with credentials. */
  cors: {
    server: { writeTokens: TOKENS },
    handler: {
      cors: {
        origin: [ORIGIN],
        credentials: true,
        maxAge: 60,
        allowHeaders: ["X-API-Key"],
        exposeHeaders: ["x-request-id"],
      },
    },
  },
  /** Pages of every origin may read. */
  everyOrigin: { handler: { cors: { origin: "*" } } },
  /** A function says which pages of other origins may read, without credentials. */
  asked: {
    server: { writeTokens: TOKENS },
    // It throws for origins that are no URL, such as the "null" of a page from a file.
    handler: { cors: { origin: (origin) => new URL(origin).hostname.endsWith(".friend.example") } },
  },
  /** Keys that caches may keep. No other one may be read: `authorize` refuses every client. */
  cached: {
    server: {
      writeTokens: TOKENS,
      ...CACHED,
      limits: { maxKeys: 20 },
      rateLimit: { ...RATE, limit: 1_000, key: () => "one client" },
    },
  },
  /** The same for pages of every origin, mounted elsewhere. */
  cachedCors: { server: CACHED, handler: { basePath: "/api/live", cors: { origin: "*" } } },
  /** Mounted elsewhere. */
  elsewhere: { server: { writeTokens: TOKENS }, handler: { basePath: "/api/v1/live" } },
  /** The storage says that it is not well. */
  unwell: { server: { storage: new UnwellStorage() } },
  /** The storage fails. */
  broken: { server: { storage: new BrokenStorage() } },
  /** Time runs a thousand times as fast. */
  fast: { server: { clock: fastClock() } },
  /** Few requests for each address, with a trusted proxy on this machine. */
  limited: { server: { rateLimit: RATE, trustProxy: ["127.0.0.0/8", "::1"] } },
  /** Short time limits for slow clients. */
  impatient: { server: { limits: { bodyTimeout: 100, stallTimeout: 200 } } },
  /** Room to wait for several clients, each of which has a share; a proxy on this machine says who they are. */
  shared: { server: { limits: SHARES, trustProxy: ["127.0.0.0/8", "::1"] } },
  /** Room for one request and one stream. */
  crowded: { server: { limits: { maxRequests: 1, maxStreams: 1 } } },
};

/** One server of a scene. */
export interface Scene {
  readonly server: RealityServer;
  readonly handler: HandlerOptions;
  /** The codes of the errors that `onError` got. */
  readonly reports: string[];
  /** Who may read, in the scene `readers`. */
  readonly readers: Readers;
}

/** A request as `authorize` was shown it. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly keys: readonly string[];
  /** What the host handed over: its name, and the user that it knows of, if any. */
  readonly host: string;
}

/** The `authorize` hook, which records its arguments. */
interface Readers {
  readonly authorize: Authorize;
  readonly asked: Asked[];
  /** Keys whose read rights are revoked. */
  readonly revoked: Set<string>;
}

/** What a test does to a server directly. */
export type Operation =
  | { do: "update"; key: string; hash: string }
  | { do: "update again and again"; keys: string[]; hash: string; rounds: number }
  | { do: "delete"; key: string }
  | { do: "stats" }
  | { do: "reports" }
  | { do: "asked" }
  | { do: "revoke"; key: string }
  | { do: "grant"; key: string }
  | { do: "close" };

/**
 * Makes the server of a scene.
 *
 * @param name Which one.
 * @param basePath Where to mount it instead of where the scene says.
 * @param options What the server is made with where the scene does not say otherwise.
 */
export function createScene(
  name: SceneName,
  basePath?: string,
  options: Partial<RealityServerOptions> = {},
): Scene {
  const { server = {}, handler = {} } = scenes[name];
  const reports: string[] = [];
  const readers = createReaders();
  return {
    server: new RealityServer({
      storage: new MemoryStorage(),
      onError: (error) => reports.push(error.code),
      ...options,
      ...(name === "readers" ? { authorize: readers.authorize } : {}),
      ...server,
    }),
    handler: basePath === undefined ? handler : { ...handler, basePath },
    reports,
    readers,
  };
}

/** A user, named by `X-User`, reads the keys that begin with that name, until the moment that `X-Expires-At` says. */
function createReaders(): Readers {
  const asked: Asked[] = [];
  const revoked = new Set<string>();
  return {
    asked,
    revoked,
    authorize(request, keys, { context }) {
      const { method, url, headers } = request;
      if (headers.get("x-user") === "stranger") {
        throw new RefusalError("ERR_REALITY_UNAUTHORIZED", "Cannot read: you are unknown");
      }
      if (headers.get("x-user") === "banned") throw new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot read");
      asked.push({ method, url, headers: Object.fromEntries(headers), keys, host: nameHost(context) });
      const user = headers.get("x-user");
      if (user === null) return false;
      if (user === "broken") throw new Error("password=secret");
      const allowed = keys.filter((key) => key.startsWith(`${user}:`) && !revoked.has(key));
      const expiresAt = headers.get("x-expires-at");
      return expiresAt === null ? allowed : { keys: allowed, expiresAt: Number(expiresAt) };
    },
  };
}

/** Names the host that a hook's context is of, and the user that a middleware in front has found. */
function nameHost(context: unknown): string {
  if (typeof context !== "object" || context === null) return "none";
  const host = context as Record<string, unknown> & { readonly user?: unknown };
  if ("ctx" in host) return host.env === undefined ? "none" : "fetch";
  const get = host.get as ((name: string) => unknown) | undefined;
  if ("req" in host && "env" in host) return `Hono, ${get?.call(host, "user")}`;
  if ("raw" in host && "routeOptions" in host) return `Fastify, ${host.user}`;
  if ("originalUrl" in host && get !== undefined) return `Express, ${host.user}`;
  return "httpVersion" in host ? "node:http" : "none";
}

/** Does something to the server of a scene. */
export async function operate(
  scene: Scene,
  operation: Operation,
): Promise<ServerStats | string[] | Asked[] | null> {
  const { server, reports, readers } = scene;
  switch (operation.do) {
    case "update":
      await server.updateNode(operation.key, operation.hash);
      return null;
    case "update again and again":
      for (let round = 0; round < operation.rounds; round++) {
        await server.updateMany(operation.keys.map((key) => ({ key, hash: operation.hash })));
        // Let the streams run.
        await new Promise((resolve) => setTimeout(resolve));
      }
      return null;
    case "delete":
      await server.deleteNode(operation.key);
      return null;
    case "stats":
      return await server.getStats();
    case "reports":
      return reports;
    case "asked":
      return readers.asked;
    case "revoke":
      readers.revoked.add(operation.key);
      return null;
    case "grant":
      readers.revoked.delete(operation.key);
      scene.server.recheck([operation.key]);
      return null;
    case "close":
      await server.close();
      return null;
  }
}

function fastClock(): Clock {
  const speed = 1000;
  return {
    now: () => Date.now() * speed,
    elapsed: () => performance.now() * speed,
    after(ms, callback) {
      const timer = setTimeout(callback, ms / speed);
      return () => clearTimeout(timer);
    },
    random: () => 0.5,
  };
}
