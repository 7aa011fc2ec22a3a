/**
 * The fetch handler behind the server of the runtime.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { openAdapter } from "../http/in_process.ts";
import type { Adapter } from "../http/adapter.ts";
import { testAdapter, testSlowReader } from "../http/kit.ts";
import { testMultiplexed } from "../http/multiplexed.ts";
import { listenFetch, serverName } from "../runtimes/fetch.ts";

const adapter: Adapter = {
  name: `createFetchHandler() before ${serverName}`,
  host: "fetch",
  keepsConnection: serverName === "Deno.serve",
  losesPipelined: serverName === "Bun.serve",
  answersInTurn: serverName === "Deno.serve",
  leavesBodies: serverName === "a bridge on Node",
  open: (name) =>
    openAdapter(name, ({ server, handler }) => listenFetch(createFetchHandler(server, handler))),
};

testAdapter(test, adapter);
testSlowReader(test, adapter);
// Of the servers of the runtimes only that of Deno supports HTTP/2 without TLS.
if (serverName === "Deno.serve") testMultiplexed(test, { ...adapter, missesEarlyResets: true });

test("createFetchHandler() disables the idle timeout of Bun's server while a client waits", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateNode("a", "1");
  const handler = createFetchHandler(server);
  const asked: number[] = [];
  const host = { timeout: (_request: Request, seconds: number) => void asked.push(seconds) };
  const sync = (body: unknown) =>
    handler(
      new Request("http://localhost/reality/sync", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
      host,
    );
  await sync({ known: { a: 0 } });
  assert.deepEqual(asked, []);
  await sync({ known: { b: 0 }, wait: 10 });
  assert.deepEqual(asked.splice(0), [0, 10]);
  const events = await handler(new Request("http://localhost/reality/events?keys=a"), host);
  assert.equal(asked.at(-1), 120);
  await events.body?.cancel();
  await server.close();
});

test("createFetchHandler() ignores unknown arguments after the request", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const handler = createFetchHandler(server);
  for (const host of [undefined, null, "x", {}, { timeout: 1 }, () => {}]) {
    assert.equal((await handler(new Request("http://localhost/reality/health"), host)).status, 200);
  }
  await server.close();
});
