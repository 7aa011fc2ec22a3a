/**
 * CORS: which pages of other origins may read the answers.
 *
 * @module
 */
import { checkInteger, checkNames, optionError, wrongOption } from "../check.ts";
import { kindOf } from "../store/node.ts";
import { redactURL } from "../redact.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";

/**
 * Which pages of other origins may read the answers. The options have the names of Hono's `cors` middleware.
 *
 * @example
 * ```ts
 * import { createFetchHandler, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const cors = { origin: ["https://app.example"], credentials: true };
 * const handler = createFetchHandler(server, { cors });
 * await server.close();
 * ```
 */
export interface CorsOptions {
  /**
   * The origins whose pages may read: a list such as `["https://app.example"]`, a function that returns whether an
   * origin may, or `"*"` for every origin. `"*"` cannot be combined with `credentials`. The function is called with
   * URLs, and with `"null"` for a page from a file. If it throws, the origin may not read and `onError` gets the error.
   * Required, unless the deprecated `origins` is given.
   */
  origin?: readonly string[] | ((origin: string) => boolean) | "*";
  /**
   * Whether these pages may send cookies and other credentials.
   *
   * @default {false}
   */
  credentials?: boolean;
  /**
   * How long browsers may cache the answer to a preflight, in seconds: 0 to 86400.
   *
   * @default {600}
   */
  maxAge?: number;
  /**
   * Request headers that these pages may send, such as `["x-api-key"]`. Always allowed are `Authorization`,
   * `Content-Type`, `Last-Event-ID`, `traceparent`, `tracestate` and `baggage`.
   *
   * @default {[]}
   */
  allowHeaders?: readonly string[];
  /**
   * Response headers that these pages may read, for example one that a framework adds. Always exposed are `RateLimit`,
   * `RateLimit-Policy` and `Retry-After`.
   *
   * @default {[]}
   */
  exposeHeaders?: readonly string[];
  /**
   * The former name of {@linkcode CorsOptions.origin}.
   *
   * @deprecated Use `origin`. This name works until the next major version.
   */
  origins?: readonly string[] | ((origin: string) => boolean) | "*";
  /**
   * The former name of {@linkcode CorsOptions.allowHeaders}.
   *
   * @deprecated Use `allowHeaders`. This name works until the next major version.
   */
  allowedHeaders?: readonly string[];
  /**
   * The former name of {@linkcode CorsOptions.exposeHeaders}.
   *
   * @deprecated Use `exposeHeaders`. This name works until the next major version.
   */
  exposedHeaders?: readonly string[];
}

/** Options that had another name before, by their name. */
const FORMER_NAMES = {
  origin: "origins",
  allowHeaders: "allowedHeaders",
  exposeHeaders: "exposedHeaders",
} as const;

const METHODS = "GET, POST, DELETE";
const HEADERS = ["authorization", "content-type", "last-event-id", "traceparent", "tracestate", "baggage"];
/** Headers that say how old an answer is, and when a client may try again. */
const EXPOSED = ["reality-time", "ratelimit", "ratelimit-policy", "retry-after"];

/** Adds the CORS headers to replies, and answers preflights. */
export class Cors {
  readonly #allows: (origin: string) => boolean;
  readonly #credentials: boolean;
  readonly #maxAge: number;
  readonly #wildcard: boolean;
  readonly #allowHeaders: string;
  readonly #exposeHeaders: string;

