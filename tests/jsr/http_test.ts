/**
 * The fetch handler behind the router of `jsr:@std/http`.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { route } from "@std/http/unstable-route";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";

/** Serves a server beside a page of the application's own. */
async function withOrigin(
  use: (origin: string, server: RealityServer) => Promise<void>,
): Promise<void> {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const reality = createFetchHandler(server);
  const listener = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    route(
      [{
        pattern: new URLPattern({ pathname: "/reality/*" }),
        handler: reality,
      }],
      () => new Response("the application's own page"),
    ),
  );
  try {
    await use(`http://127.0.0.1:${listener.addr.port}`, server);
  } finally {
    await server.close();
    await listener.shutdown();
  }
}

Deno.test("createFetchHandler() answers behind route(), and leaves other paths to the application", async () => {
  await withOrigin(async (origin, server) => {
    await server.updateNode("a", "x");
    const response = await sync(origin, { known: { a: 0 } });
    assertEquals(response.status, 200);
    const { changed } = await response.json();
    assertEquals(changed.a.hash, "x");
    assertEquals(
      await (await fetch(`${origin}/elsewhere`)).text(),
      "the application's own page",
    );
    assertEquals(await statusOf(fetch(`${origin}/reality/sync`)), 405);
    assertEquals(await statusOf(fetch(`${origin}/reality/health`)), 200);
  });
});

Deno.test("createFetchHandler() behind route() answers a waiting client at a change, and frees the slot of one that disconnects", async () => {
  await withOrigin(async (origin, server) => {
    const waiting = sync(origin, { known: { a: 0 }, wait: 25_000 });
    await until(async () => (await server.getStats()).waiters === 1);
    await server.updateNode("a", "x");
    const { changed } = await (await waiting).json();
    assertEquals(changed.a.hash, "x");
    const known = { a: changed.a.version };
    const leaving = new AbortController();
    const left = sync(origin, { known, wait: 25_000 }, leaving.signal)
      .catch((error) => error.name);
    await until(async () => (await server.getStats()).waiters === 1);
    leaving.abort();
    assertEquals(await left, "AbortError");
    await until(async () => (await server.getStats()).waiters === 0);
  });
});

Deno.test("createFetchHandler() behind route() streams events", async () => {
  await withOrigin(async (origin, server) => {
    await server.updateNode("a", "x");
    const response = await fetch(`${origin}/reality/events?keys=a`);
    assert(response.body);
    const reader = response.body.pipeThrough(new TextDecoderStream())
      .getReader();
    let text = "";
    while (!text.includes('"hash":"x"')) {
      text += (await reader.read()).value ?? "";
    }
    await reader.cancel();
    await until(async () => (await server.getStats()).streams === 0);
  });
});

function sync(
  origin: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(`${origin}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

async function statusOf(asking: Promise<Response>): Promise<number> {
  const response = await asking;
  await response.body?.cancel();
  return response.status;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}
