/**
 * What a runtime or a bridge hands over beside a `Request`, told by its shape: who connected, and Bun's server.
 *
 * @module
 */
import { UNIX_SOCKET } from "../limits/client_address.ts";
import { type ConnectedSocket, socketAddress } from "./request_shape.ts";

/** As much of Bun's server as is called. */
export interface BunServer {
  /** Closes the connection of a request only after it was silent for so many seconds; 0 for never. */
  timeout(request: Request, seconds: number): void;
}

/** Bun's server: what is handed over itself, or its property `server`, as Hono's users name it. */
export function findBunServer(connection: unknown): BunServer | null {
  if (typeof connection !== "object" || connection === null) return null;
  if (isFunction((connection as Partial<BunServer>).timeout)) return connection as BunServer;
  const { server } = connection as { server?: unknown };
  return isBunServer(server) ? server : null;
}

/** A binding of a Worker may be called `server`, and has a method of any name, but no number. */
function isBunServer(value: unknown): value is BunServer {
  if (typeof value !== "object" || value === null) return false;
  const { timeout, pendingRequests } = value as { timeout?: unknown; pendingRequests?: unknown };
  return isFunction(timeout) && typeof pendingRequests === "number";
}

/**
 * The address that connected: in what `Deno.serve` hands over, by Bun's server, or in the request of `node:http` that
 * a bridge for Node keeps. Whatever else is there, such as the bindings of a Worker, tells none.
 *
 * @returns `unix` for a Unix socket; `null` for unknown.
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
    // Something else of that name.
    return null;
  }
}

/**
 * The socket in the request of `node:http` that a bridge for Node keeps. Other hosts bound by themselves how many
 * requests a connection brings at once.
 */
export function bridgedSocket(connection: unknown): object | undefined {
  if (typeof connection !== "object" || connection === null) return undefined;
  const { incoming } = connection as { incoming?: { socket?: object | null } | null };
  return incoming?.socket ?? undefined;
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}
