/**
 * Short tests of the handlers in other hosts. The adapters pass the whole HTTP kit.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Authorize, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import type { Listening } from "../runtimes/node.ts";

/** A host, and how it is put before a server. */
export interface Host {
  /** What the tests are called after. */
  readonly name: string;
  /** Listens; whatever is not under `/reality/` the application itself answers with its method. */
  listen(server: RealityServer): Promise<Listening>;
  /** What a hook makes of its context: the user whom a middleware has found. */
  userOf(context: unknown): unknown;
}

/** Registers the list for one host. */
export function testHost({ name, listen, userOf }: Host): void {
  const register = (title: string, run: (server: RealityServer, origin: string) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const authorize: Authorize = (_request, keys, { context }) =>
        keys.filter((key) => key.startsWith(`${userOf(context)}:`));
      const server = new RealityServer({ storage: new MemoryStorage(), authorize });
      const { origin, close } = await listen(server);
      await server.updateNode("ana:1", "1");
      await server.updateNode("bob:1", "1");
      try {
        await run(server, origin);
      } finally {
        await server.close();
        await close();
      }
    });

  register("a sync is answered, with what the host knows of its client", async (_server, origin) => {
    const response = await post(origin, { known: { "ana:1": 0, "bob:1": 0 } });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("cache-control"), null);
    assert.deepEqual(Object.keys((await response.json()).changed), ["ana:1"]);
  });

  register("what is refused says why", async (_server, origin) => {
    for (const [body, status] of [["{", 400], [`{"x":"${"x".repeat(1_048_576)}"}`, 413]] as const) {
      const response = await post(origin, body);
      assert.equal(response.status, status);
      assert.match((await response.json()).error.code, /^ERR_REALITY_/);
    }
    const wrong = await fetch(`${origin}/reality/sync`, { method: "PUT" });
    assert.deepEqual([wrong.status, wrong.headers.get("allow")], [405, "POST"]);
    await wrong.body?.cancel();
  });

  register(
    "a waiting client is woken, and a client that disconnects frees its slot",
    async (server, origin) => {
      const waiting = post(origin, { known: { "ana:2": 0 }, wait: 20_000 });
      await hasWaiters(server, 1);
      await server.updateNode("ana:2", "1");
      assert.equal((await (await soon(waiting, "the answer")).json()).changed["ana:2"].hash, "1");
      const raw = await RawClient.connect(origin);
      const body = '{"known":{"ana:3":0},"wait":20000}';
      raw.send("POST /reality/sync HTTP/1.1\r\nHost: a\r\nX-User: ana\r\nContent-Type: application/json\r\n");
      raw.send(`Content-Length: ${body.length}\r\n\r\n${body}`);
      await hasWaiters(server, 1);
      await raw.close();
      await hasWaiters(server, 0);
    },
  );

  register("a stream tells at once what changes, and ends with its client", async (server, origin) => {
    const response = await fetch(`${origin}/reality/events?keys=ana:1`, { headers: { "x-user": "ana" } });
    const events = new EventReader(response);
    assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "1");
    await server.updateNode("ana:1", "2");
    assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "2");
    await events.cancel();
    await hasWaiters(server, 0);
  });

  register("other paths, and their preflights, are the application's", async (_server, origin) => {
    for (const method of ["GET", "OPTIONS"]) {
      const headers = { "origin": "https://app.example", "access-control-request-method": "POST" };
      const response = await fetch(`${origin}/own`, { method, headers });
      assert.equal(await response.text(), `own ${method}`);
    }
  });
}

/** Sends a sync as Ana. */
export function post(origin: string, body: unknown): Promise<Response> {
  return fetch(`${origin}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-user": "ana" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

async function hasWaiters(server: RealityServer, count: number): Promise<void> {
  await until(async () => (await server.getStats()).waiters === count, `${count} wait`);
}
