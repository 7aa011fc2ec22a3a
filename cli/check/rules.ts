/**
 * The list of all rules, in the order of the protocol.
 *
 * @module
 */
import { admissionRules } from "./rules/admission.ts";
import { cachedSyncRules } from "./rules/cached_sync.ts";
import { comparisonRules } from "./rules/comparison.ts";
import { corsRules } from "./rules/cors.ts";
import { eventRules } from "./rules/event_streams.ts";
import { everyRouteRules } from "./rules/every_route.ts";
import { betweenServersRules } from "./rules/between_servers.ts";
import { healthRules } from "./rules/health.ts";
import { openAPIRules } from "./rules/openapi.ts";
import { closingRules } from "./rules/closing.ts";
import type { Rule } from "./rule.ts";
import { stampRules } from "./rules/stamps.ts";
import { syncRules } from "./rules/sync.ts";
import { waitingRules } from "./rules/waiting.ts";
import { metricsRules } from "./rules/metrics.ts";
import { readinessRules } from "./rules/readiness.ts";
import { writeRules } from "./rules/writes.ts";

/** All rules of `src/PROTOCOL.md` except those for clients, in its order. */
export const RULES: readonly Rule[] = [
  ...everyRouteRules,
  ...syncRules,
  ...comparisonRules,
  ...waitingRules,
  ...eventRules,
  ...writeRules,
  ...healthRules,
  ...corsRules,
  ...betweenServersRules,
  ...openAPIRules,
  ...closingRules,
  ...readinessRules,
  ...metricsRules,
  ...admissionRules,
  ...stampRules,
  ...cachedSyncRules,
];
