/**
 * Routes about the server itself: health, readiness, the OpenAPI document and the metrics.
 *
 * @module
 */
import { wrongOption } from "../check.ts";
import { LazyModule } from "../lazy_module.ts";
import type { MetricsHook } from "../options.ts";
import type { Reply } from "./exchange.ts";
import { jsonReply } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";

/** Most servers never answer these routes. */
const metricsModule = new LazyModule(() => import("./metrics_route.ts"));
const openAPIModule = new LazyModule(() => import("./openapi.ts"));

/** Creates the routes of health and readiness. */
export function createHealthRoutes(deps: Pick<HandlerDeps, "status">): Record<"health" | "ready", Route> {
  return {
    health: {
      name: "health",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      answer: () => jsonReply({ status: "ok" }),
    },
    ready: {
      name: "ready",
      methods: "GET, HEAD",
      whileClosing: true,
      always: true,
      async answer() {
        const status = await deps.status.askReady();
        const reply = jsonReply({ status });
        return status === "ready" ? reply : { ...reply, status: 503 };
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
    async answer() {
      const { createOpenAPI } = openAPIModule.loaded ?? await openAPIModule.load();
      return openAPI ??= jsonReply(createOpenAPI(basePath));
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
      const { answerMetrics } = metricsModule.loaded ?? await metricsModule.load();
      return await answerMetrics(deps, option as boolean | MetricsHook, request);
    },
  };
}
