/**
 * A Reality server as a request listener of `node:http`, on Node, Deno and Bun.
 *
 * @module
 */
import { checkServer } from "../src/check.ts";
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";
import { NodeRequest } from "./node/request.ts";
import { send } from "./node/send.ts";
import type { NodeIncoming, NodeOutgoing } from "./node/types.ts";

export type { HandlerOptions, NodeIncoming, NodeOutgoing };

/** Answers a request of `node:http`. Throws a `TypeError` if the argument is not such a request, and nothing else. */
export type NodeHandler = (request: NodeIncoming, response: NodeOutgoing) => void;

/** Time limits for connections: options of `http.createServer`. */
export interface ListenerLimits {
  /** Time for the headers of a request, and for its first byte on a new connection, in milliseconds. */
  readonly headersTimeout: number;
  /** Time for a whole request, in milliseconds. */
  readonly requestTimeout: number;
  /** Time between two checks of all connections, in milliseconds. */
  readonly connectionsCheckingInterval: number;
  /** Time that an idle connection stays open after an answer, in milliseconds. */
  readonly keepAliveTimeout: number;
}

/**
 * Time limits that close connections on which a client sends nothing, or half a request. The server itself refuses a
 * body that does not arrive within its `bodyTimeout`.
 *
 * Idle connections stay open for longer than the 60 s of most proxies, so that the proxy closes them. With Node's
 * default of 5 s, a proxy can send a request on a connection that Node is just closing, and answers 502.
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
 * Creates a listener that answers all routes of a server.
 *
 * Pass it every request, or only those under the base path. Requests for other paths are answered with 404. A client
 * that disconnects frees its place at once. The listener also works for `node:http2`, and in Koa with
 * `ctx.respond = false` and `handler(ctx.req, ctx.res)`. Hooks such as `authorize` get Node's request as `context`.
 *
 * By default Node allows 60 s for the headers of a request and 300 s for the whole request, and checks every 30 s. The
 * time of waiting for the answer does not count. {@linkcode listenerLimits} are shorter. Deno and Bun ignore these limits.
 *
 * @param server The server that answers.
 * @param options The base path, CORS and the other options of the handler.
 * @returns A listener for `http.createServer`.
 * @throws {TypeError} If an option is unknown or wrong; the message names it.
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
  checkServer(server);
  const handler = server.getRequestHandler(options);
  return (incoming, outgoing) => {
    const request = new NodeRequest(incoming, outgoing);
    void handler(request).then((reply) => send(request, reply, handler.responses));
  };
}
