/**
 * Reads the path and the query of a request target, and creates valid URLs. The client may have written anything.
 * Pure.
 *
 * @module
 */

import { isHeaders } from "./request_shape.ts";

/** What a `Request` is created from. */
export interface RequestHead {
  /** The method; GET if it is left out. */
  readonly method?: string | undefined;
  /** Path and query, or an absolute URL. */
  readonly url?: string | undefined;
  /** The headers, with lower-case names. */
  readonly headers: Headers | Readonly<Record<string, string | string[] | undefined>>;
  /** Aborts when the client disconnects. */
  readonly signal?: AbortSignal;
}

/** The path of a target, which may be an absolute URL, without its query. */
export function pathOf(target: string): string {
  const path = fromPath(target);
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

/** The query of a target. */
export function queryOf(target: string): URLSearchParams {
  const start = target.indexOf("?");
  return new URLSearchParams(start === -1 ? "" : target.slice(start).split("#", 1)[0]);
}

/**
 * Creates a `Request` without a body, for the application's hooks. Its URL is always valid: a `Host`, or the host of
 * an absolute target, that is invalid becomes `localhost`, and credentials in the URL are removed.
 */
export function createRequest({ method = "GET", url = "/", headers, signal }: RequestHead): Request {
  const copy = toHeaders(headers);
  const host = copy.get("host") ?? (isHeaders(headers) ? null : first(headers[":authority"]));
  const init: RequestInit = { method, headers: copy };
  return new Request(wholeURL(url, host), signal ? { ...init, signal } : init);
}

function wholeURL(target: string, host: string | null): URL {
  const absolute = target.startsWith("/") ? undefined : parseHTTP(target);
  const { origin } = parseHTTP(`http://${host ?? "localhost"}`) ?? new URL("http://localhost");
  const url = absolute ?? new URL(origin + fromPath(target));
  url.username = url.password = "";
  return url;
}

/** The target from its path on. The host of an absolute URL ends at the first slash, question mark or hash. */
function fromPath(target: string): string {
  if (target.startsWith("/")) return target;
  const authority = target.indexOf("://");
  const rest = authority === -1 ? target : target.slice(authority + 3);
  const end = rest.search(/[/?#]/);
  if (end === -1) return "/";
  return rest[end] === "/" ? rest.slice(end) : `/${rest.slice(end)}`;
}

function parseHTTP(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  return /^https?:$/.test(url.protocol) ? url : undefined;
}

function toHeaders(headers: RequestHead["headers"]): Headers {
  if (isHeaders(headers)) return headers;
  const copy = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    // HTTP/2 lists method and path among the headers.
    if (value === undefined || value === null || name.startsWith(":")) continue;
    // Bridges of other hosts pass numbers as well.
    for (const one of Array.isArray(value) ? value : [value]) copy.append(name, String(one));
  }
  return copy;
}

function first(value: string | string[] | undefined): string | null {
  return (typeof value === "string" ? value : value?.[0]) ?? null;
}
