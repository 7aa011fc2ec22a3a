/**
 * The errors of this package, their codes, and the HTTP status of each code.
 *
 * @module
 */
import { describe, redactError, redactText, redactURL } from "./redact.ts";

/** The codes of a {@linkcode RealityError}. Programs should check the code and never the message. */
export type ErrorCode =
  | "ERR_REALITY_BAD_REQUEST"
  | "ERR_REALITY_BODY_TOO_LARGE"
  | "ERR_REALITY_TOO_MANY_KEYS"
  | "ERR_REALITY_MEDIA_TYPE"
  | "ERR_REALITY_METHOD"
  | "ERR_REALITY_NOT_FOUND"
  | "ERR_REALITY_NO_GROUP"
  | "ERR_REALITY_UNAUTHORIZED"
  | "ERR_REALITY_FORBIDDEN"
  | "ERR_REALITY_TIMEOUT"
  | "ERR_REALITY_RATE_LIMITED"
  | "ERR_REALITY_OVERLOADED"
  | "ERR_REALITY_INTERNAL"
  | "ERR_REALITY_HOOK"
  | "ERR_REALITY_STORAGE"
  | "ERR_REALITY_PEER_UNREACHABLE"
  | "ERR_REALITY_PEER_REFUSED"
  | "ERR_REALITY_PEER_REPLY"
  | "ERR_REALITY_RELAY"
  | "ERR_REALITY_CLOSED";

const STATUS: Readonly<Record<ErrorCode, number>> = {
  ERR_REALITY_BAD_REQUEST: 400,
  ERR_REALITY_BODY_TOO_LARGE: 413,
  ERR_REALITY_TOO_MANY_KEYS: 413,
  ERR_REALITY_MEDIA_TYPE: 415,
  ERR_REALITY_METHOD: 405,
  ERR_REALITY_NOT_FOUND: 404,
  // In the field "refused" of an answer about all keys.
  ERR_REALITY_NO_GROUP: 200,
  ERR_REALITY_UNAUTHORIZED: 401,
  ERR_REALITY_FORBIDDEN: 403,
  ERR_REALITY_TIMEOUT: 408,
  ERR_REALITY_RATE_LIMITED: 429,
  ERR_REALITY_OVERLOADED: 503,
  ERR_REALITY_INTERNAL: 500,
  ERR_REALITY_HOOK: 503,
  ERR_REALITY_STORAGE: 503,
  ERR_REALITY_PEER_UNREACHABLE: 502,
  ERR_REALITY_PEER_REFUSED: 502,
  ERR_REALITY_PEER_REPLY: 502,
  ERR_REALITY_RELAY: 502,
  ERR_REALITY_CLOSED: 503,
};

/** Headers of the reply that every error with a code has. */
const HEADERS: Readonly<Partial<Record<ErrorCode, Readonly<Record<string, string>>>>> = {
  ERR_REALITY_UNAUTHORIZED: Object.freeze({ "www-authenticate": "Bearer" }),
  ERR_REALITY_CLOSED: Object.freeze({ "connection": "close" }),
};

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** What the reply to a refused request has besides its status, code and message. */
export interface RefusalOptions extends ErrorOptions {
  /** Headers of the reply, with lower-case names. @default {{}} */
  readonly headers?: Readonly<Record<string, string>>;
  /** The number of seconds until the client may send the request again. Left out: 1 for status 503, else none. */
  readonly retryAfter?: number;
}

/**
 * The base class of the errors of this package. Wrong arguments and options throw a `TypeError` or a `RangeError` instead.
 *
 * Its message and its causes contain no secrets. Credentials in addresses are removed. In errors of Redis and database
 * drivers, the arguments of commands and the properties that are objects of other classes are removed. A cause from
 * which something was removed is a copy.
 *
 * @example
 * ```ts
 * import { RealityError, RefusalError } from "@rootlodge/reality-server";
 *
 * const error = new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: not JSON");
 * console.assert(error instanceof RealityError);
 * console.assert(error.code === "ERR_REALITY_BAD_REQUEST");
 * ```
 */
export class RealityError extends Error {
  /** What failed, for programs. */
  readonly code: ErrorCode;

  /**
   * Creates an error with a code.
   *
   * @param code What failed, for programs.
   * @param message What failed, for people.
   * @param options `cause`: the error behind this one.
   */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(
      redactText(message),
      options && "cause" in options ? { cause: redactError(options.cause) } : undefined,
    );
    this.name = new.target.name;
    this.code = code;
  }

  /** The HTTP status of a reply with this code. */
  get status(): number {
    return STATUS[this.code];
  }

  /** The headers that the reply has besides those of every reply, with lower-case names. */
  get headers(): Readonly<Record<string, string>> {
    return HEADERS[this.code] ?? NO_HEADERS;
  }

  /** The number of seconds until the client may send the request again; `undefined` if unknown. */
  get retryAfter(): number | undefined {
    return undefined;
  }
}

