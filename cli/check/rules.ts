/**
 * All rules, in the order of the protocol.
 *
 * @module
 */
import { admission } from "./admission.ts";
import { comparison } from "./comparison.ts";
import { cors } from "./cors.ts";
import { eventRules } from "./events.ts";
import { everyRoute } from "./every_route.ts";
import { exchange } from "./exchange.ts";
import { openAPI, operation, stopping } from "./operation.ts";
import type { Rule } from "./rule.ts";
import { syncRules } from "./sync.ts";
import { waiting } from "./waiting.ts";
import { metrics, readiness } from "./watching.ts";
import { writes } from "./writes.ts";

/** All rules of `src/PROTOCOL.md` but those for clients, in its order. */
export const RULES: readonly Rule[] = [
  ...everyRoute,
  ...syncRules,
  ...comparison,
  ...waiting,
  ...eventRules,
  ...writes,
  ...operation,
  ...cors,
  ...exchange,
  ...openAPI,
  ...stopping,
  ...readiness,
  ...metrics,
  ...admission,
];
