/**
 * Routes requests: checks path, method and limits, and answers or refuses.
 *
 * @module
 */
import { ClosedError, type RealityError, RefusalError, toRealityError } from "../errors.ts";
import type { Quota } from "../limits/rate_limit.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { checkNames, optionError, wrongOption } from "../check.ts";
import type { MetricsHook } from "../options.ts";
import { RequestRecord } from "../telemetry/request_record.ts";
import { Cors, type CorsOptions } from "./cors.ts";
import type { Answer, IncomingRequest, Reply, RequestHandler } from "./exchange.ts";
import { errorReply, eventsReply, methodRefusal, rateRefusal, withoutBody } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";
import { createEventsRoute, createSyncRoute, createWriteRoutes } from "./routes.ts";
import { createHealthRoutes, createMetricsRoute, createOpenAPIRoute } from "./status_routes.ts";
import { pathOf } from "./target.ts";

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

/** The longest target whose route is kept for the next request, in characters. */
const MAX_KEPT_TARGET = 256;

/**
 * Creates the request handler of one server for one base path.
 *
 * @throws {TypeError} When an option is unknown or wrong.
 */
export function createRequestHandler(deps: HandlerDeps, options?: HandlerOptions): RequestHandler {
  const answer = createAnswer(deps, options);
  const { responses } = deps.admission;
  return Object.assign((request: IncomingRequest) => answer(request, (reply) => reply), { responses });
}

/**
 * Creates what answers the requests of one server for one base path.
 *
 * @throws {TypeError} When an option is unknown or wrong.
 */
export function createAnswer(deps: HandlerDeps, options: HandlerOptions = {}): Answer {
  const given = checkNames("the handler", options, ["basePath", "cors", "metrics"]);
  const basePath = checkBasePath(given.basePath);
  const cors = given.cors === undefined
    ? null
    : new Cors(given.cors as CorsOptions, (error) => deps.observer.report(toReported(error)));
  const nodePrefix = `${basePath}/nodes/`;
  const writes = createWriteRoutes(deps, nodePrefix);
  const routes = createRoutes(deps, basePath, writes);
  const metricsRoute = createMetricsRoute(deps, given.metrics);
  if (metricsRoute !== null) routes.set(`${basePath}/metrics`, metricsRoute);
  const prefix = `${basePath}/`;

  let lastTarget = "";
  let lastRoute: Route | undefined;
  /** Finds the route of a target; throws if it has none. */
  const findRoute = (target: string): Route => {
    // Most requests have the same target, and comparing it costs less than parsing it.
    if (lastRoute !== undefined && target === lastTarget) return lastRoute;
    const path = pathOf(target);
    // Some frameworks append a slash to every path.
    const route = routes.get(path) ?? (path.startsWith(nodePrefix) ? writes.nodes : undefined) ??
      (path.endsWith("/") ? routes.get(path.slice(0, -1)) : undefined);
    if (route !== undefined) {
      if (target.length <= MAX_KEPT_TARGET) [lastTarget, lastRoute] = [target, route];
      return route;
    }
    throw new RefusalError(
      "ERR_REALITY_NOT_FOUND",
      `Nothing is at this path: expected one under basePath "${basePath}", such as ${basePath}/sync`,
    );
  };
  const target = { prefix, findRoute };
  const answer: Answer = (request, toAnswer) => new RequestRun(deps, request, target).answer(toAnswer);
  if (cors === null) return answer;
  return async (request, toAnswer) => {
    // Preflights of other paths are answered by the application.
    const isOurs = pathOf(request.url).startsWith(prefix);
    const preflight = isOurs ? cors.preflight(request) : null;
    return preflight
      ? toAnswer(preflight)
      : await answer(request, (reply) => toAnswer(cors.extend(request, reply)));
  };
}

/** Finds the routes under a base path. */
interface RouteTable {
  /** The base path with a slash. */
  readonly prefix: string;
  /** Finds the route of a target; throws if it has none. */
  findRoute(target: string): Route;
}

/**
 * The handling of one request. An object with two callbacks takes several times less memory during a wait than the
 * frame of an async function.
 */
class RequestRun {
  readonly #deps: HandlerDeps;
  readonly #request: IncomingRequest;
  readonly #table: RouteTable;
  readonly #record: RequestRecord;
  /**
   * Whether the path is under the base path. A handler that is mounted on all paths receives other requests as well.
   */
  #isOurs = true;
  #hasEntered = false;
  #quota: Quota | null = null;

  constructor(deps: HandlerDeps, request: IncomingRequest, table: RouteTable) {
    this.#deps = deps;
    this.#request = request;
    this.#table = table;
    this.#record = new RequestRecord(deps.clock.elapsed());
  }

