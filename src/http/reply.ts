/**
 * Replies in JSON, and refusals.
 *
 * @module
 */
import { type ErrorCode, RefusalError, toRealityError } from "../errors.ts";
import { utf8Length } from "../store/node.ts";
import type { PulledBody, Reply } from "./exchange.ts";

const JSON_HEADERS: Readonly<Record<string, string>> = Object.freeze({ "content-type": "application/json" });

const NO_STORE_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  ...JSON_HEADERS,
  "cache-control": "no-store",
});

/** Messages for clients, in place of messages for the log. */
const PUBLIC_MESSAGES: Readonly<Partial<Record<ErrorCode, string>>> = {
  ERR_REALITY_STORAGE: "The storage does not answer",
  ERR_REALITY_HOOK: "The server took too long to check the request",
};

/** Clients that are told to retry are spread over this number of seconds. */
const RETRY_SPREAD = 5;

/**
 * The reply to a POST. No cache stores it without a header that allows it (PROTOCOL 2.5), and Deno sends a text with a
 * lone `content-type` several microseconds faster.
 *
 * @param body The text of the answer, in JSON.
 */
export function postReply(body: string): Reply {
  return { status: 200, headers: JSON_HEADERS, body };
}

/** The reply to a GET, with a value as JSON. No cache stores it. */
export function jsonReply(value: unknown): Reply {
  return { status: 200, headers: NO_STORE_HEADERS, body: JSON.stringify(value) };
}

/** The reply of an event stream. No cache stores it, and no proxy buffers it. */
export function eventsReply(body: PulledBody | string): Reply {
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

/**
 * The reply to a `HEAD` request: that to a `GET` without its body, but with its length. Deno and Bun would say that the
 * length is 0, and a cache drops the answer to a `GET` that has another length (RFC 9111, 4.3.5).
 */
export function withoutBody(reply: Reply): Reply {
  if (typeof reply.body !== "string") return reply;
  const headers = { ...reply.headers, "content-length": String(utf8Length(reply.body)) };
  return { ...reply, headers, body: null };
}

/** A reply without a body. */
export function emptyReply(): Reply {
  return { status: 204, headers: { "cache-control": "no-store" }, body: null };
}

/**
 * The reply for an error: its code, message and status, without cause or stack.
 *
 * @param error The thrown value. An error of another class becomes a 500 without details.
 * @param random A random number from 0 to below 1. It spreads the retries of clients after a 503 or 429.
 */
export function errorReply(error: unknown, random: number): Reply {
  const known = toRealityError(error, "The server failed at this request");
  const { code, status } = known;
  const headers: Record<string, string> = { ...NO_STORE_HEADERS };
  const retryAfter = known.retryAfter ?? (status === 503 ? 1 : undefined);
  if (retryAfter !== undefined) {
    headers["retry-after"] = String(retryAfter + Math.floor(random * RETRY_SPREAD));
  }
  Object.assign(headers, known.headers);
  const message = PUBLIC_MESSAGES[code] ?? known.message;
  return { status, headers, body: JSON.stringify({ error: { code, message } }) };
}

/**
 * The refusal of a request with a method that the path does not support.
 *
 * @param method The method of the request.
 * @param allow The supported methods, as in the `Allow` header.
 */
export function methodRefusal(method: string, allow: string): RefusalError {
  const message = `Cannot ${method.slice(0, 32)} here: allowed is ${allow}`;
  return new RefusalError("ERR_REALITY_METHOD", message, { headers: { allow } });
}

/**
 * The refusal of a client that has sent too many requests.
 *
 * @param seconds The number of seconds until the client may send the next request.
 */
export function rateRefusal(seconds: number): RefusalError {
  const message = `Cannot take the request: rateLimit is used up, try again in ${seconds} s`;
  return new RefusalError("ERR_REALITY_RATE_LIMITED", message, { retryAfter: seconds });
}
