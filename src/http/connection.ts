/**
 * Finds the connection of a `Request` in what a runtime or bridge passes beside it: the remote address, and Bun's
 * server.
 *
 * @module
 */
import { UNIX_SOCKET } from "../limits/client_address.ts";
import { type ConnectedSocket, socketAddress } from "./request_shape.ts";

/** The used part of Bun's server. */
export interface BunServer {
  /** Sets after how many idle seconds the connection of a request is closed; 0 for never. */
  timeout(request: Request, seconds: number): void;
}

/** Bun's server: the value itself, or its property `server`, as is usual with Hono. */
export function findBunServer(connection: unknown): BunServer | null {
  if (typeof connection !== "object" || connection === null) return null;
  if (isFunction((connection as Partial<BunServer>).timeout)) return connection as BunServer;
  const { server } = connection as { server?: unknown };
  return isBunServer(server) ? server : null;
}

/** A binding of a Worker may be called `server` and has methods of any name, but no numbers. */
function isBunServer(value: unknown): value is BunServer {
  if (typeof value !== "object" || value === null) return false;
  const { timeout, pendingRequests } = value as { timeout?: unknown; pendingRequests?: unknown };
  return isFunction(timeout) && typeof pendingRequests === "number";
}

/**
 * Finds the remote address: in the info of `Deno.serve`, by Bun's server, or in the `node:http` request of a bridge
 * for Node. Other values, such as the bindings of a Worker, have no address.
 *
 * @returns `unix` for a Unix socket; `null` if unknown.
 */
export function findAddress(request: Request, connection: unknown): string | null {
  if (typeof connection !== "object" || connection === null) return null;
  const host = "server" in connection && isBunServer(connection.server) ? connection.server : connection;
  const { remoteAddr, requestIP, address, incoming } = host as {
    remoteAddr?: { hostname?: unknown; transport?: unknown } | null;
    requestIP?: unknown;
    address?: unknown;
    incoming?: { socket?: ConnectedSocket | null } | null;
  };
  try {
    if (typeof requestIP === "function") {
      const found: unknown = requestIP.call(host, request)?.address;
      if (typeof found === "string") return found;
      // Bun's server has the path of its Unix socket in place of an address.
      return typeof address === "string" ? UNIX_SOCKET : null;
    }
    if (remoteAddr?.transport === "unix") return UNIX_SOCKET;
    return typeof remoteAddr?.hostname === "string" ? remoteAddr.hostname : socketAddress(incoming?.socket);
  } catch {
    // The value only looks like one of these.
    return null;
  }
}

/**
 * The socket of the `node:http` request that a bridge for Node keeps. Other hosts limit the requests per connection
 * themselves.
 */
export function bridgedSocket(connection: unknown): object | undefined {
  if (typeof connection !== "object" || connection === null) return undefined;
  const { incoming } = connection as { incoming?: { socket?: object | null } | null };
  return incoming?.socket ?? undefined;
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}
