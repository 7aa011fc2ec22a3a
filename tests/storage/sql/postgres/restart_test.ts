/**
 * openPostgres while its server crashes under load and comes back.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { RealityNodeMeta } from "../../../../src/types.ts";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { test } from "../../../harness.ts";
import { postgresRecipe } from "../../../run/databases.ts";
import { PrivateServer } from "../../../run/server.ts";

const WRITERS = 6;

test("a crash of PostgreSQL under load loses nothing acknowledged, and all goes on by itself", async () => {
  const server = await PrivateServer.start(postgresRecipe({ durable: true }));
  const [storage, listener] = [openPostgres(server.address), openPostgres(server.address)];
  try {
    const told = new Set<string>();
    let saidLookAgain = false;
    const leave = await listener.subscribe!((keys) => {
      if (keys === null) saidLookAgain = true;
      else for (const key of keys) told.add(key);
    });

    const acknowledged: RealityNodeMeta[] = [];
    let [failures, writing] = [0, true];
    const writers = Array.from({ length: WRITERS }, async (_, writer) => {
      for (let i = 0; writing; i++) {
        const change = { key: `${writer}:${i}`, hash: `${i}`, updatedAt: 1 };
        try {
          acknowledged.push(...await storage.applyChanges([change, { ...change, key: `shared:${writer}` }]));
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, "ERR_REALITY_STORAGE");
          failures++;
          await sleep(20);
        }
      }
    });
    const hasCome = async (isSo: () => boolean, what: string) => {
      const beginning = performance.now();
      while (!isSo()) {
        assert.ok(performance.now() - beginning < 30_000, `${what} did not come: ${failures} failures`);
        await sleep(10);
      }
    };
    const more = async (count: number) => {
      const wanted = acknowledged.length + count;
      await hasCome(() => acknowledged.length >= wanted, "more changes");
    };

    await more(200);
    await server.crash();
    await hasCome(() => failures >= WRITERS, "failures");
    assert.equal(await storage.isHealthy(), false);
    await server.restart();
    await more(200);
    await hasCome(() => saidLookAgain, "look again");
    // From here on the listener hears again.
    const next = acknowledged.length;
    await more(100);
    writing = false;
    await Promise.all(writers);
    const last = acknowledged.slice(next).at(-2)!;
    await hasCome(() => told.has(last.key), "an announcement");
    await leave();

    const stored = new Map((await storage.listChangedSince(0)).map((meta) => [meta.key, meta]));
    for (const meta of acknowledged) {
      const found = stored.get(meta.key);
      if (meta.key.startsWith("shared:")) assert.ok((found?.version ?? 0) >= meta.version, meta.key);
      else assert.deepEqual(found, meta);
    }
    const versions = new Set(acknowledged.map(({ version }) => version));
    assert.equal(versions.size, acknowledged.length, "no version was given twice");
    assert.ok(await storage.getMaxVersion() >= Math.max(...versions));
  } finally {
    await storage.close();
    await listener.close();
    await server.stop();
  }
});
