/**
 * A request and a reply as the desk sees them, so that a door that has no `Request` need not make one.
 *
 * @module
 */
import type { BodyBudget, BodyReservation } from "../limits/body_budget.ts";
import { type AbortSignalLike, type Closable, onAbort, onClose } from "../abort_signal.ts";
import type { ResponseBudget } from "../limits/pending_responses.ts";

export { onAbort, onClose };
export type { AbortSignalLike, BodyBudget, BodyReservation, Closable, ResponseBudget };

/** What the desk asks of a request, through whichever door it came. */
export interface IncomingRequest {
  /** The method, in capitals. */
  readonly method: string;
  /** Path and query, or an absolute URL. */
  readonly url: string;
  /** A header's value by its lower-case name; `null` when it was not sent. */
  header(name: string): string | null;
  /**
   * Reads the body as JSON.
   *
   * @param maxBytes How many bytes are read at most.
   * @param bodies What it shares with the other bodies that are being read: room, and the time each may take.
   * @throws {RefusalError} `BODY_TOO_LARGE` past that; `BAD_REQUEST` when it is not JSON in UTF-8 or breaks off;
   *   `MEDIA_TYPE` when it is compressed; `TIMEOUT` and `OVERLOADED` as `bodies` says.
   */
  readJSON(maxBytes: number, bodies: BodyBudget): Promise<unknown>;
  /** The address that connected, as the runtime tells it: a proxy's, if there is one; `unix` for a Unix socket, `null` for unknown. */
  remoteAddress(): string | null;
  /** What stands for the connection, where it can bring several requests at once. */
  connection?(): object | undefined;
  /** Tells when the client goes away. Asked only for requests that wait, or have failed. */
  getSignal(): AbortSignalLike;
  /** The request in the Web's own shape, for the application's hooks. */
  toRequest(): Request;
  /** What the host knows beside it, for the application's hooks. */
  getContext(): unknown;
}

/** What the desk answers. */
export interface Reply {
  /** The HTTP status. */
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** The whole body, a stream of it, or none. */
  readonly body: string | ReadableStream<Uint8Array> | null;
}

/** Answers requests. */
export interface RequestHandler {
  /** Answers one. Never rejects: a failure is a reply, too. */
  (request: IncomingRequest): Promise<Reply>;
  /** Bounds the replies that clients are slow to take. */
  readonly responses: ResponseBudget;
}
