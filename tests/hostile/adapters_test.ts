/**
 * The corpus before every adapter, over real sockets.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "../harness.ts";
import { OVERLONG_TARGETS, REQUESTS } from "./corpus.ts";
import { ADAPTERS, type HostileAdapter, sendBytes, sync, writeRequest } from "./adapters.ts";
import { requests } from "./inputs.ts";
import { HostileScene } from "./scene.ts";

/** What servers of HTTP say by themselves to a request of a kind that they do not know; it never came to us. */
const OF_THE_RUNTIME: readonly number[] = [501, 505];

/** Those in which only a value differs differ for the parser, not for an adapter: `fetch_test.ts` has them all. */
const OVER_SOCKETS = REQUESTS.filter(({ name }) => !/^\/(?:update|invalidate) with \w+: /.test(name));

for (const adapter of ADAPTERS) {
  test(`${adapter.name} answers each request of the corpus, and none with a failure`, async () => {
    await withAdapter(adapter, async (origin) => {
      const failed: string[] = [];
      for (const request of OVER_SOCKETS) {
        const status = await sendBytes(origin, writeRequest(request));
        if (status >= 500 && !OF_THE_RUNTIME.includes(status)) failed.push(`${request.name}: ${status}`);
      }
      assert.deepEqual(failed, []);
    });
  });

  test(`${adapter.name} answers requests at random, and none with a failure`, async () => {
    await withAdapter(adapter, async (origin) => {
      await fc.assert(
        fc.asyncProperty(requests, async (request) => {
          const status = await sendBytes(origin, writeRequest(request));
          assert.ok(status < 500 || OF_THE_RUNTIME.includes(status), `it answered ${status}`);
        }),
        { numRuns: 300 },
      );
    });
  });

  test(`${adapter.name} survives a request that is too long`, async () => {
    await withAdapter(adapter, async (origin) => {
      for (const target of OVERLONG_TARGETS) {
        const request = { name: "", method: "GET", target, headers: [["Host", "a"]] } as const;
        assert.ok(await sendBytes(origin, writeRequest(request)) < 500);
      }
      for (const field of [["X-Long", "x".repeat(100_000)], ["x".repeat(70_000), "1"]] as const) {
        const headers = [["Host", "a"], field] as const;
        const request = { name: "", method: "GET", target: "/reality/health", headers };
        assert.ok(await sendBytes(origin, writeRequest(request)) < 500);
      }
      const many = Array.from({ length: 5_000 }, (_, i) => [`X-${i}`, "1"] as const);
      const request = { name: "", method: "GET", target: "/reality/health", headers: many };
      assert.ok(await sendBytes(origin, writeRequest(request)) < 500);
    });
  });
}

async function withAdapter(adapter: HostileAdapter, run: (origin: string) => Promise<void>): Promise<void> {
  const scene = await HostileScene.open();
  const { origin, close } = await adapter.listen(scene);
  try {
    await run(origin);
    await scene.assertUnharmed((body) => sync(origin, body));
  } finally {
    await scene.close();
    await close();
  }
}
