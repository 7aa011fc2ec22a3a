/**
 * Routes requests: checks path, method, media type and shape, and chooses the status of every reply.
 *
 * @module
 */
import type { WriteRequest } from "../access.ts";
import type { BodyBudget } from "../limits/body_budget.ts";
import type { ClientLimit, Locatable } from "../limits/client_limit.ts";
import type { ConcurrencyLimit } from "../limits/concurrency.ts";
import { ClosedError, RealityError, RefusalError } from "../errors.ts";
import type { Hooks } from "../hooks.ts";
import type { RouteName } from "../telemetry/metrics.ts";
import { kindOf } from "../store/node.ts";
import type { Quota } from "../limits/rate_limit.ts";
import { checkNames, type HookInfo, type Limits } from "../options.ts";
import { checkKeys, parseKeys, parseUpdates } from "../parse.ts";
import type { ReadyState } from "../readiness.ts";
import type { NodeUpdate, RealityNodeMeta, SSEOptions, SyncResponse } from "../types.ts";
import { RequestRecord } from "../telemetry/request_record.ts";
import { Cors, type CorsOptions } from "./cors.ts";
import type { IncomingRequest, Reply, RequestHandler, ResponseBudget } from "./exchange.ts";
import { METRICS_HEADERS, type MetricsView, renderMetrics } from "../telemetry/prometheus.ts";
import { emptyReply, errorReply, jsonReply, MethodRefusal, RateRefusal } from "./reply.ts";
import { pathOf, queryOf } from "./target.ts";

/** How a handler is mounted. */
export interface HandlerOptions {
  /**
   * The path that all routes start with, without a trailing slash; `""` for the root.
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
  /**
   * Whether `GET {basePath}/metrics` exists, or a function that decides which requests may read it. The metrics
   * contain no keys, URLs or server names.
   *
   * @default {true}
   */
  metrics?: boolean | MetricsHook | undefined;
}

/** Decides whether a request may read the metrics of the server. */
export type MetricsHook<Context = unknown> = {
  metrics(request: Request, info: HookInfo<Context>): boolean | Promise<boolean>;
}["metrics"];

/** Who asks: as much of the request as the rooms behind the desk need. */
export type RequestSource =
  & Pick<IncomingRequest, "getSignal" | "toRequest" | "getContext">
  & Locatable;

/** What the desk asks of the server. */
export interface HandlerDeps {
  readonly limits: Limits;
  /** Whether `close()` was called: then nothing new is taken on. */
  readonly isClosing: boolean;
  /** Answers a sync request of whatever shape, or refuses it. */
  sync(body: unknown, client: RequestSource, record: RequestRecord): SyncResponse | Promise<SyncResponse>;
  /** Opens an event stream; the signal tells that the client is gone where a runtime does not cancel the stream. */
  events(
    options: SSEOptions,
    lastEventId: string | null,
    client: RequestSource,
    record: RequestRecord,
  ): ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>>;
  update(updates: readonly NodeUpdate[]): Promise<RealityNodeMeta[]>;
  invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]>;
  delete(key: string): Promise<void>;
  epoch(): Promise<string>;
  readonly access: {
    hasToken(request: WriteRequest): Promise<boolean>;
    ask(request: WriteRequest, keys: readonly string[]): Promise<void>;
  };
  readonly concurrency: Pick<ConcurrencyLimit, "enter" | "leave">;
  readonly hooks: Pick<Hooks, "call">;
  /** How often each client may ask; undefined for as often as it likes. */
  readonly clientLimit: Pick<ClientLimit, "take" | "fields"> | undefined;
  readonly bodies: BodyBudget;
  readonly responses: ResponseBudget;
  /** A whole event stream that only says when to come back: after so many milliseconds at least, by chance. */
  closingStream(pause: number): string;
  /** Whether this server should be sent requests. */
  ready(): Promise<ReadyState>;
  /** The server's numbers. */
  view(): MetricsView;
  /** Hears of every request under the base path that has its answer. */
  note(record: RequestRecord, method: string, status: number): void;
  /** Hears of what should not have happened. */
  report(error: unknown): void;
  /** Milliseconds since some moment. */
  elapsed(): number;
  random(): number;
}