  /**
   * @param options The options of the application.
   * @param report Gets the error if the function `origin` throws.
   * @throws {TypeError} If an option is unknown or wrong or given under both of its names, or if `"*"` is combined with
   *   credentials.
   */
  constructor(options: CorsOptions, report: (error: unknown) => void) {
    const given = checkNames("cors", options, [
      "origin",
      "credentials",
      "maxAge",
      "allowHeaders",
      "exposeHeaders",
      ...Object.values(FORMER_NAMES),
    ]);
    const { credentials = false, maxAge = 600 } = given;
    const [originName, origin] = readOption(given, "origin");
    if (typeof credentials !== "boolean") {
      throw wrongOption("credentials", "a boolean", credentials);
    }
    this.#wildcard = origin === "*";
    if (this.#wildcard && credentials) {
      throw new TypeError(
        `Option "cors" is wrong: ${originName} "*" together with credentials; name the origins`,
      );
    }
    this.#credentials = credentials;
    this.#maxAge = checkInteger("maxAge", maxAge, [0, 86_400]);
    this.#allows = toPredicate(originName, origin, report);
    this.#allowHeaders = [...HEADERS, ...readHeaders(given, "allowHeaders")].join(", ");
    this.#exposeHeaders = [...EXPOSED, ...readHeaders(given, "exposeHeaders")].join(", ");
  }

  /** Answers a preflight. Returns `null` for any other request. */
  preflight(request: IncomingRequest): Reply | null {
    if (request.method !== "OPTIONS" || request.header("access-control-request-method") === null) return null;
    const headers = this.#headers(request);
    if (headers["access-control-allow-origin"] !== undefined) {
      headers["access-control-allow-methods"] = METHODS;
      headers["access-control-allow-headers"] = this.#allowHeaders;
      headers["access-control-max-age"] = String(this.#maxAge);
    }
    return { status: 204, headers, body: null };
  }

  /** Returns the reply with the CORS headers for the origin of the request. */
  extend(request: IncomingRequest, reply: Reply): Reply {
    return { ...reply, headers: { ...reply.headers, ...this.#headers(request) } };
  }

  #headers(request: IncomingRequest): Record<string, string> {
    if (this.#wildcard) {
      return { "access-control-allow-origin": "*", "access-control-expose-headers": this.#exposeHeaders };
    }
    // The answer depends on the origin even if it is not allowed: caches must store one answer per origin.
    const headers: Record<string, string> = { vary: "Origin" };
    const origin = request.header("origin");
    if (origin === null || !this.#allows(origin)) return headers;
    headers["access-control-allow-origin"] = origin;
    headers["access-control-expose-headers"] = this.#exposeHeaders;
    if (this.#credentials) headers["access-control-allow-credentials"] = "true";
    return headers;
  }
}

/** Returns an option with the name under which it was given. */
function readOption(
  given: Readonly<Record<string, unknown>>,
  name: keyof typeof FORMER_NAMES,
): [name: string, value: unknown] {
  const former = FORMER_NAMES[name];
  if (given[former] === undefined) return [name, given[name]];
  if (given[name] === undefined) return [former, given[former]];
  throw new TypeError(
    `Option "cors" is wrong: expected one of "${name}" and its former name "${former}", got both`,
  );
}

function readHeaders(
  given: Readonly<Record<string, unknown>>,
  name: "allowHeaders" | "exposeHeaders",
): readonly string[] {
  const [option, names = []] = readOption(given, name);
  if (!Array.isArray(names)) {
    throw wrongOption(option, "an array of header names", names);
  }
  for (const name of names) {
    if (typeof name === "string" && /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && name !== "*") continue;
    throw optionError(option, 'header names such as "x-api-key"', JSON.stringify(name));
  }
  return names.map((name: string) => name.toLowerCase());
}

function toPredicate(
  option: string,
  origins: unknown,
  report: (error: unknown) => void,
): (origin: string) => boolean {
  if (origins === "*") return () => true;
  if (typeof origins === "function") {
    return (origin) => {
      // Browsers send nothing else: the function does not have to handle invalid values.
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
    throw wrongOption(option, 'an array of origins, a function or "*"', origins);
  }
  for (const origin of origins) {
    if (typeof origin !== "string" || !URL.canParse(origin) || new URL(origin).origin !== origin) {
      const found = typeof origin === "string" ? JSON.stringify(redactURL(origin)) : kindOf(origin);
      throw optionError(option, 'origins such as "https://app.example"', found);
    }
  }
  const allowed: ReadonlySet<string> = new Set(origins as string[]);
  return (origin) => allowed.has(origin);
}
