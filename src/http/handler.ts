/**
 * The desk: path, method, media type and shape in; every status code out.
 *
 * @module
 */
import type { WriteRequest } from "../access.ts";
import { ClosedError, RefusalError } from "../errors.ts";
import { kindOf } from "../node.ts";
import { checkNames, type Limits } from "../options.ts";
import { checkKeys, parseKeys, parseUpdates } from "../parse.ts";
import type { NodeUpdate, RealityNodeMeta, SSEOptions, SyncResponse } from "../types.ts";
import { checkLength } from "./body.ts";
import { Cors, type CorsOptions } from "./cors.ts";
import type { Desk, IncomingRequest, Reply } from "./exchange.ts";
import { emptyReply, errorReply, jsonReply, MethodRefusal } from "./reply.ts";
import { pathOf, queryOf } from "./target.ts";

/** How a handler is mounted. */
export interface HandlerOptions {
  /**
   * The path under which all routes hang, without a slash at its end; `""` for the root.
   *
   * @default {"/reality"}
   */
  basePath?: string | undefined;
  /**
   * Which pages of other origins may read the answers. Left out: none.
   *
   * @default {undefined}
   */
  cors?: CorsOptions | undefined;
}

/** Who asks: as much of the request as the rooms behind the desk need. */
export type RequestingClient = Pick<IncomingRequest, "getSignal" | "toRequest">;

/** What the desk asks of the server. */
export interface DeskRooms {
  readonly limits: Limits;
  /** Whether `close()` was called: then nothing new is taken on. */
  readonly isClosing: boolean;
  /** Answers a sync request of whatever shape, or refuses it. */
  sync(body: unknown, client: RequestingClient): Promise<SyncResponse>;
  /** Opens an event stream; the signal tells that the client is gone where a runtime does not cancel the stream. */
  events(
    options: SSEOptions,
    lastEventId: string | null,
    client: RequestingClient,
  ): ReadableStream<Uint8Array>;
  update(updates: readonly NodeUpdate[]): Promise<RealityNodeMeta[]>;
  invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]>;
  delete(key: string): Promise<void>;
  epoch(): Promise<string>;
  readonly access: {
    hasToken(request: WriteRequest): Promise<boolean>;
    ask(request: WriteRequest, keys: readonly string[]): Promise<void>;
  };
  /** Hears of what should not have happened. */
  report(error: unknown): void;
  random(): number;
}

interface Route {
  /** As the `Allow` header names them. */
  readonly methods: string;
  /** Whether it is answered also while the server closes, and after. */
  readonly whileClosing?: true;
  answer(request: IncomingRequest): Reply | Promise<Reply>;
}

/**
 * Makes the desk of one server for one mounting.
 *
 * @throws {TypeError} For an option that is unknown or wrong.
 */
export function createDesk(rooms: DeskRooms, options: HandlerOptions = {}): Desk {
  const given = checkNames("the handler", options, ["basePath", "cors"]);
  const basePath = checkBasePath(given.basePath);
  const cors = given.cors === undefined
    ? null
    : new Cors(given.cors as CorsOptions, (error) => rooms.report(error));
  const routes = createRoutes(rooms, basePath);
  const nodePrefix = `${basePath}/nodes/`;
  const deleteRoute = createDeleteRoute(rooms, nodePrefix);

  const answer = async (request: IncomingRequest): Promise<Reply> => {
    try {
      const path = pathOf(request.url);
      const route = routes.get(path) ?? (path.startsWith(nodePrefix) ? deleteRoute : undefined);
      if (route === undefined) {
        throw new RefusalError(
          "ERR_REALITY_NOT_FOUND",
          `Nothing is at this path: expected one under basePath "${basePath}", such as ${basePath}/sync`,
        );
      }
      if (route.methods !== request.method && !route.methods.split(", ").includes(request.method)) {
        throw new MethodRefusal(request.method, route.methods);
      }
      if (rooms.isClosing && !route.whileClosing) throw new ClosedError();
      const reply = await route.answer(request);
      return rooms.isClosing ? toLast(reply) : reply;
    } catch (error) {
      const reply = errorReply(error, rooms.random());
      // A client that went away is no failure, and nobody reads this reply.
      if (reply.status === 500 && !request.getSignal().aborted) rooms.report(error);
      return reply;
    }
  };
  if (cors === null) return answer;
  return async (request) => cors.preflight(request) ?? cors.extend(request, await answer(request));
}

