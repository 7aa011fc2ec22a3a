/**
 * The limits that all requests of one server share.
 *
 * @module
 */
import type { Limits } from "../server_limits.ts";
import type { SharedBodyBudget } from "./body_budget.ts";
import type { ClientLimit } from "./client_limit.ts";
import type { RequestLimit } from "./concurrency.ts";
import type { PendingResponses } from "./pending_responses.ts";

/** Decides which requests are accepted, and what they may use. */
export interface Admission {
  /** The option `limits`, with its defaults. */
  readonly limits: Limits;
  /** How many requests are handled at the same time. */
  readonly concurrency: RequestLimit;
  /** How often each client may send requests; undefined for no limit. */
  readonly clients: ClientLimit | undefined;
  /** The memory and time of request bodies. */
  readonly bodies: SharedBodyBudget;
  /** The memory and time of responses. */
  readonly responses: PendingResponses;
}