interface Route {
  /** The name under which its requests are counted. */
  readonly name: RouteName;
  /** The methods, as in the `Allow` header. */
  readonly methods: string;
  /** Whether it is answered while the server closes, and afterwards. */
  readonly whileClosing?: true;
  /** Whether it is answered regardless of concurrency and rate limits. */
  readonly always?: true;
  answer(request: IncomingRequest, record: RequestRecord): Reply | Promise<Reply>;
}

/**
 * Creates the request handler of one server for one base path.
 *
 * @throws {TypeError} When an option is unknown or wrong.
 */
export function createRequestHandler(deps: HandlerDeps, options: HandlerOptions = {}): RequestHandler {
  const given = checkNames("the handler", options, ["basePath", "cors", "metrics"]);
  const basePath = checkBasePath(given.basePath);
  const cors = given.cors === undefined
    ? null
    : new Cors(given.cors as CorsOptions, (error) => deps.report(error));
  const routes = createRoutes(deps, basePath);
  const metricsRoute = createMetricsRoute(deps, given.metrics);
  if (metricsRoute !== null) routes.set(`${basePath}/metrics`, metricsRoute);
  const prefix = `${basePath}/`;
  const nodePrefix = `${basePath}/nodes/`;
  const deleteRoute = createDeleteRoute(deps, nodePrefix);

  /** Finds the route of a path; throws if there is none. */
  const findRoute = (path: string): Route => {
    // Some frameworks append a slash to every path.
    const route = routes.get(path) ?? (path.startsWith(nodePrefix) ? deleteRoute : undefined) ??
      (path.endsWith("/") ? routes.get(path.slice(0, -1)) : undefined);
    if (route !== undefined) return route;
    throw new RefusalError(
      "ERR_REALITY_NOT_FOUND",
      `Nothing is at this path: expected one under basePath "${basePath}", such as ${basePath}/sync`,
    );
  };
  const { responses } = deps;
  const answer = (request: IncomingRequest) => new RequestRun(deps, request).answer(prefix, findRoute);
  if (cors === null) return Object.assign(answer, { responses });
  const answerWithCors = async (request: IncomingRequest): Promise<Reply> => {
    // Preflights of other paths are answered by the application.
    const isOurs = pathOf(request.url).startsWith(prefix);
    return (isOurs ? cors.preflight(request) : null) ?? cors.extend(request, await answer(request));
  };
  return Object.assign(answerWithCors, { responses });
}

/**
 * The handling of one request. An object with two callbacks takes several times less memory during a wait than the
 * frame of an async function.
 */
class RequestRun {
  readonly #deps: HandlerDeps;
  readonly #request: IncomingRequest;
  readonly #record: RequestRecord;
  /**
   * Whether the path is under the base path. A handler that is mounted on all paths receives other requests as well.
   */
  #isOurs = true;
  #hasEntered = false;
  #quota: Quota | null = null;

  constructor(deps: HandlerDeps, request: IncomingRequest) {
    this.#deps = deps;
    this.#request = request;
    this.#record = new RequestRecord(deps.elapsed());
  }

