/**
 * The handler of `node:http` in Koa.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import Koa from "koa";
import { createNodeHandler } from "../../adapters/node.ts";
import type { RealityServer } from "../../mod.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";
import { testHost } from "./kit.ts";

/** As much of Koa's context as is used here. */
interface KoaContext {
  readonly path: string;
  readonly method: string;
  readonly req: IncomingMessage & { user?: unknown; body?: unknown };
  readonly res: ServerResponse;
  status: number;
  body: unknown;
  respond?: boolean;
  get(name: string): string;
}

type Middleware = (context: KoaContext, next: () => Promise<void>) => unknown;

for (const parses of [false, true]) {
  testHost({
    name: `createNodeHandler() in Koa${parses ? " behind a body parser" : ""}`,
    listen: (server) => listenKoa(server, parses),
    userOf: (context) => (context as KoaContext["req"]).user,
  });
}

function listenKoa(server: RealityServer, parses: boolean): Promise<Listening> {
  const app: { use(middleware: Middleware): void; callback(): RequestListener } = new Koa();
  const handler = createNodeHandler(server);
  app.use((context, next) => {
    context.req.user = context.get("x-user");
    return next();
  });
  if (parses) {
    app.use(async ({ req }, next) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of req) chunks.push(chunk);
      // Koa's own parsers leave it in `ctx.request.body`.
      req.body = Buffer.concat(chunks).toString();
      await next();
    });
  }
  app.use((context, next) => {
    if (!context.path.startsWith("/reality/")) return next();
    context.respond = false;
    handler(context.req, context.res);
  });
  app.use((context) => {
    context.status = 200;
    context.body = `own ${context.method}`;
  });
  return listenNode(app.callback());
}
