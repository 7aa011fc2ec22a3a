/**
 * What the programs of the pages must serve, each while it runs.
 *
 * @module
 */
import assert from "node:assert/strict";

/** A program that runs. */
export interface Running {
  /** Where it serves; null if it does not. */
  readonly address: string | null;
  /** What it has printed. */
  readonly output: string;
}

/** The checks of single programs, by page and file. Other programs that serve get {@link checkSync}. */
export const CHECKS: Record<string, (running: Running) => void | Promise<void>> = {
  async "README.md server.mjs"({ address }) {
    const text = async (path: string) => await (await fetch(`${address}${path}`)).text();
    assert.equal(await text("/"), await Deno.readTextFile("examples/minimal/index.html"));
    assert.match(await text("/node_modules/@rootlodge/reality-server/client/mod.js"), /createClient/);
    assert.equal(await text("/votes"), "0");
    await fetch(`${address}/votes`, { method: "POST" }).then((response) => response.body?.cancel());
    const votes = await fetch(`${address}/votes`);
    assert.equal(await votes.text(), "1");
    const headers = { "if-none-match": votes.headers.get("etag")! };
    assert.equal((await fetch(`${address}/votes`, { headers })).status, 304);
    const sync = await fetch(`${address}/reality/sync`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ known: { votes: 0 } }),
    });
    assert.equal((await sync.json()).changed.votes.hash, "1");
  },
  "docs/getting-started.md server.mjs": checkCart,
  "docs/getting-started.md main.ts": checkCart,
  "docs/getting-started.md index.js": checkCart,
};

/** Checks that the program answers syncs at the default path. */
export async function checkSync({ address }: Running): Promise<void> {
  const response = await fetch(`${address}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ known: { "no:such:key": 0 } }),
  });
  assert.equal(response.status, 200);
  const { changed, epoch } = await response.json();
  assert.deepEqual(changed, {});
  assert.equal(typeof epoch, "string");
}

/** Checks a program that serves a cart with a stamp. */
async function checkCart(running: Running): Promise<void> {
  const url = `${running.address}/api/cart`;
  const first = await fetch(url);
  assert.deepEqual(await first.json(), { apples: 0 });
  const headers = { "if-none-match": first.headers.get("etag")! };
  const changed = await fetch(url, { method: "POST" });
  assert.deepEqual(await changed.json(), { apples: 1 });
  assert.match(changed.headers.get("reality-stamp")!, /"cart:7";v="[1-9]/);
  const second = await fetch(url, { headers });
  assert.equal(second.status, 200);
  await second.body?.cancel();
  const fresh = await fetch(url, { headers: { "if-none-match": second.headers.get("etag")! } });
  assert.equal(fresh.status, 304);
  await checkSync(running);
}
