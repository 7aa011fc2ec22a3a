/**
 * A request and a reply as the handler sees them. An adapter without a `Request` does not have to create one.
 *
 * @module
 */
import type { BodyBudget } from "../limits/body_budget.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import type { ResponseBudget } from "../limits/pending_responses.ts";

/** A request, as an adapter passes it to the handler. */
export interface IncomingRequest {
  /** The method, in upper case. */
  readonly method: string;
  /** Path and query, or an absolute URL. */
  readonly url: string;
  /** A header's value by its lower-case name; `null` if it was not sent. */
  header(name: string): string | null;
  /**
   * Reads the body as JSON.
   *
   * @param maxBytes The maximum number of bytes.
   * @param bodies The memory and time limits that all bodies share.
   * @throws {RefusalError} `BODY_TOO_LARGE` above the maximum; `BAD_REQUEST` when the body is not JSON in UTF-8 or
   *   breaks off; `MEDIA_TYPE` when it is compressed; `TIMEOUT` and `OVERLOADED` as `bodies` says.
   */
  readJSON(maxBytes: number, bodies: BodyBudget): Promise<unknown>;
  /**
   * Whether all strings of the body that was read contain only visible ASCII: the characters U+0020 to U+007E. Then keys
   * are not checked one by one. Left out: unknown.
   */
  readonly hasPlainStrings?: boolean;
  /**
   * The address of the connection as the runtime reports it, which may be a proxy's; `unix` for a Unix socket, `null`
   * if unknown.
   */
  remoteAddress(): string | null;
  /** Represents the connection, if it can carry several requests at the same time. */
  connection?(): object | undefined;
  /** Aborts when the client disconnects. Called only for requests that wait or have failed. */
  getSignal(): AbortSignalLike;
  /** The request as a `Request`, for the application's hooks. */
  toRequest(): Request;
  /** What the host provides beside the request, for the application's hooks. */
  getContext(): unknown;
}

/** The reply of the handler. */
export interface Reply {
  /** The HTTP status. */
  readonly status: number;
  /** Headers with lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** The whole body, its parts, or none. */
  readonly body: string | PulledBody | null;
  /** Whether caches may give it to other clients: it says nothing about the client's quota. */
  readonly isShared?: true;
}

/**
 * A body in parts, each of which is created when it is pulled. An adapter pulls a part when the client has read the
 * earlier ones, so that nothing is queued.
 */
export interface PulledBody {
  /** Whether there are no more parts. */
  readonly isOver: boolean;
  /**
   * Pulls the next part. Resolves once there is one, or with `null` if the body ends in the meantime. Never rejects.
   * May be called again once it has resolved.
   */
  next(): Promise<string | null>;
  /** Ends the body, because it will not be read any more. */
  cancel(): void;
  /**
   * Called when the body ends by itself: the client has disconnected or has not read for too long.
   *
   * @param last The last part; `null` for a body without one.
   */
  onEnd: ((last: string | null) => void) | undefined;
}

/**
 * Answers requests in the form that an adapter sends. A handler that returned the reply would need one more promise for
 * each request.
 *
 * @param request The request.
 * @param toAnswer Makes the answer of the reply.
 * @returns The answer. Never rejects: a failure is a reply as well.
 */
export type Answer = <T>(request: IncomingRequest, toAnswer: (reply: Reply) => T) => Promise<T>;

/** Answers requests. */
export interface RequestHandler {
  /** Answers a request. Never rejects: a failure is a reply as well. */
  (request: IncomingRequest): Promise<Reply>;
  /** Limits the replies that clients are slow to read. */
  readonly responses: ResponseBudget;
}
