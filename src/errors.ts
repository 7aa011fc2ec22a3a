/**
 * The errors that leave this package, their codes, and the HTTP status each code stands for.
 *
 * @module
 */
import { describe, redactError, redactText, redactURL } from "./redact.ts";

/** Every code that a {@linkcode RealityError} can carry. Callers look at the code, never at the message. */
export type ErrorCode =
  | "ERR_REALITY_BAD_REQUEST"
  | "ERR_REALITY_BODY_TOO_LARGE"
  | "ERR_REALITY_TOO_MANY_KEYS"
  | "ERR_REALITY_MEDIA_TYPE"
  | "ERR_REALITY_METHOD"
  | "ERR_REALITY_NOT_FOUND"
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
  /** Seconds until the client may ask again. Left out: 1 for a status of 503, otherwise not said. */
  readonly retryAfter?: number;
}

/**
 * The base of every error of this package that is not a mistake in calling it (those are `TypeError` and
 * `RangeError`).
 *
 * Its texts and its causes hold no secret: credentials in addresses are left out, and of a cause, which a driver of
 * Redis or of a database made, the arguments of commands and whatever else hangs on it with a class of its own. A cause
 * from which something was left out is a copy.
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
  /** Says what went wrong, for programs. */
  readonly code: ErrorCode;

  /**
   * Makes an error with a code.
   *
   * @param code Says what went wrong, for programs.
   * @param message Says it for people.
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

  /** The HTTP status that an answer with this code has. */
  get status(): number {
    return STATUS[this.code];
  }

  /** The headers that the reply has besides those of every reply, with lower-case names. */
  get headers(): Readonly<Record<string, string>> {
    return HEADERS[this.code] ?? NO_HEADERS;
  }

  /** Seconds until the client may ask again; `undefined` when the error does not say it. */
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

/** A request was refused. The code says why. Status, headers and message go to the client. */
export class RefusalError extends RealityError {
  readonly #headers: Readonly<Record<string, string>> | undefined;
  readonly #retryAfter: number | undefined;

  /**
   * Makes a refusal.
   *
   * @param code Says why, for programs.
   * @param message Says it for people.
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

  /** Seconds until the client may ask again; `undefined` when the error does not say it. */
  override get retryAfter(): number | undefined {
    return this.#retryAfter;
  }
}

/** The storage failed; names the operation and keeps the cause. The server answers 503 until it is well again. */
export class StorageError extends RealityError {
  /** What was asked of the storage: the method's name. */
  readonly operation: string;
  /** Whether this is the report that the storage is well again. */
  readonly recovered: boolean;

  /**
   * Makes the error of one call of the storage.
   *
   * @param operation What was asked of the storage: the method's name.
   * @param cause The error that the storage gave.
   * @param recovered Whether this is the report that the storage is well again. @default {false}
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

/** How an exchange with a peer failed: no answer, an answer that turns us down, or one that makes no sense. */
export type PeerFault = "unreachable" | "refused" | "reply";

const PEER_CODES: Readonly<Record<PeerFault, ErrorCode>> = {
  unreachable: "ERR_REALITY_PEER_UNREACHABLE",
  refused: "ERR_REALITY_PEER_REFUSED",
  reply: "ERR_REALITY_PEER_REPLY",
};

/** An exchange with another server failed. Reported once when a peer goes bad and once when it is well again. */
export class PeerError extends RealityError {
  /** The peer's URL, as `meshPeers` has it, with `…` for a query. */
  readonly peer: string;
  /** Whether this is the report that the peer is well again. */
  readonly recovered: boolean;

  /**
   * Makes the error of one exchange.
   *
   * @param peer The peer's URL.
   * @param fault How the exchange failed.
   * @param cause What was found: an error, or words for it.
   * @param recovered Whether this is the report that the peer is well again. @default {false}
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

/** Redis failed, or said something that cannot be read. Nothing is lost by it: peers and storage make up for it. */
export class RelayError extends RealityError {
  /** Whether this is the report that Redis is well again. */
  readonly recovered: boolean;

  /**
   * Makes the error of the path through Redis.
   *
   * @param cause What was found: an error, or words for it.
   * @param recovered Whether this is the report that Redis is well again. @default {false}
   */
  constructor(cause: unknown, recovered: boolean = false) {
    const message = recovered ? "Redis is well again" : `Redis failed: ${describe(cause)}`;
    super("ERR_REALITY_RELAY", message, { cause });
    this.recovered = recovered;
  }
}

/** The server or the storage was asked for something after `close()`. */
export class ClosedError extends RealityError {
  /**
   * Makes the error of a call that came too late.
   *
   * @param what What is closed. @default {"server"}
   */
  constructor(what: string = "server") {
    super("ERR_REALITY_CLOSED", `The ${what} is closed`);
  }
}
