/**
 * A Reality server as a handler of Express 4 and 5, Connect and Fastify.
 *
 * @module
 */
import { checkServer } from "../src/check.ts";
import type { Reply } from "../src/http/exchange.ts";
import type { ResponseBudget } from "../src/limits/pending_responses.ts";
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";
import { isOver } from "./node/disconnect.ts";
import { NodeRequest } from "./node/request.ts";
import { mergeVary, send, trackUnsent } from "./node/send.ts";
import type { NodeIncoming, NodeOutgoing } from "./node/types.ts";

export type { HandlerOptions, NodeIncoming, NodeOutgoing };

/** The request of Express: the parts that are used. */
export interface ExpressRequest extends NodeIncoming {
  /** The route that matched; `undefined` if the handler was mounted with `app.use`. */
  readonly route?: unknown;
}

/** The request of Fastify: the parts that are used. */
export interface FastifyRequest {
  /** Node's request. */
  readonly raw: NodeIncoming;
  /** The body as Fastify parsed it. */
  readonly body?: unknown;
}

/** The reply of Fastify: the parts that are used. */
export interface FastifyReply {
  /** Node's response. */
  readonly raw: NodeOutgoing;
  /** Sets the status. */
  code(status: number): unknown;
  /** Sets headers. */
  headers(headers: Record<string, string>): unknown;
  /** Returns the headers set so far. */
  getHeaders(): Readonly<Record<string, number | string | string[] | undefined>>;
  /** Sends the body. */
  send(body?: string): unknown;
  /** Tells Fastify that the caller sends the response. */
  hijack(): unknown;
}

/** Answers a request of Express or Fastify. Throws a `TypeError` if it is not such a request, and nothing else. */
export type ExpressHandler = (
  request: ExpressRequest | FastifyRequest,
  response: NodeOutgoing | FastifyReply,
  next?: (error?: unknown) => void,
) => void;

/**
 * Creates a handler for Express 4 and 5, Connect and Fastify that answers all routes of a server.
 *
 * Mount it with `app.post("/reality/sync", …)` for that route alone, or with `app.use(…)` for all routes. Mounted with
 * `app.use`, it passes requests for other paths to the next handler. The base path is always matched against the whole
 * path, also if the handler is mounted below one. A body that `express.json()` or Fastify has parsed is used as it is;
 * their limits apply in addition to those of the server.
 *
 * Hooks such as `authorize` get the framework's request as `context`, with everything that middleware has set on it:
 * `authorize: (request, keys, { context }: HookInfo<express.Request>) => context.user ? … : false`.
 *
 * With `cors`, mount it so that it also gets `OPTIONS`: `app.use(…)`, or `fastify.all("/reality/*", …)`.
 * Fastify itself refuses the key `__proto__` unless it has the option `onProtoPoisoning: "ignore"`.
 *
 * @param server The server that answers.
 * @param options The base path, CORS and the other options of the handler.
 * @returns A handler for `app.post`, `app.use` or `fastify.post`.
 * @throws {TypeError} If an option is unknown or wrong; the message names it.
 *
 * @example
 * ```ts
 * import express from "express";
 * import { createExpressAdapter, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const app = express();
 * app.use(express.json());
 * app.post("/reality/sync", createExpressAdapter(server));
 * await server.close();
 * ```
 */
export function createExpressAdapter(server: RealityServer, options?: HandlerOptions): ExpressHandler {
  checkServer(server);
  const handler = server.getRequestHandler(options);
  return (incoming, response, next) => {
    if (isFastify(incoming)) {
      const reply = response as FastifyReply;
      const request = new NodeRequest(incoming.raw, reply.raw, incoming);
      void handler(request).then((answer) => sendFastify(request, reply, answer, handler.responses));
      return;
    }
    const request = new NodeRequest(incoming, response as NodeOutgoing);
    void handler(request).then((answer) => {
      // Mounted with app.use, pass other paths on. Mounted on a route, answer 404: the route was meant for this handler.
      if (answer.status === 404 && next !== undefined && incoming.route === undefined) return next();
      return send(request, answer, handler.responses);
    });
  };
}

function isFastify(request: ExpressRequest | FastifyRequest): request is FastifyRequest {
  // The request of Express is Node's own and has `on`. Middleware may have set a property `raw` on it.
  return typeof request === "object" && request !== null && "raw" in request && !("on" in request);
}

/** Answers through Fastify, so that its hooks run. A stream is written to Node's response directly. */
async function sendFastify(
  request: NodeRequest,
  reply: FastifyReply,
  answer: Reply,
  responses: ResponseBudget,
): Promise<void> {
  const { status, headers, body } = answer;
  if (typeof body === "object" && body !== null) {
    const inherited = Object.entries(reply.getHeaders());
    reply.hijack();
    if (!reply.raw.headersSent && !reply.raw.destroyed) {
      for (const [name, value] of inherited) {
        // An array is several headers, such as cookies.
        reply.raw.setHeader(name, Array.isArray(value) ? value : String(value));
      }
    }
    return await send(request, answer, responses);
  }
  if (reply.raw.headersSent || isOver(request.incoming, reply.raw)) return;
  reply.code(status);
  const { vary } = headers;
  reply.headers(
    vary === undefined ? headers : { ...headers, vary: mergeVary(reply.getHeaders().vary, vary) },
  );
  reply.send(body ?? undefined);
  if (body !== null) trackUnsent(request, body, responses);
}
