/**
 * Reads requests of all hosts, as far as a stamp needs them.
 *
 * @module
 */
import {
  isHeaders,
  isNodeRequest,
  isWebRequest,
  nameShape,
  type NodeRequest,
} from "../http/request_shape.ts";
import { createRequest } from "../http/target.ts";

/** A request for `authorize`: a `Request`, or a request or context of Express, Fastify, `node:http` or Hono. */
export type StampSource =
  | Request
  | NodeRequest
  | { readonly raw: NodeRequest | Request }
  | { readonly req: { readonly raw: Request } };

/** What has request headers: a request or context of any host, or `Headers`. */
export type StampRequest =
  | StampSource
  | Headers
  | { readonly headers: Readonly<Record<string, string | string[] | undefined>> };

/**
 * Returns the request as the hook `authorize` sees it.
 *
 * @throws {TypeError} When the value is not a request. The message describes it.
 */
export function toRequest(given: unknown): Request {
  for (const request of findInner(given)) {
    if (isWebRequest(request)) return request;
    if (isNodeRequest(request)) return createRequest(request);
  }
  throw new TypeError(
    `Cannot read "request" of stamp: expected a request of a known host, got ${nameShape(given)}`,
  );
}

/**
 * Reads `If-None-Match` of a request. It is `null` for a method that is neither GET nor HEAD.
 *
 * @throws {TypeError} When the value has no headers. The message describes it.
 */
export function readIfNoneMatch(given: unknown): string | null {
  for (const request of findInner(given)) {
    const { headers, method } = Object(request) as { headers?: unknown; method?: unknown };
    if (typeof headers !== "object" || headers === null) continue;
    if (typeof method === "string" && method !== "GET" && method !== "HEAD") return null;
    if (isHeaders(headers)) return headers.get("if-none-match");
    const value = (headers as Record<string, unknown>)["if-none-match"];
    return value === undefined ? null : String(value);
  }
  if (isHeaders(given) && typeof given.has === "function") return given.get("if-none-match");
  throw new TypeError(
    `Cannot read If-None-Match: expected a request of a known host, or Headers, got ${nameShape(given)}`,
  );
}

/** A request, and those around which a framework has put it. */
function findInner(given: unknown): readonly unknown[] {
  const { raw, req } = Object(given) as { raw?: unknown; req?: { raw?: unknown } };
  return [given, raw, req?.raw];
}
