/**
 * Replies in JSON, and refusals.
 *
 * @module
 */
import { UnreadRefusal } from "../limits/body_budget.ts";
import { type ErrorCode, RealityError, RefusalError } from "../errors.ts";
import { EncodingRefusal } from "./read_body.ts";
import type { Reply } from "./exchange.ts";

const JSON_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  "content-type": "application/json",
  "cache-control": "no-store",
});

/** What clients are told in place of a message that is for the log. */
const PUBLIC_MESSAGES: Readonly<Partial<Record<ErrorCode, string>>> = {
  ERR_REALITY_STORAGE: "The storage does not answer",
  ERR_REALITY_HOOK: "The server took too long to check the request",
};

/** Over how many seconds clients are spread out that are told to come back. */
const RETRY_SPREAD = 5;

/** A reply with a value as JSON; never stored by a cache. */
export function jsonReply(value: unknown): Reply {
  return { status: 200, headers: JSON_HEADERS, body: JSON.stringify(value) };
}

/** A reply without a body. */
export function emptyReply(): Reply {
  return { status: 204, headers: { "cache-control": "no-store" }, body: null };
}

/**
 * The reply that an error stands for: its code, message and status, without cause or stack.
 *
 * @param error What was thrown. One that is not ours becomes a 500 that says nothing about it.
 * @param random Chance, from 0 up to 1: spreads out when clients come back after a 503 or 429.
 */
export function errorReply(error: unknown, random: number): Reply {
  const known = error instanceof RealityError
    ? error
    : new RealityError("ERR_REALITY_INTERNAL", "The server failed at this request");
  const { code, status } = known;
  const headers: Record<string, string> = { ...JSON_HEADERS };
  const spread = Math.floor(random * RETRY_SPREAD);
  if (status === 503) headers["retry-after"] = String(1 + spread);
  if (known instanceof RateRefusal) headers["retry-after"] = String(known.renewal + spread);
  if (status === 401) headers["www-authenticate"] = "Bearer";
  if (known instanceof MethodRefusal) headers["allow"] = known.allow;
  if (known instanceof EncodingRefusal) headers["accept-encoding"] = "identity";
  if (code === "ERR_REALITY_CLOSED" || known instanceof UnreadRefusal) headers["connection"] = "close";
  const message = PUBLIC_MESSAGES[code] ?? known.message;
  return { status, headers, body: JSON.stringify({ error: { code, message } }) };
}

/** The refusal of a method that a path does not have. */
export class MethodRefusal extends RefusalError {
  /** The methods that it has, as the `Allow` header names them. */
  readonly allow: string;

  /**
   * @param method What was asked.
   * @param allow The methods that the path has, as the `Allow` header names them.
   */
  constructor(method: string, allow: string) {
    super("ERR_REALITY_METHOD", `Cannot ${method.slice(0, 32)} here: allowed is ${allow}`);
    this.allow = allow;
  }
}

/** The refusal of a client that has asked too often. */
export class RateRefusal extends RefusalError {
  /** Seconds until it may ask again. */
  readonly renewal: number;

  /** @param renewal Seconds until the client may ask again. */
  constructor(renewal: number) {
    super(
      "ERR_REALITY_RATE_LIMITED",
      `Cannot take the request: rateLimit is used up, try again in ${renewal} s`,
    );
    this.renewal = renewal;
  }
}
