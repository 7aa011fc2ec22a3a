/**
 * Requests of another class with the expected shape, and values that are not requests.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { test } from "../harness.ts";
import { EventReader, soon, until } from "../http/client.ts";

/** A `Request` of another library: no part of it is an instance of a class of the runtime. */
class ForeignRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Pick<Headers, "get" | "forEach">;
  readonly body: object | null;
  readonly bodyUsed = false;
  readonly signal: AbortSignal | null;
  readonly #real: Request;

  constructor(url: string, init: RequestInit = {}, hasSignal = true) {
    const real = this.#real = new Request(url, init);
    this.url = url;
    this.method = real.method;
    this.headers = {
      get: (name) => real.headers.get(name),
      forEach: (callback) => real.headers.forEach(callback),
    };
    // Such as a stream of Node.
    this.body = real.body && { pipe() {} };
    this.signal = hasSignal ? real.signal : null;
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#real.arrayBuffer();
  }
}

function foreign(path: string, init?: RequestInit, hasSignal?: boolean): Request {
  return new ForeignRequest(`http://localhost/reality${path}`, init, hasSignal) as unknown as Request;
}

function post(body: unknown): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json", "x-user": "ana" },
    body: JSON.stringify(body),
  };
}

test("createFetchHandler() answers a Request of another library, and passes it to hooks", async () => {
  await withServer({
    authorize: (request) => request.headers.get("x-user") === "ana",
    limits: { maxBodyBytes: 100 },
  }, async (server) => {
    const handler = createFetchHandler(server);
    for (const hasSignal of [true, false]) {
      const response = await handler(foreign("/sync", post({ known: { a: 0 } }), hasSignal));
      assert.equal((await response.json()).changed.a.hash, "1");
      const large = await handler(foreign("/sync", post({ known: {}, x: "x".repeat(100) }), hasSignal));
      assert.equal(large.status, 413);
      const waiting = handler(foreign("/sync", post({ known: { b: 0 }, wait: 20_000 }), hasSignal));
      await until(async () => (await server.getStats()).waiters === 1, "it waits");
      await server.updateNode("b", "1");
      assert.equal((await (await soon(waiting, "the answer")).json()).changed.b.hash, "1");
      await server.deleteNode("b");
      const events = new EventReader(
        await handler(foreign("/events?keys=a", { headers: { "x-user": "ana" } }, hasSignal)),
      );
      await events.nextEvent("update");
      await events.cancel();
    }
  });
});

test("createFetchHandler() notices that the client of a Request of another library disconnected", async () => {
  await withServer({}, async (server) => {
    const controller = new AbortController();
    const { signal } = controller;
    const init = { ...post({ known: { b: 0 }, wait: 20_000 }), signal };
    const waiting = createFetchHandler(server)(foreign("/sync", init));
    await until(async () => (await server.getStats()).waiters === 1, "it waits");
    controller.abort();
    await soon(waiting, "the end");
    assert.equal((await server.getStats()).waiters, 0);
  });
});

test("handleSSECompat() accepts a Request of another library, and the requests of Fastify and Hono", async () => {
  await withServer({}, async (server) => {
    const node = {
      headers: {},
      url: "/events",
      socket: { once: () => {}, off: () => {} },
    };
    const web = foreign("/events", {}, false);
    for (const request of [web, foreign("/events"), node, { raw: node }, { req: { raw: web } }]) {
      const events = new EventReader(await server.handleSSECompat(request, { keys: ["a"] }));
      const { id = "" } = await events.nextEvent("update");
      await events.cancel();
      // A client that resumes has missed nothing.
      const resumed = new EventReader(
        await server.handleSSECompat(foreign("/events", { headers: { "last-event-id": id } }), {
          keys: ["a"],
        }),
      );
      assert.deepEqual(Object.keys(await resumed.next() ?? {}), ["retry"]);
      await resumed.cancel();
    }
  });
});

test("an argument that is not a request is refused, and the message names its type", async () => {
  await withServer({}, async (server) => {
    const web = new Request("http://localhost/reality/health");
    const node = { method: "GET", url: "/reality/health", headers: {}, socket: { once() {} }, on() {} };
    const wrong = (value: unknown) => value as never;
    const handler = createFetchHandler(server);
    const expected = "expected a Request or Hono's context, got ";
    for (
      const [value, found] of [
        [undefined, "nothing"],
        [null, "null"],
        ["/reality/sync", "a string"],
        [{}, "an object of another shape"],
        [{ url: "/" }, "an object of another shape"],
        [node, "a request of node:http: use createNodeHandler or createExpressAdapter"],
        [{ request: web }, 'an object around one; hand over its property "request"'],
        [{ req: node }, 'an object around one; hand over its property "req"'],
        [{ raw: node }, 'an object around one; hand over its property "raw"'],
      ] as const
    ) {
      const refusal = { name: "TypeError", message: `Cannot answer: ${expected}${found}` };
      assert.throws(() => handler(wrong(value)), refusal);
      if (value === node || typeof value === "object" && value !== null && "raw" in value) continue;
      await assert.rejects(server.handleSSECompat(wrong(value), { keys: ["a"] }), {
        name: "TypeError",
        message: new RegExp(`^Cannot open a stream: .* got ${found}$`),
      });
    }
    for (const adapter of [createNodeHandler(server), createExpressAdapter(server)]) {
      // Koa's context has the headers and the socket of its request.
      const koa = { ...node, on: undefined, request: node, req: node, res: {} };
      assert.throws(
        () => adapter(wrong(koa), wrong({})),
        /got an object around one; hand over its property "req"$/,
      );
      const hono = { req: { raw: web } };
      assert.throws(() => adapter(wrong(hono), wrong({})), /got Hono's context: use createFetchHandler$/);
      for (const value of [web, undefined, { req: node, res: {} }]) {
        assert.throws(() => adapter(wrong(value), wrong({})), {
          name: "TypeError",
          message:
            /^Cannot answer: expected a request of node:http, got (a Request|nothing|an object around)/,
        });
      }
    }
  });
});

async function withServer(
  options: Partial<RealityServerOptions>,
  run: (server: RealityServer) => Promise<void>,
): Promise<void> {
  const server = new RealityServer({ storage: new MemoryStorage(), ...options });
  await server.updateNode("a", "1");
  try {
    await run(server);
  } finally {
    await server.close();
  }
}
