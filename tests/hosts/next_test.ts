/**
 * The fetch handler as a route handler of Next.js, in the shapes that Next.js hands over: a `NextRequest` behind a proxy,
 * and `{ params }` as the second argument. Next.js itself is too large to be installed for this.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createFetchHandler } from "../../adapters/fetch.ts";
import type { RealityServer } from "../../mod.ts";
import { MemoryStorage, RealityServer as Server } from "../../mod.ts";
import { test } from "../harness.ts";
import { listenFetchOnNode, type Listening } from "../runtimes/node.ts";
import { testHost } from "./kit.ts";

/** What Next.js makes of a request. */
class NextRequest extends Request {
  get nextUrl(): URL {
    return new URL(this.url);
  }

  get cookies(): Map<string, string> {
    return new Map();
  }
}

/** What a route handler gets beside the request: the parts of its path. */
interface RouteContext {
  readonly params: Promise<{ readonly path: readonly string[] }>;
}

type RouteHandler = (request: NextRequest, context: RouteContext) => Promise<Response>;

testHost({
  name: "createFetchHandler() in Next.js",
  listen: (server) => listenNext(server),
  // It has nothing but the request to tell its user by, and the parameters of the path.
  userOf: (context) => (context as { env: RouteContext }).env.params instanceof Promise ? "ana" : "nobody",
});

test("createFetchHandler() in Next.js does not mistake path parameters for a runtime's server", async () => {
  const reports: string[] = [];
  const server = new Server({
    storage: new MemoryStorage(),
    rateLimit: { limit: 1, window: 60_000 },
    onError: (error) => reports.push(error.message),
  });
  const POST: RouteHandler = createFetchHandler(server);
  for (const name of ["timeout", "server", "remoteAddr", "requestIP", "incoming", "env"]) {
    const context = { params: Promise.resolve({ path: ["sync"] }), [name]: name };
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"known":{"a":0}}',
    };
    assert.equal((await POST(new NextRequest("http://localhost/reality/sync", init), context)).status, 200);
  }
  assert.equal(reports.length, 1);
  assert.match(reports[0] ?? "", /address is not known/);
  await server.close();
});

function listenNext(server: RealityServer): Promise<Listening> {
  const handler: RouteHandler = createFetchHandler(server);
  return listenFetchOnNode(async (request) => {
    const next = new NextRequest(request, { duplex: "half" } as RequestInit);
    const path = next.nextUrl.pathname.split("/").slice(2);
    if (!next.nextUrl.pathname.startsWith("/reality/")) return new Response(`own ${next.method}`);
    return await handler(wrap(next), { params: Promise.resolve({ path }) });
  });
}

/** Next.js watches what a route looks at, by a proxy that hands out bound methods. */
function wrap(request: NextRequest): NextRequest {
  return new Proxy(request, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
