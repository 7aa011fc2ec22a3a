/**
 * A Reality server as a fetch handler: for Deno, Bun, Workers, Hono and whatever speaks `Request` and `Response`.
 *
 * @module
 */
import type { FetchContext, FetchHandler, RequestContext } from "../src/http/fetch.ts";
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";

export type { FetchContext, FetchHandler, HandlerOptions, RequestContext };

/**
 * Makes a handler that answers all routes of a server.
 *
 * Mount it on `POST /reality/sync` alone, or give it every request; what is not under its base path is a 404.
 * Hono's `app.post("/reality/sync", handler)` works as it is, also behind a middleware or validator that has read the
 * body; elsewhere hand over the `Request`. One of another library will do, with its body unread.
 *
 * Hooks such as `authorize` get Hono's context as `context`; elsewhere `{ env, ctx }`, the handler's second and third
 * arguments: {@linkcode FetchContext}.
 *
 * Bun closes a connection that was silent for 10 s. `Bun.serve({ fetch: handler })` takes care of clients that
 * wait or stream, and so does Hono, where `env` is Bun's server or has it as `env.server`; a `fetch` of your own calls
 * `handler(request, server)`, or sets `idleTimeout` to 60.
 * Workers tell of a client that hung up when something is next sent to it, and only with the flag
 * `enable_request_signal`. Deno prints a note about `request.signal` once; both ways of it are right here.
 *
 * @param server The server that answers.
 * @param options Where it is mounted, and for which origins.
 * @returns A handler that never rejects. It throws a `TypeError` for what is no request.
 * @throws {TypeError} For an option that is unknown or wrong; names it.
 *
 * @example
 * ```ts
 * import { createFetchHandler, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const handler = createFetchHandler(server);
 *
 * await server.updateNode("chat:room:general", "abc123");
 * const response = await handler(
 *   new Request("http://localhost/reality/sync", {
 *     method: "POST",
 *     headers: { "content-type": "application/json" },
 *     body: JSON.stringify({ known: { "chat:room:general": 0 } }),
 *   }),
 * );
 * const { changed } = await response.json();
 * console.assert(changed["chat:room:general"].version === 1);
 * await server.close();
 * ```
 */
export function createFetchHandler(server: RealityServer, options?: HandlerOptions): FetchHandler {
  return server.getFetchHandler(options);
}
