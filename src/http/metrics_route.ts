/**
 * Answers the metrics route. Loaded by its first request.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import type { MetricsHook } from "../options.ts";
import { METRICS_HEADERS, renderMetrics } from "../telemetry/prometheus.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";
import type { HandlerDeps } from "./route.ts";

/**
 * Answers with the metrics.
 *
 * @param option The option `metrics`: a function is asked first.
 * @throws {RefusalError} `FORBIDDEN` when it does not return `true`; rejects with it.
 */
export async function answerMetrics(
  deps: HandlerDeps,
  option: boolean | MetricsHook | undefined,
  request: IncomingRequest,
): Promise<Reply> {
  if (typeof option === "function") await askMetrics(deps, option, request);
  const { status } = deps;
  const view = await status.getMetrics(await status.summarizeOutbox());
  return { status: 200, headers: METRICS_HEADERS, body: renderMetrics(view) };
}

async function askMetrics(
  { hooks }: HandlerDeps,
  hook: MetricsHook,
  request: IncomingRequest,
): Promise<void> {
  const call = () => hook(request.toRequest(), { context: request.getContext() });
  if (await hooks.call("metrics", call, () => request.getSignal()) === true) return;
  throw new RefusalError("ERR_REALITY_FORBIDDEN", "The option metrics refuses this request");
}