/**
 * An error as a {@linkcode RealityError}: itself if it is one, else an `ERR_REALITY_INTERNAL` that it caused.
 *
 * @param error Any value that was thrown.
 * @param message The message if the error is not a `RealityError`.
 */
export function toRealityError(error: unknown, message: string): RealityError {
  if (error instanceof RealityError) return error;
  return new RealityError("ERR_REALITY_INTERNAL", message, { cause: error });
}

/** A request was refused for the reason that the code names. The client receives status, headers and message. */
export class RefusalError extends RealityError {
  readonly #headers: Readonly<Record<string, string>> | undefined;
  readonly #retryAfter: number | undefined;

  /**
   * Creates a refusal.
   *
   * @param code The reason, for programs.
   * @param message What failed, for people.
   * @param options `cause`: the error behind this one. `headers` and `retryAfter`: what the reply has in addition.
   */
  constructor(code: ErrorCode, message: string, options?: RefusalOptions) {
    super(code, message, options);
    this.#headers = options?.headers;
    this.#retryAfter = options?.retryAfter;
  }

  /** The headers that the reply has besides those of every reply, with lower-case names. */
  override get headers(): Readonly<Record<string, string>> {
    return this.#headers ?? super.headers;
  }

  /** The number of seconds until the client may send the request again; `undefined` if unknown. */
  override get retryAfter(): number | undefined {
    return this.#retryAfter;
  }
}

/** An operation of the storage failed. The server answers 503 until the storage works again. */
export class StorageError extends RealityError {
  /** The method of the storage that was called. */
  readonly operation: string;
  /** Whether this reports that the storage works again. */
  readonly recovered: boolean;

  /**
   * Creates the error of one call of the storage.
   *
   * @param operation The method of the storage that was called.
   * @param cause The error of the storage.
   * @param recovered Whether this reports that the storage works again. @default {false}
   */
  constructor(operation: string, cause: unknown, recovered: boolean = false) {
    const message = recovered
      ? `Storage is well again at ${operation}`
      : `Storage failed at ${operation}: ${describe(cause)}`;
    super("ERR_REALITY_STORAGE", message, { cause });
    this.operation = operation;
    this.recovered = recovered;
  }
}

/** How an exchange with a peer failed: without an answer, with a refusal, or with an answer that cannot be read. */
export type PeerFault = "unreachable" | "refused" | "reply";

const PEER_CODES: Readonly<Record<PeerFault, ErrorCode>> = {
  unreachable: "ERR_REALITY_PEER_UNREACHABLE",
  refused: "ERR_REALITY_PEER_REFUSED",
  reply: "ERR_REALITY_PEER_REPLY",
};

/** An exchange with a peer failed. Reported once when the peer fails and once when it works again. */
export class PeerError extends RealityError {
  /** The peer's URL, as `meshPeers` has it, with `…` for a query. */
  readonly peer: string;
  /** Whether this reports that the peer works again. */
  readonly recovered: boolean;

  /**
   * Creates the error of one exchange.
   *
   * @param peer The peer's URL.
   * @param fault How the exchange failed.
   * @param cause An error, or a description.
   * @param recovered Whether this reports that the peer works again. @default {false}
   */
  constructor(peer: string, fault: PeerFault, cause: unknown, recovered: boolean = false) {
    const url = redactURL(peer);
    const message = recovered
      ? `Peer ${url} is well again`
      : `Cannot exchange with peer ${url}: ${describe(cause)}`;
    super(PEER_CODES[fault], message, { cause });
    this.peer = url;
    this.recovered = recovered;
  }
}

/** Redis failed, or sent a message that cannot be read. Nothing is lost: peers and the storage make up for it. */
export class RelayError extends RealityError {
  /** Whether this reports that Redis works again. */
  readonly recovered: boolean;

  /**
   * Creates an error of Redis.
   *
   * @param cause An error, or a description.
   * @param recovered Whether this reports that Redis works again. @default {false}
   */
  constructor(cause: unknown, recovered: boolean = false) {
    const message = recovered ? "Redis is well again" : `Redis failed: ${describe(cause)}`;
    super("ERR_REALITY_RELAY", message, { cause });
    this.recovered = recovered;
  }
}

/** The server or the storage was called after `close()`. */
export class ClosedError extends RealityError {
  /**
   * Creates the error of a call after `close()`.
   *
   * @param what What is closed. @default {"server"}
   */
  constructor(what: string = "server") {
    super("ERR_REALITY_CLOSED", `The ${what} is closed`);
  }
}
