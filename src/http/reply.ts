/**
 * Replies in JSON, and refusals.
 *
 * @module
 */
import { RealityError, RefusalError } from "../errors.ts";
import type { Reply } from "./exchange.ts";

const JSON_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  "content-type": "application/json",
  "cache-control": "no-store",
});

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
 * @param random Chance, from 0 up to 1: spreads out when clients come back after a 503.
 */
export function errorReply(error: unknown, random: number): Reply {
  const known = error instanceof RealityError
    ? error
    : new RealityError("ERR_REALITY_INTERNAL", "The server failed at this request");
  const { code, status } = known;
  const headers: Record<string, string> = { ...JSON_HEADERS };
  if (status === 503) headers["retry-after"] = String(1 + Math.floor(random * 5));
  if (status === 401) headers["www-authenticate"] = "Bearer";
  if (known instanceof MethodRefusal) headers["allow"] = known.allow;
  if (code === "ERR_REALITY_CLOSED" || code === "ERR_REALITY_BODY_TOO_LARGE") headers["connection"] = "close";
  // What a storage says about itself is for the log, not for clients.
  const message = code === "ERR_REALITY_STORAGE" ? "The storage does not answer" : known.message;
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
