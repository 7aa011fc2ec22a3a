/**
 * A Reality server as a handler of Express 4 and 5, Connect and Fastify.
 *
 * @module
 */
import type { Reply, ResponseBudget } from "../src/http/exchange.ts";
import type { HandlerOptions } from "../src/http/handler.ts";
import type { RealityServer } from "../src/server.ts";
import {
  awaitClient,
  type NodeIncoming,
  type NodeOutgoing,
  NodeRequestView,
  send,
  vary,
} from "./node/exchange.ts";
import { isOver } from "./node/disconnect.ts";

export type { HandlerOptions, NodeIncoming, NodeOutgoing };

/** Express' request, as far as it is looked at. */
export interface ExpressRequest extends NodeIncoming {
  /** The route that matched; nothing for what was mounted with `app.use`. */
  readonly route?: unknown;
}

/** Fastify's request, as far as it is looked at. */
export interface FastifyRequest {
  /** Node's request. */
  readonly raw: NodeIncoming;
  /** What Fastify has made of the body. */
  readonly body?: unknown;
}

/** Fastify's reply, as far as it is called. */
export interface FastifyReply {
  /** Node's response. */
  readonly raw: NodeOutgoing;
  /** Sets the status. */
  code(status: number): unknown;
  /** Sets headers. */
  headers(headers: Record<string, string>): unknown;
  /** The headers set so far. */
  getHeaders(): Readonly<Record<string, number | string | string[] | undefined>>;
  /** Sends the body. */
  send(body?: string): unknown;
  /** Leaves the response to whoever calls this. */
  hijack(): unknown;
}

/** Answers a request of Express or of Fastify; throws only a `TypeError` for what is no request, and names it. */
export type ExpressHandler = (
  request: ExpressRequest | FastifyRequest,
  response: NodeOutgoing | FastifyReply,
  next?: (error?: unknown) => void,
) => void;

/**
 * Makes a handler for Express 4 and 5, Connect and Fastify, that answers all routes of a server.
 *
 * Mount it on `app.post("/reality/sync", …)` alone, or with `app.use(…)` for all routes: what is not under its
 * base path then goes on to the next handler. The path is the whole one, whatever it was mounted on. A body that
 * `express.json()` or Fastify has parsed already is taken as it is; their own limits hold beside those of the
 * server.
 *
 * Hooks such as `authorize` get the framework's request as `context`, with all that middlewares have put there:
 * `authorize: (request, keys, { context }: HookInfo<express.Request>) => context.user ? … : false`.
 *
 * With `cors`, mount it so that `OPTIONS` reaches it as well: `app.use(…)`, or `fastify.all("/reality/*", …)`.
 * Fastify refuses the key `__proto__` by itself, unless told `onProtoPoisoning: "ignore"`.
 *
 * @param server The server that answers.
 * @param options Where it is mounted, and for which origins.
 * @returns A handler for `app.post`, `app.use` or `fastify.post`.
 * @throws {TypeError} For an option that is unknown or wrong; names it.
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
  const handler = server.getRequestHandler(options);
  return (request, response, next) => {
    if (isFastify(request)) {
      const reply = response as FastifyReply;
      const view = new NodeRequestView(request.raw, reply.raw, request);
      void handler(view).then((answer) => sendFastify(view, reply, answer, handler.responses));
      return;
    }
    const outgoing = response as NodeOutgoing;
    const view = new NodeRequestView(request, outgoing);
    void handler(view).then((answer) => {
      // Mounted with app.use, it is one of many; mounted on a path, it is the one that was meant.
      if (answer.status === 404 && next !== undefined && request.route === undefined) return next();
      return send(view, answer, handler.responses);
    });
  };
}

function isFastify(request: ExpressRequest | FastifyRequest): request is FastifyRequest {
  // What Express hands over is Node's request itself, whatever a middleware has put there.
  return typeof request === "object" && request !== null && "raw" in request && !("on" in request);
}

/** Answers through Fastify, so that its hooks see the answer; a stream goes out past it. */
async function sendFastify(
  view: NodeRequestView,
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
        // Several cookies are several headers.
        reply.raw.setHeader(name, Array.isArray(value) ? value : String(value));
      }
    }
    return await send(view, answer, responses);
  }
  if (reply.raw.headersSent || isOver(view.request, reply.raw)) return;
  reply.code(status);
  const { vary: ours } = headers;
  reply.headers(ours === undefined ? headers : { ...headers, vary: vary(reply.getHeaders().vary, ours) });
  reply.send(body ?? undefined);
  if (body !== null) awaitClient(view, body, responses);
}
