/**
 * Recognizes requests by their shape. A host may have its own `Request` class: of another copy of undici, of a
 * polyfill, or a subclass of a framework. Pure.
 *
 * @module
 */
import { UNIX_SOCKET } from "../limits/client_address.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import { kindOf } from "../store/node.ts";

/** The used part of a request of `node:http`, Express and similar frameworks. */
export interface NodeRequest {
  /** The headers, with lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Path and query. */
  readonly url?: string | undefined;
  /** The connection. It closes when the client disconnects. */
  readonly socket: ConnectedSocket & {
    once(event: "close", listener: () => void): unknown;
    off(event: "close", listener: () => void): unknown;
  };
}

/** The used part of a socket. */
export interface ConnectedSocket {
  /** The remote address. */
  readonly remoteAddress?: string | undefined;
  /** The local address. */
  readonly localAddress?: string | undefined;
  /** Whether it is closed. */
  readonly destroyed?: boolean | undefined;
}

/**
 * The remote address of a Node socket; `unix` for a Unix socket, which has neither address. A connection that was
 * reset by its client has lost only the remote address and must not be taken for a Unix socket.
 */
export function socketAddress(socket: ConnectedSocket | null | undefined): string | null {
  const { remoteAddress, localAddress, destroyed } = socket ?? {};
  if (typeof remoteAddress === "string") return remoteAddress;
  return destroyed === false && localAddress === undefined ? UNIX_SOCKET : null;
}

/** A signal that never aborts. */
const NEVER_ABORTED: AbortSignalLike = Object.freeze({
  aborted: false,
  throwIfAborted() {},
  addEventListener() {},
  removeEventListener() {},
});

/** Whether a value has the shape of a `Request` of any library. */
export function isWebRequest(value: unknown): value is Request {
  if (typeof value !== "object" || value === null) return false;
  const { url, method, headers } = value as Partial<Request>;
  return typeof url === "string" && typeof method === "string" && isHeaders(headers);
}

/** Whether a value has the shape of `Headers` of any library. */
export function isHeaders(value: unknown): value is Headers {
  return typeof value === "object" && value !== null && typeof (value as Headers).get === "function";
}

/** Whether a value has the shape of a request of `node:http` or `node:http2`. */
export function isNodeRequest(value: unknown): value is NodeRequest {
  if (typeof value !== "object" || value === null) return false;
  const { headers, socket } = value as { headers?: unknown; socket?: { once?: unknown } | null };
  return typeof headers === "object" && headers !== null && !isHeaders(headers) &&
    typeof socket?.once === "function";
}

/** The signal of a request. It never aborts if the request has none, as with some libraries. */
export function signalOf(request: Request): AbortSignalLike {
  return (request.signal as AbortSignal | null | undefined) ?? NEVER_ABORTED;
}

/** Describes a value that is not a request, with a hint if its shape suggests one. */
export function nameShape(value: unknown): string {
  if (typeof value !== "object" || value === null) return kindOf(value);
  if (isWebRequest(value)) return "a Request: use createFetchHandler";
  const { req } = value as { req?: { raw?: unknown } };
  if (isWebRequest(req?.raw)) return "Hono's context: use createFetchHandler";
  // Koa's context has the headers and the socket of its `req`.
  if (isNodeRequest(value) && !req) {
    return "a request of node:http: use createNodeHandler or createExpressAdapter";
  }
  for (const name of ["req", "request", "raw"]) {
    const inner = (value as Record<string, unknown>)[name];
    if (isWebRequest(inner) || isNodeRequest(inner)) {
      return `an object around one; hand over its property "${name}"`;
    }
  }
  return "an object of another shape";
}
