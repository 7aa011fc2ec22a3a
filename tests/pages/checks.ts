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
