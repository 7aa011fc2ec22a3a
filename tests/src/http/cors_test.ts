/**
 * The options of `cors` and their former names. `tests/http/cors.ts` checks the answers through each adapter.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createFetchHandler } from "../../../adapters/fetch.ts";
import type { CorsOptions } from "../../../src/http/cors.ts";
import { RealityServer } from "../../../src/server.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";

const ORIGIN = "https://app.example";

/** Sends a preflight and returns the CORS headers of its answer. */
async function preflight(cors: CorsOptions): Promise<Record<string, string>> {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const headers = { origin: ORIGIN, "access-control-request-method": "POST" };
  const request = new Request("http://localhost/reality/sync", { method: "OPTIONS", headers });
  const response = await createFetchHandler(server, { cors })(request);
  await server.close();
  return Object.fromEntries([...response.headers].filter(([name]) => name.startsWith("access-control-")));
}

test("the former names of CORS options do the same as the names of Hono", async () => {
  const now = await preflight({
    origin: [ORIGIN],
    allowHeaders: ["x-api-key"],
    exposeHeaders: ["x-request-id"],
  });
  assert.equal(now["access-control-allow-origin"], ORIGIN);
  assert.match(now["access-control-allow-headers"]!, /, x-api-key$/);
  assert.match(now["access-control-expose-headers"]!, /, x-request-id$/);
  const before = await preflight({
    origins: [ORIGIN],
    allowedHeaders: ["x-api-key"],
    exposedHeaders: ["x-request-id"],
  });
  assert.deepEqual(before, now);
  const mixed = await preflight({
    origins: [ORIGIN],
    allowHeaders: ["x-api-key"],
    exposedHeaders: ["x-request-id"],
  });
  assert.deepEqual(mixed, now);
});

test("an error of a CORS option uses the name under which it was given", async () => {
  const wrong: [CorsOptions, RegExp][] = [
    [{ origin: ["app.example"] }, /^Option "origin" is wrong/],
    [{ origins: ["app.example"] }, /^Option "origins" is wrong/],
    [{ origin: "*", credentials: true }, /^Option "cors" is wrong: origin "\*" together with credentials/],
    [{ origins: "*", credentials: true }, /^Option "cors" is wrong: origins "\*" together with credentials/],
    [{ origin: "*", allowHeaders: ["a b"] }, /^Option "allowHeaders" is wrong/],
    [{ origin: "*", allowedHeaders: ["a b"] }, /^Option "allowedHeaders" is wrong/],
    [{ origin: "*", exposeHeaders: ["*"] }, /^Option "exposeHeaders" is wrong/],
    [{ origin: "*", exposedHeaders: ["*"] }, /^Option "exposedHeaders" is wrong/],
  ];
  for (const [cors, message] of wrong) {
    await assert.rejects(preflight(cors), { name: "TypeError", message });
  }
});

test("a CORS option given under both of its names is refused", async () => {
  const both: [CorsOptions, RegExp][] = [
    [{ origin: [ORIGIN], origins: [ORIGIN] }, /"origin" and its former name "origins", got both$/],
    [
      { origin: "*", allowHeaders: [], allowedHeaders: [] },
      /"allowHeaders" and its former name "allowedHeaders", got both$/,
    ],
    [
      { origin: "*", exposeHeaders: [], exposedHeaders: [] },
      /"exposeHeaders" and its former name "exposedHeaders", got both$/,
    ],
  ];
  for (const [cors, message] of both) {
    await assert.rejects(preflight(cors), { name: "TypeError", message });
  }
});

test("a page of another origin may read Retry-After of each refusal that has it", async () => {
  class FailingStorage extends MemoryStorage {
    override readNodes(): Promise<never> {
      return Promise.reject(new Error("down"));
    }
  }
  const rateLimit = { limit: 1, window: 60_000, key: () => "all clients" };
  const scenes: [status: number, server: RealityServer][] = [
    [503, new RealityServer({ storage: new FailingStorage(), onError: () => {} })],
    [429, new RealityServer({ storage: new MemoryStorage(), rateLimit })],
    [503, new RealityServer({ storage: new MemoryStorage() })],
  ];
  await scenes[2]![1].close();
  for (const [status, server] of scenes) {
    const handler = createFetchHandler(server, { cors: { origin: [ORIGIN] } });
    const ask = () =>
      handler(
        new Request("http://localhost/reality/sync", {
          method: "POST",
          headers: { origin: ORIGIN, "content-type": "application/json" },
          body: '{"known":{"a":0}}',
        }),
      );
    await (await ask()).body?.cancel();
    const refused = await ask();
    assert.equal(refused.status, status, await refused.text());
    assert.match(refused.headers.get("retry-after") ?? "", /^\d+$/);
    assert.equal(refused.headers.get("access-control-allow-origin"), ORIGIN);
    assert.match(refused.headers.get("access-control-expose-headers") ?? "", /\bretry-after\b/);
    await server.close();
  }
});
