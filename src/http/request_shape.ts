/**
 * Pure: what kind of request a host has handed over, told by its shape. A host may have a `Request` of its own: of
 * another copy of undici, of a polyfill, or a subclass of a framework's.
 *
 * @module
 */
import { UNIX_SOCKET } from "../limits/client_address.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import { kindOf } from "../store/node.ts";

/** The request object of `node:http`, Express and their like, as far as it is looked at. */
export interface NodeRequest {
  /** The headers, with lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Path and query. */
  readonly url?: string | undefined;
  /** The connection; its end is the client's. */
  readonly socket: ConnectedSocket & {
    once(event: "close", listener: () => void): unknown;
    off(event: "close", listener: () => void): unknown;
  };
}

/** As much of a socket as is looked at to tell who connected. */
export interface ConnectedSocket {
  /** The address at the other end. */
  readonly remoteAddress?: string | undefined;
  /** The address at this end. */
  readonly localAddress?: string | undefined;
  /** Whether it is closed. */
  readonly destroyed?: boolean | undefined;
}

/**
 * The address at the other end of a socket of Node's; `unix` for a Unix socket, which has none at either end. A
 * connection that its client has reset has lost the other one only, and may not pass for a Unix socket.
 */
export function socketAddress(socket: ConnectedSocket | null | undefined): string | null {
  const { remoteAddress, localAddress, destroyed } = socket ?? {};
  if (typeof remoteAddress === "string") return remoteAddress;
  return destroyed === false && localAddress === undefined ? UNIX_SOCKET : null;
}

/** What never tells that the client is gone. */
const NEVER_ABORTED: AbortSignalLike = Object.freeze({
  aborted: false,
  throwIfAborted() {},
  addEventListener() {},
  removeEventListener() {},
});

/** Whether a value has the shape of a `Request`, whichever library made it. */
export function isWebRequest(value: unknown): value is Request {
  if (typeof value !== "object" || value === null) return false;
  const { url, method, headers } = value as Partial<Request>;
  return typeof url === "string" && typeof method === "string" && isHeaders(headers);
}

/** Whether a value has the shape of `Headers`, whichever library made it. */
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

/** Tells when the client of a request goes; of one without a signal, as some libraries make them, never. */
export function signalOf(request: Request): AbortSignalLike {
  return (request.signal as AbortSignal | null | undefined) ?? NEVER_ABORTED;
}

/** Names what was handed over in place of a request, with a hint where its shape gives one. */
export function nameShape(value: unknown): string {
  if (typeof value !== "object" || value === null) return kindOf(value);
  if (isWebRequest(value)) return "a Request";
  if (isNodeRequest(value)) return "a request of node:http";
  for (const name of ["request", "req", "raw"]) {
    const inner = (value as Record<string, unknown>)[name];
    if (isWebRequest(inner) || isNodeRequest(inner)) {
      return `an object around one; hand over its property "${name}"`;
    }
  }
  return "an object that is none";
}
