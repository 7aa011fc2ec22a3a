/**
 * Tests of syncs that wait: what answers them, and when.
 *
 * @module
 */
import assert from "node:assert/strict";
import { AUTHORIZED, type OnAdapter, WRITE } from "./adapter_client.ts";
import { soon } from "./client.ts";

/** Registers tests of waiting syncs. */
export function testWaiting(onAdapter: OnAdapter): void {
  onAdapter("a waiting sync is answered by a change, through whichever way in", "plain", async (client) => {
    const ways: ((key: string) => Promise<unknown>)[] = [
      (key) => client.operate({ do: "update", key, hash: "2" }),
      (key) => client.operate({ do: "delete", key }),
      async (key) => await (await client.post("/update", { key, hash: "2" }, WRITE)).json(),
      async (key) => await (await client.post("/invalidate", { keys: ["other", key] }, WRITE)).json(),
      (key) => client.send("DELETE", `/nodes/${key}`, undefined, AUTHORIZED),
    ];
    for (const [i, change] of ways.entries()) {
      const key = `awaited-${i}`;
      await client.operate({ do: "update", key, hash: "1" });
      const { changed } = await client.sync({ known: { [key]: 0 } });
      const version = changed[key]?.version ?? 0;
      const waiting = client.sync({ known: { [key]: version }, wait: 20_000 });
      await client.hasWaiters(1);
      await client.operate({ do: "update", key: "something else", hash: "1" });
      await change(key);
      const answer = await soon(waiting, "the answer to a waiting sync");
      assert.deepEqual(Object.keys(answer.changed), [key]);
      assert.notEqual(answer.changed[key]?.version, version);
      await client.hasWaiters(0);
    }
  });

  onAdapter("a waiting sync is answered at its time, with nothing", "plain", async (client) => {
    assert.deepEqual((await client.sync({ known: { quiet: 0 }, wait: 30 })).changed, {});
    await client.hasWaiters(0);
  });

  onAdapter("a waiting sync is answered when the server stops", "plain", async (client) => {
    const waiting = client.sync({ known: { quiet: 0 }, wait: 20_000 });
    await client.hasWaiters(1);
    await client.operate({ do: "close" });
    assert.deepEqual((await soon(waiting, "the answer")).changed, {});
  });

  onAdapter("a sync is answered at once when there is no free slot to wait", "full", async (client) => {
    const first = client.sync({ known: { a: 0 }, wait: 20_000 });
    await client.hasWaiters(1);
    const second = await soon(client.sync({ known: { a: 0 }, wait: 20_000 }), "the second answer");
    assert.deepEqual(second.changed, {});
    await client.operate({ do: "update", key: "a", hash: "1" });
    assert.equal((await first).changed.a?.hash, "1");
  });

  onAdapter("many waiting syncs are all woken", "plain", async (client) => {
    const waiting = Array.from({ length: 30 }, () => client.sync({ known: { crowd: 0 }, wait: 20_000 }));
    await client.hasWaiters(30);
    await client.operate({ do: "update", key: "crowd", hash: "1" });
    for (const { changed } of await soon(Promise.all(waiting), "thirty answers")) {
      assert.equal(changed.crowd?.hash, "1");
    }
    await client.hasWaiters(0);
  });
}
