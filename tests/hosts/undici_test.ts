/**
 * A `Request` of the package undici, which is another class than that of Node's own copy of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Request as UndiciRequest } from "undici";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { type Authorize, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { EventReader, soon, until } from "../http/client.ts";

const authorize: Authorize = (request) => request.headers.get("x-user") === "ana";

test("createFetchHandler() and handleSSECompat() accept a Request of the package undici", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), authorize });
  await server.updateNode("a", "1");
  const handler = createFetchHandler(server);
  const headers = { "content-type": "application/json", "x-user": "ana" };
  const create = (path: string, init: object = {}) =>
    new UndiciRequest(`http://localhost/reality${path}`, { headers, ...init }) as unknown as Request;
  assert.ok(!(create("/") instanceof Request));

  const response = await handler(create("/sync", { method: "POST", body: '{"known":{"a":0}}' }));
  assert.equal((await response.json()).changed.a.hash, "1");
  const streamed = new Blob(['{"known":{"a":0}}']).stream();
  const body = { method: "POST", body: streamed, duplex: "half" };
  assert.equal((await (await handler(create("/sync", body))).json()).changed.a.hash, "1");

  const controller = new AbortController();
  const waiting = handler(
    create("/sync", { method: "POST", body: '{"known":{"b":0},"wait":20000}', signal: controller.signal }),
  );
  await until(async () => (await server.getStats()).waiters === 1, "it waits");
  controller.abort();
  await soon(waiting, "the end");
  assert.equal((await server.getStats()).waiters, 0);

  const events = new EventReader(await server.handleSSECompat(create("/events"), { keys: ["a"] }));
  const { id } = await events.nextEvent("update");
  await events.cancel();
  const resumed = create("/events", { headers: { ...headers, "last-event-id": id } });
  const again = new EventReader(await server.handleSSECompat(resumed, { keys: ["a"] }));
  assert.deepEqual(Object.keys(await again.next() ?? {}), ["retry"]);
  await again.cancel();
  await server.close();
});
