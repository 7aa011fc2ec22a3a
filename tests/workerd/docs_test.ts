/**
 * The worker of docs/workers.md, run as it is written.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Miniflare } from "miniflare";
import { readBlocks } from "../pages/blocks.ts";
import { readModules, type WorkerModule } from "../runtimes/workerd.ts";

const TOKEN = "a-token-of-the-documentation";

test("the worker in docs/workers.md syncs, updates and waits on D1", async () => {
  const source = readBlocks("docs/workers.md").find(({ file }) => file === "worker.js")?.text ?? "";
  const contents = source.replaceAll('"@rootlodge/reality-server"', '"./mod.ts"')
    .replaceAll('"@rootlodge/reality-server/sql"', '"./storage/sql/sql_storage.ts"');
  const modules = new Map<string, WorkerModule>([
    ["worker.js", { type: "ESModule", path: "worker.js", contents }],
  ]);
  for (const entry of ["mod.ts", "storage/sql/sql_storage.ts"]) {
    for (const module of readModules(entry)) modules.set(module.path, module);
  }
  const miniflare = new Miniflare({
    modules: [...modules.values()],
    compatibilityDate: "2026-07-01",
    compatibilityFlags: ["enable_request_signal"],
    d1Databases: ["DB"],
    bindings: { REALITY_WRITE_TOKEN: TOKEN },
    host: "127.0.0.1",
    port: 0,
  });
  try {
    const { origin } = await miniflare.ready;
    const post = async (path: string, body: unknown) => {
      const headers = { "content-type": "application/json", authorization: `Bearer ${TOKEN}` };
      const response = await fetch(`${origin}/reality${path}`, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
      assert.equal(response.status, 200, await response.clone().text());
      return await response.json();
    };
    const waiting = post("/sync", { known: { k: 0 }, wait: 20_000 });
    await Promise.all([1, 2, 3, 4].map((i) => post("/update", { key: `other:${i}`, hash: "h" })));
    await post("/update", { key: "k", hash: "1" });
    assert.equal((await waiting).changed.k?.hash, "1");
  } finally {
    await miniflare.dispose();
  }
});