  /** Answers or refuses the request; never rejects. */
  answer<T>(toAnswer: (reply: Reply) => T): Promise<T> {
    let reply: MaybePromise<Reply>;
    try {
      reply = this.#start(this.#find());
      if (!(reply instanceof Promise)) reply = this.#complete(reply);
    } catch (error) {
      reply = this.#refuse(error);
    }
    if (!(reply instanceof Promise)) return Promise.resolve(toAnswer(reply));
    return reply.then((reply) => toAnswer(this.#complete(reply)), (error) => toAnswer(this.#refuse(error)));
  }

  #find(): Route {
    const { url } = this.#request;
    try {
      return this.#table.findRoute(url);
    } catch (error) {
      this.#isOurs = pathOf(url).startsWith(this.#table.prefix);
      throw error;
    }
  }

  #start(route: Route): MaybePromise<Reply> {
    const { admission: { clients, concurrency }, status } = this.#deps;
    const { method } = this.#request;
    this.#record.route = route.name;
    if (route.methods !== method && !route.methods.split(", ").includes(method)) {
      throw methodRefusal(method, route.methods);
    }
    if (status.isClosing && !route.whileClosing) throw new ClosedError();
    if (route.always) return route.answer(this.#request, this.#record);
    concurrency.enter();
    this.#hasEntered = true;
    if (clients === undefined) return route.answer(this.#request, this.#record);
    return clients.take(this.#request, this.#record).then((quota) => {
      this.#quota = quota;
      if (quota !== null && !quota.isAllowed) throw rateRefusal(quota.secondsToNext);
      return route.answer(this.#request, this.#record);
    });
  }

  #refuse(error: unknown): Reply {
    const deps = this.#deps;
    const record = this.#record;
    const failure = toReported(error);
    record.code = failure.code;
    const reply = this.#withQuota(errorReply(error, deps.clock.random()));
    if (reply.status === 500) {
      // A client that has disconnected is not a failure, and this reply is not read.
      if (this.#request.getSignal().aborted) record.outcome = "gone";
      else deps.observer.report(failure);
    }
    const isTemporary = reply.status === 429 || reply.status >= 500;
    if (record.route !== "events" || !isTemporary) return this.#finish(reply);
    // An EventSource does not reconnect after a refusal, but after the end of a stream (PROTOCOL 6.6).
    const pause = (failure.retryAfter ?? 0) * 1_000;
    return this.#finish(this.#withQuota(eventsReply(deps.streams.closingText(pause))));
  }

  #complete(reply: Reply): Reply {
    const whole = this.#withQuota(reply);
    return this.#finish(this.#deps.status.isClosing ? closeConnection(whole) : whole);
  }

  #finish(reply: Reply): Reply {
    if (this.#hasEntered) this.#deps.admission.concurrency.leave();
    const { method } = this.#request;
    if (this.#isOurs) this.#deps.observer.recordRequest(this.#record, method, reply.status);
    return method === "HEAD" ? withoutBody(reply) : reply;
  }

  /** Allocates nothing without a rate limit. */
  #withQuota(reply: Reply): Reply {
    const { clients } = this.#deps.admission;
    if (this.#quota === null || clients === undefined || reply.isShared) return reply;
    return { ...reply, headers: { ...reply.headers, ...clients.fields(this.#quota) } };
  }
}

/** The error that is reported for an unexpected one. */
function toReported(error: unknown): RealityError {
  return toRealityError(error, "A request failed unexpectedly");
}

function createRoutes(
  deps: HandlerDeps,
  basePath: string,
  writes: ReturnType<typeof createWriteRoutes>,
): Map<string, Route> {
  const { health, ready } = createHealthRoutes(deps);
  return new Map<string, Route>([
    [`${basePath}/sync`, createSyncRoute(deps)],
    [`${basePath}/events`, createEventsRoute(deps)],
    [`${basePath}/update`, writes.update],
    [`${basePath}/invalidate`, writes.invalidate],
    [`${basePath}/health`, health],
    [`${basePath}/ready`, ready],
    [`${basePath}/openapi.json`, createOpenAPIRoute(basePath)],
  ]);
}

/** Asks the client to close the connection, so that its next request reaches another server. */
function closeConnection(reply: Reply): Reply {
  return { ...reply, headers: { ...reply.headers, connection: "close" } };
}

function checkBasePath(basePath: unknown): string {
  if (basePath === undefined) return "/reality";
  if (typeof basePath !== "string") {
    throw wrongOption("basePath", "a string", basePath);
  }
  if (basePath !== "" && !/^(?:\/[\w.~!$&'()*+,;=:@-]+)+$/.test(basePath)) {
    throw optionError("basePath", 'a path such as "/reality"', `"${basePath}"`);
  }
  return basePath;
}
