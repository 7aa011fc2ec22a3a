/**
 * A Reality server as a listener of `node:http`: on Node, Deno and Bun.
 *
 * @module
 */
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";
import { type NodeIncoming, type NodeOutgoing, NodeRequestView, send } from "./node/exchange.ts";

export type { HandlerOptions, NodeIncoming, NodeOutgoing };

/** Answers a request of `node:http`; throws only a `TypeError` for what is no request, and names it. */
export type NodeHandler = (request: NodeIncoming, response: NodeOutgoing) => void;

/** How long a listener waits for what, as `http.createServer` takes it. */
export interface ListenerLimits {
  /** Milliseconds for the head of a request, and for its first byte on a new connection. */
  readonly headersTimeout: number;
  /** Milliseconds for a whole request. */
  readonly requestTimeout: number;
  /** Milliseconds from one look at all connections to the next. */
  readonly connectionsCheckingInterval: number;
  /** Milliseconds that a connection is kept for another request, after an answer. */
  readonly keepAliveTimeout: number;
}

/**
 * Limits that let go of clients which open a connection and send nothing, or half a request. A body that does not come
 * is given up by the server itself, after its own `bodyTimeout`.
 *
 * Connections are kept for longer than the 60 s of most proxies, which are then the ones to close them: with Node's own
 * 5 s, a request can meet a connection that is just being closed, and is answered 502 by the proxy.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { createNodeHandler, listenerLimits } from "@rootlodge/reality-server/node";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const listener = createServer(listenerLimits, createNodeHandler(server));
 * await server.close();
 * ```
 */
export const listenerLimits: ListenerLimits = Object.freeze({
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 65_000,
});

/**
 * Makes a listener that answers all routes of a server.
 *
 * Give it every request of a server of its own, or those under its base path; what is not under it is a 404.
 * A client that hangs up gives its place back at once. Works for `node:http2` as well, and in Koa with
 * `ctx.respond = false` and `handler(ctx.req, ctx.res)`. Hooks such as `authorize` get the request as `context`.
 *
 * Node lets clients take 60 s for the head of a request and 300 s for all of it, and looks every 30 s; waiting for the
 * answer does not count. {@linkcode listenerLimits} are shorter. Deno and Bun do not look at these limits.
 *
 * @param server The server that answers.
 * @param options Where it is mounted, and for which origins.
 * @returns A listener for `http.createServer`.
 * @throws {TypeError} For an option that is unknown or wrong; names it.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { createNodeHandler } from "@rootlodge/reality-server/node";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const listener = createServer(createNodeHandler(server));
 * await new Promise<void>((resolve) => listener.listen(0, resolve));
 *
 * const { port } = listener.address() as { port: number };
 * const response = await fetch(`http://localhost:${port}/reality/health`);
 * console.assert((await response.json()).status === "ok");
 *
 * await server.close();
 * await new Promise((resolve) => listener.close(resolve));
 * ```
 */
export function createNodeHandler(server: RealityServer, options?: HandlerOptions): NodeHandler {
  const handler = server.getRequestHandler(options);
  return (request, response) => {
    const view = new NodeRequestView(request, response);
    void handler(view).then((reply) => send(view, reply, handler.responses));
  };
}
