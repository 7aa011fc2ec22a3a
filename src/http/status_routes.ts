/**
 * Routes about the server itself: health, readiness, the OpenAPI document and the metrics.
 *
 * @module
 */
import { wrongOption } from "../check.ts";
import { METRICS_HEADERS, renderMetrics } from "../telemetry/prometheus.ts";
import type { MetricsHook } from "../options.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";
import { jsonReply } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";

/** Creates the routes of health and readiness. */
export function createHealthRoutes(deps: Pick<HandlerDeps, "status">): Record<"health" | "ready", Route> {
  return {
    health: {
      name: "health",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      answer: (request) => withoutBody(request, jsonReply({ status: "ok" })),
    },
    ready: {
      name: "ready",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      async answer(request) {
        const status = await deps.status.askReady();
        const reply = jsonReply({ status });
        return withoutBody(request, status === "ready" ? reply : { ...reply, status: 503 });
      },
    },
  };
}

/** Creates the route of the OpenAPI document. */
export function createOpenAPIRoute(basePath: string): Route {
  let openAPI: Reply | undefined;
  return {
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
  };
}

/**
 * Creates the route of the metrics; `null` if it is disabled.
 *
 * @param option The option `metrics`.
 * @throws {TypeError} When the option is wrong.
 */
export function createMetricsRoute(deps: HandlerDeps, option: unknown): Route | null {
  if (option !== undefined && typeof option !== "boolean" && typeof option !== "function") {
    throw wrongOption("metrics", "true, false or a function", option);
  }
  if (option === false) return null;
  return {
    name: "metrics",
    methods: "GET, HEAD",
    whileClosing: true,
    always: true,
    async answer(request) {
      if (typeof option === "function") await deps.access.askMetrics(option as MetricsHook, request);
      return withoutBody(request, {
        status: 200,
        headers: METRICS_HEADERS,
        body: renderMetrics(deps.status.getMetrics(await deps.status.summarizeOutbox())),
      });
    },
  };
}

/** The reply to a `HEAD` request has no body. */
function withoutBody(request: IncomingRequest, reply: Reply): Reply {
  return request.method === "HEAD" ? { ...reply, body: null } : reply;
}