  /** Answers or refuses the request; never rejects. */
  answer(prefix: string, findRoute: (path: string) => Route): Promise<Reply> {
    try {
      const path = pathOf(this.#request.url);
      this.#isOurs = path.startsWith(prefix);
      const reply = this.#start(findRoute(path));
      if (!(reply instanceof Promise)) return Promise.resolve(this.#complete(reply));
      return reply.then((reply) => this.#complete(reply), (error) => this.#refuse(error));
    } catch (error) {
      return Promise.resolve(this.#refuse(error));
    }
  }

  #start(route: Route): Reply | Promise<Reply> {
    const { clientLimit, isClosing, concurrency } = this.#deps;
    const { method } = this.#request;
    this.#record.route = route.name;
    if (route.methods !== method && !route.methods.split(", ").includes(method)) {
      throw new MethodRefusal(method, route.methods);
    }
    if (isClosing && !route.whileClosing) throw new ClosedError();
    if (route.always) return route.answer(this.#request, this.#record);
    concurrency.enter();
    this.#hasEntered = true;
    if (clientLimit === undefined) return route.answer(this.#request, this.#record);
    return clientLimit.take(this.#request, this.#record).then((quota) => {
      this.#quota = quota;
      if (quota !== null && !quota.isAllowed) throw new RateRefusal(quota.secondsToNext);
      return route.answer(this.#request, this.#record);
    });
  }

  #refuse(error: unknown): Reply {
    const deps = this.#deps;
    const record = this.#record;
    record.code = error instanceof RealityError ? error.code : "ERR_REALITY_INTERNAL";
    const reply = this.#withQuota(errorReply(error, deps.random()));
    if (reply.status === 500) {
      // A client that has disconnected is not a failure, and this reply is not read.
      if (this.#request.getSignal().aborted) record.outcome = "gone";
      else deps.report(error);
    }
    const isTemporary = reply.status === 429 || reply.status >= 500;
    if (record.route !== "events" || !isTemporary) return this.#finish(reply);
    // An EventSource does not reconnect after a refusal, but after the end of a stream (PROTOCOL 6.6).
    const pause = error instanceof RateRefusal ? error.renewal * 1_000 : 0;
    return this.#finish(this.#withQuota(eventsReply(deps.closingStream(pause))));
  }

  #complete(reply: Reply): Reply {
    const { isClosing } = this.#deps;
    const whole = this.#withQuota(reply);
    return this.#finish(isClosing ? closeConnection(whole) : whole);
  }

  #finish(reply: Reply): Reply {
    if (this.#hasEntered) this.#deps.concurrency.leave();
    if (this.#isOurs) this.#deps.note(this.#record, this.#request.method, reply.status);
    return reply;
  }

  /** Allocates nothing without a rate limit. */
  #withQuota(reply: Reply): Reply {
    const { clientLimit } = this.#deps;
    if (this.#quota === null || clientLimit === undefined) return reply;
    return { ...reply, headers: { ...reply.headers, ...clientLimit.fields(this.#quota) } };
  }
}

function createRoutes(deps: HandlerDeps, basePath: string): Map<string, Route> {
  const { limits } = deps;
  const readBody = (request: IncomingRequest) => readJSON(request, deps);
  let openAPI: Reply | undefined;
  return new Map<string, Route>([
    [`${basePath}/sync`, {
      name: "sync",
      methods: "POST",
      // Not an async function: its frame would stay in memory while the request waits.
      answer: (request, record) =>
        readBody(request).then((body) => {
          const answer = deps.sync(body, request, record);
          return answer instanceof Promise ? answer.then(syncReply) : syncReply(answer);
        }),
    }],
    [`${basePath}/events`, {
      name: "events",
      methods: "GET",
      // An EventSource does not reconnect after a refusal, but after the end of a stream.
      whileClosing: true,
      answer(request, record) {
        const query = queryOf(request.url);
        const keys = checkKeys(query.getAll("keys"), limits);
        if (keys.length === 0) {
          throw new RefusalError(
            "ERR_REALITY_BAD_REQUEST",
            'Cannot read "keys": expected one or more in the query',
          );
        }
        record.keys = keys;
        // Clients that cannot send the header, such as event-source-polyfill, send it in the query.
        const lastEventId = request.header("last-event-id") ?? query.get("lastEventId");
        const stream = deps.events({ keys }, lastEventId, request, record);
        return stream instanceof Promise ? stream.then(eventsReply) : eventsReply(stream);
      },
    }],
    [`${basePath}/update`, {
      name: "update",
      methods: "POST",
      answer: (request, record) =>
        write(deps, request, record, async () => {
          const updates = parseUpdates(await readBody(request), limits);
          return { keys: updates.map((update) => update.key), run: () => deps.update(updates) };
        }),
    }],
    [`${basePath}/invalidate`, {
      name: "invalidate",
      methods: "POST",
      answer: (request, record) =>
        write(deps, request, record, async () => {
          const keys = parseKeys(await readBody(request), limits);
          return { keys, run: () => deps.invalidate(keys) };
        }),
    }],
    [`${basePath}/health`, {
      name: "health",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      answer: (request) => withoutBody(request, jsonReply({ status: "ok" })),
    }],
    [`${basePath}/ready`, {
      name: "ready",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      async answer(request) {
        const status = await deps.ready();
        const reply = jsonReply({ status });
        return withoutBody(request, status === "ready" ? reply : { ...reply, status: 503 });
      },
    }],
    [`${basePath}/openapi.json`, {
      name: "openapi",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      async answer(request) {
        // Most servers never answer this route.
        const { createOpenAPI } = await import("./openapi.ts");
        openAPI ??= jsonReply(createOpenAPI(basePath));
        return withoutBody(request, openAPI);
      },
    }],
  ]);
}

/** The reply to a sync. If the client has to wait before the next request, a header says so as well. */
function syncReply(answer: SyncResponse): Reply {
  const reply = jsonReply(answer);
  if (answer.pause === undefined) return reply;
  return { ...reply, headers: { ...reply.headers, "retry-after": String(Math.ceil(answer.pause / 1_000)) } };
}

/** The reply to a `HEAD` request has no body. */
function withoutBody(request: IncomingRequest, reply: Reply): Reply {
  return request.method === "HEAD" ? { ...reply, body: null } : reply;
}

/** Asks the client to close the connection, so that its next request reaches another server. */
function closeConnection(reply: Reply): Reply {
  return { ...reply, headers: { ...reply.headers, connection: "close" } };
}

/** Creates the route of the metrics; `null` if it is disabled. */
function createMetricsRoute(deps: HandlerDeps, option: unknown): Route | null {
  if (option !== undefined && typeof option !== "boolean" && typeof option !== "function") {
    throw new TypeError(
      `Option "metrics" is wrong: expected true, false or a function, got ${kindOf(option)}`,
    );
  }
  if (option === false) return null;
  return {
    name: "metrics",
    methods: "GET, HEAD",
    whileClosing: true,
    always: true,
    async answer(request) {
      if (typeof option === "function") {
        const call = (): unknown => option(request.toRequest(), { context: request.getContext() });
        if (await deps.hooks.call("metrics", call, () => request.getSignal()) !== true) {
          throw new RefusalError("ERR_REALITY_FORBIDDEN", "The option metrics turns this request down");
        }
      }
      return withoutBody(request, {
        status: 200,
        headers: METRICS_HEADERS,
        body: renderMetrics(deps.view()),
      });
    },
  };
}

function createDeleteRoute(deps: HandlerDeps, prefix: string): Route {
  return {
    name: "nodes",
    methods: "DELETE",
    async answer(request, record) {
      const allowed = await deps.access.hasToken(request);
      const [key = ""] = checkKeys([decodeKey(pathOf(request.url).slice(prefix.length))], deps.limits);
      record.keys = [key];
      if (!allowed) await deps.access.ask(request, record.keys);
      await deps.delete(key);
      return emptyReply();
    },
  };
}

/** The reply of an event stream. No cache stores it, and no proxy buffers it. */
export function eventsReply(body: ReadableStream<Uint8Array> | string): Reply {
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

/** Answers a write: checks the token, parses the request, asks for permission, then writes. */
async function write(
  deps: HandlerDeps,
  request: IncomingRequest,
  record: RequestRecord,
  parse: () => Promise<{ keys: readonly string[]; run: () => Promise<RealityNodeMeta[]> }>,
): Promise<Reply> {
  const allowed = await deps.access.hasToken(request);
  const { keys, run } = await parse();
  record.keys = keys;
  if (!allowed) await deps.access.ask(request, keys);
  const versions: Record<string, number> = Object.create(null);
  for (const meta of await run()) versions[meta.key] = meta.version;
  return jsonReply({ versions, epoch: await deps.epoch() });
}

function readJSON(request: IncomingRequest, { limits, bodies }: HandlerDeps): Promise<unknown> {
  const type = request.header("content-type");
  if (type === null || !/^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i.test(type)) {
    const found = type === null ? "none" : JSON.stringify(type.slice(0, 100));
    throw new RefusalError(
      "ERR_REALITY_MEDIA_TYPE",
      `Cannot read the body: expected application/json, got ${found}`,
    );
  }
  return request.readJSON(limits.maxBodyBytes, bodies);
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