function createRoutes(rooms: DeskRooms, basePath: string): ReadonlyMap<string, Route> {
  const { limits } = rooms;
  let openAPI: Reply | undefined;
  return new Map<string, Route>([
    [`${basePath}/sync`, {
      methods: "POST",
      // Not an async function: for as long as a client waits, its frame would be kept in memory.
      answer: (request) =>
        readJSON(request, limits).then((body) => rooms.sync(body, request)).then(jsonReply),
    }],
    [`${basePath}/events`, {
      methods: "GET",
      // An EventSource never comes back from a refusal, but does from a stream's end.
      whileClosing: true,
      answer(request) {
        const keys = checkKeys(queryOf(request.url).getAll("keys"), limits);
        if (keys.length === 0) {
          throw new RefusalError(
            "ERR_REALITY_BAD_REQUEST",
            'Cannot read "keys": expected one or more in the query',
          );
        }
        const lastEventId = request.header("last-event-id");
        return eventsReply(rooms.events({ keys }, lastEventId, request));
      },
    }],
    [`${basePath}/update`, {
      methods: "POST",
      answer: (request) =>
        write(rooms, request, async () => {
          const updates = parseUpdates(await readJSON(request, limits), limits);
          return { keys: updates.map((update) => update.key), run: () => rooms.update(updates) };
        }),
    }],
    [`${basePath}/invalidate`, {
      methods: "POST",
      answer: (request) =>
        write(rooms, request, async () => {
          const keys = parseKeys(await readJSON(request, limits), limits);
          return { keys, run: () => rooms.invalidate(keys) };
        }),
    }],
    [`${basePath}/health`, {
      methods: "GET, HEAD",
      whileClosing: true,
      answer: (request) => withoutBody(request, jsonReply({ status: "ok" })),
    }],
    [`${basePath}/openapi.json`, {
      methods: "GET, HEAD",
      whileClosing: true,
      async answer(request) {
        // Most servers are never asked for it.
        const { createOpenAPI } = await import("./openapi.ts");
        openAPI ??= jsonReply(createOpenAPI(basePath));
        return withoutBody(request, openAPI);
      },
    }],
  ]);
}

/** The reply as `HEAD` gets it, where it is `HEAD` that was asked. */
function withoutBody(request: IncomingRequest, reply: Reply): Reply {
  return request.method === "HEAD" ? { ...reply, body: null } : reply;
}

/** The reply as the last one of its connection: the client is to find another server. */
function toLast(reply: Reply): Reply {
  return { ...reply, headers: { ...reply.headers, connection: "close" } };
}

function createDeleteRoute(rooms: DeskRooms, prefix: string): Route {
  return {
    methods: "DELETE",
    async answer(request) {
      const allowed = await rooms.access.hasToken(request);
      const [key = ""] = checkKeys([decodeKey(pathOf(request.url).slice(prefix.length))], rooms.limits);
      if (!allowed) await rooms.access.ask(request, [key]);
      await rooms.delete(key);
      return emptyReply();
    },
  };
}

/** The reply that streams events: kept by no cache, held back by no proxy. */
export function eventsReply(body: ReadableStream<Uint8Array>): Reply {
  return {
    status: 200,
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    },
    body,
  };
}

/** A write: first who asks, then what is asked, then whether that may be; only then it is done. */
async function write(
  rooms: DeskRooms,
  request: IncomingRequest,
  parse: () => Promise<{ keys: readonly string[]; run: () => Promise<RealityNodeMeta[]> }>,
): Promise<Reply> {
  const allowed = await rooms.access.hasToken(request);
  const { keys, run } = await parse();
  if (!allowed) await rooms.access.ask(request, keys);
  const versions: Record<string, number> = Object.create(null);
  for (const meta of await run()) versions[meta.key] = meta.version;
  return jsonReply({ versions, epoch: await rooms.epoch() });
}

async function readJSON(request: IncomingRequest, limits: Limits): Promise<unknown> {
  const type = request.header("content-type");
  if (type === null || !/^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i.test(type)) {
    const found = type === null ? "none" : JSON.stringify(type.slice(0, 100));
    throw new RefusalError(
      "ERR_REALITY_MEDIA_TYPE",
      `Cannot read the body: expected application/json, got ${found}`,
    );
  }
  checkLength(request.header("content-length"), limits.maxBodyBytes);
  return await request.readJSON(limits.maxBodyBytes);
}

function checkBasePath(basePath: unknown): string {
  if (basePath === undefined) return "/reality";
  if (typeof basePath !== "string") {
    throw new TypeError(`Option "basePath" is wrong: expected a string, got ${kindOf(basePath)}`);
  }
  if (basePath !== "" && !/^(?:\/[\w.~!$&'()*+,;=:@-]+)+$/.test(basePath)) {
    throw new TypeError(`Option "basePath" is wrong: expected a path such as "/reality", got "${basePath}"`);
  }
  return basePath;
}

function decodeKey(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new RefusalError(
      "ERR_REALITY_BAD_REQUEST",
      "Cannot read the key in the path: its percent-encoding is broken",
    );
  }
}
