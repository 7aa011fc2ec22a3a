/**
 * A Reality server as a fetch handler, for Deno, Bun, Workers, Hono and other hosts that use `Request` and `Response`.
 *
 * @module
 */
import { checkServer } from "../src/check.ts";
import type { FetchContext, FetchHandler, RequestContext } from "../src/http/fetch.ts";
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";

export type { FetchContext, FetchHandler, HandlerOptions, RequestContext };

/**
 * Creates a handler that answers all routes of a server.
 *
 * Mount it on `POST /reality/sync` alone, or pass it every request. Requests for other paths than those under the base
 * path are answered with 404. In Hono, write `app.post("/reality/sync", handler)`; a middleware or validator before it
 * may have read the body. Elsewhere pass the `Request`. A `Request` of another library works if its body is unread.
 *
 * Hooks such as `authorize` get Hono's context as `context`. Elsewhere they get `{ env, ctx }`, the second and third
 * argument of the handler: {@linkcode FetchContext}.
 *
 * Bun closes a connection after 10 s without traffic. `Bun.serve({ fetch: handler })` disables that for waiting
 * requests and streams, and so does Hono if `env` is Bun's server or has it as `env.server`. In a `fetch` function of
 * your own, call `handler(request, server)`, or set `idleTimeout` to 60.
 * Workers report a disconnected client only when something is next sent to it, and only with the flag
 * `enable_request_signal`. Deno prints a message about `request.signal` once; this handler works with both behaviors.
 *
 * @param server The server that answers.
 * @param options The base path, CORS and the other options of the handler.
 * @returns A handler that never rejects. It throws a `TypeError` if its argument is not a request.
 * @throws {TypeError} If an option is unknown or wrong; the message names it.
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
 * console.assert(changed["chat:room:general"].hash === "abc123");
 * await server.close();
 * ```
 */
export function createFetchHandler(server: RealityServer, options?: HandlerOptions): FetchHandler {
  checkServer(server);
  return server.getFetchHandler(options);
}
