/**
 * Which pages of other origins may read the answers.
 *
 * @module
 */
import { checkInteger, checkNames } from "../options.ts";
import { kindOf } from "../store/node.ts";
import { redactURL } from "../redact.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";

/** Which pages of other origins may read the answers. */
export interface CorsOptions {
  /**
   * The origins that may: a list such as `["https://app.example"]`, a function that is asked, or `"*"` for
   * every one, which goes without credentials only. A function is asked about URLs, and about
   * the `"null"` of a page from a file; where it throws, the origin may not, and `onError` hears of it.
   */
  origins: readonly string[] | ((origin: string) => boolean) | "*";
  /**
   * Whether such pages may send cookies and other credentials.
   *
   * @default {false}
   */
  credentials?: boolean;
  /**
   * How long browsers may keep the answer to a preflight, in seconds.
   *
   * @default {600}
   */
  maxAge?: number;
  /**
   * Headers that such pages may send beside those that are always allowed: `Authorization`, `Content-Type`,
   * `Last-Event-ID`, and those of tracing, `traceparent`, `tracestate` and `baggage`. For example `["x-api-key"]`.
   *
   * @default {[]}
   */
  allowedHeaders?: readonly string[];
  /**
   * Headers that such pages may read beside those that tell when to come back: `RateLimit`, `RateLimit-Policy` and
   * `Retry-After`. For example one that a framework in front adds.
   *
   * @default {[]}
   */
  exposedHeaders?: readonly string[];
}

const METHODS = "GET, POST, DELETE";
const HEADERS = ["authorization", "content-type", "last-event-id", "traceparent", "tracestate", "baggage"];
/** What pages need to know when to come back. */
const EXPOSED = ["ratelimit", "ratelimit-policy", "retry-after"];

/** Adds what CORS needs to replies, and answers preflights. */
export class Cors {
  readonly #allows: (origin: string) => boolean;
  readonly #credentials: boolean;
  readonly #maxAge: number;
  readonly #wildcard: boolean;
  readonly #allowedHeaders: string;
  readonly #exposedHeaders: string;

  /**
   * @param options What the application allows.
   * @param report Hears of a function that throws.
   * @throws {TypeError} For an option that is unknown or wrong, and for every origin together with credentials.
   */
  constructor(options: CorsOptions, report: (error: unknown) => void) {
    const given = checkNames("cors", options, [
      "origins",
      "credentials",
      "maxAge",
      "allowedHeaders",
      "exposedHeaders",
    ]);
    const { origins, credentials = false, maxAge = 600, allowedHeaders = [], exposedHeaders = [] } = given;
    if (typeof credentials !== "boolean") {
      throw new TypeError(`Option "credentials" is wrong: expected a boolean, got ${kindOf(credentials)}`);
    }
    this.#wildcard = origins === "*";
    if (this.#wildcard && credentials) {
      throw new TypeError('Option "cors" is wrong: origins "*" together with credentials; name the origins');
    }
    this.#credentials = credentials;
    this.#maxAge = checkInteger("maxAge", maxAge, [0, 86_400]);
    this.#allows = toPredicate(origins, report);
    this.#allowedHeaders = [...HEADERS, ...checkHeaders("allowedHeaders", allowedHeaders)].join(", ");
    this.#exposedHeaders = [...EXPOSED, ...checkHeaders("exposedHeaders", exposedHeaders)].join(", ");
  }

  /** Answers a preflight; `null` for any other request. */
  preflight(request: IncomingRequest): Reply | null {
    if (request.method !== "OPTIONS" || request.header("access-control-request-method") === null) return null;
    const headers = this.#headers(request);
    if (headers["access-control-allow-origin"] !== undefined) {
      headers["access-control-allow-methods"] = METHODS;
      headers["access-control-allow-headers"] = this.#allowedHeaders;
      headers["access-control-max-age"] = String(this.#maxAge);
    }
    return { status: 204, headers, body: null };
  }

  /** The reply with what a page of the request's origin needs to read it. */
  extend(request: IncomingRequest, reply: Reply): Reply {
    return { ...reply, headers: { ...reply.headers, ...this.#headers(request) } };
  }

  #headers(request: IncomingRequest): Record<string, string> {
    if (this.#wildcard) {
      return { "access-control-allow-origin": "*", "access-control-expose-headers": this.#exposedHeaders };
    }
    // The answer depends on the origin even when it is not allowed: caches must keep the two apart.
    const headers: Record<string, string> = { vary: "Origin" };
    const origin = request.header("origin");
    if (origin === null || !this.#allows(origin)) return headers;
    headers["access-control-allow-origin"] = origin;
    headers["access-control-expose-headers"] = this.#exposedHeaders;
    if (this.#credentials) headers["access-control-allow-credentials"] = "true";
    return headers;
  }
}

function checkHeaders(option: string, names: unknown): readonly string[] {
  if (!Array.isArray(names)) {
    throw new TypeError(
      `Option "${option}" is wrong: expected an array of header names, got ${kindOf(names)}`,
    );
  }
  for (const name of names) {
    if (typeof name === "string" && /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && name !== "*") continue;
    throw new TypeError(
      `Option "${option}" is wrong: expected header names such as "x-api-key", got ${JSON.stringify(name)}`,
    );
  }
  return names.map((name: string) => name.toLowerCase());
}

function toPredicate(origins: unknown, report: (error: unknown) => void): (origin: string) => boolean {
  if (origins === "*") return () => true;
  if (typeof origins === "function") {
    return (origin) => {
      // No browser sends anything else, and the function need not bear it.
      if (origin !== "null" && !URL.canParse(origin)) return false;
      try {
        return origins(origin) === true;
      } catch (error) {
        report(error);
        return false;
      }
    };
  }
  if (!Array.isArray(origins)) {
    throw new TypeError(
      `Option "origins" is wrong: expected an array of origins, a function or "*", got ${kindOf(origins)}`,
    );
  }
  for (const origin of origins) {
    if (typeof origin !== "string" || !URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new TypeError(
        `Option "origins" is wrong: expected origins such as "https://app.example", got ${
          typeof origin === "string" ? JSON.stringify(redactURL(origin)) : kindOf(origin)
        }`,
      );
    }
  }
  const allowed: ReadonlySet<string> = new Set(origins as string[]);
  return (origin) => allowed.has(origin);
}
