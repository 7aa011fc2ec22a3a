/**
 * Tests of failures: a storage that fails, and a server that is closed.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { OnAdapter } from "./adapter_client.ts";
import type { Exchange } from "./exchange.ts";

/** Requests to a server whose storage fails. */
export const errorExchanges: readonly Exchange[] = [
  {
    title: "a storage that fails is unavailable, and tells nothing of itself",
    scene: "broken",
    body: { known: { a: 0 } },
    status: 503,
    code: "STORAGE",
    message: /^The storage does not answer$/,
    answers: { "retry-after": /^[1-5]$/, "cache-control": "no-store" },
  },
];

/** Registers tests of what is reported, and of what a closed server answers. */
export function testErrors(onAdapter: OnAdapter): void {
  onAdapter("a failure is reported once, and a refusal never", "broken", async (client) => {
    for (let i = 0; i < 3; i++) {
      const response = await client.post("/sync", { known: { a: 0 } });
      assert.equal(response.status, 503);
      await response.body?.cancel();
    }
    await (await client.post("/sync", {})).body?.cancel();
    assert.deepEqual(await client.reports(), ["ERR_REALITY_STORAGE"]);
  });

  onAdapter("a server that is closed says so, and health still answers", "plain", async (client) => {
    await client.operate({ do: "close" });
    // The body is not parsed.
    for (const body of [{ known: {} }, { known: 7 }]) {
      const response = await client.post("/sync", body);
      assert.equal(response.status, 503);
      assert.match(response.headers.get("retry-after") ?? "", /^[1-5]$/);
      assert.equal((await response.json()).error.code, "ERR_REALITY_CLOSED");
    }
    await client.isWell();
  });
}
