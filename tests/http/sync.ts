/**
 * Tests of `POST /sync`: which requests are answered and which are refused, and what an answer holds.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Adapter } from "./adapter.ts";
import { absent, AUTHORIZED, type OnAdapter, STRANGE_KEYS, WRITE } from "./adapter_client.ts";
import { bad, type Exchange, JSON_ONLY } from "./exchange.ts";
import { SMALL } from "./scenes.ts";

/** The fields that clients of the 1.x line send. */
const LEGACY = { clientId: "c1", mode: "native", hint: "focus", timestamp: 1 };

/** Syncs that are answered, and bodies that are refused. */
export const syncExchanges: readonly Exchange[] = [
  { title: "a sync is answered", body: { known: {} }, status: 200, answers: JSON_ONLY },
  {
    title: "a sync may name the encoding",
    headers: { "content-type": "application/json; charset=utf-8" },
    body: { known: {} },
    status: 200,
  },
  { title: "a sync may have unknown fields", body: { known: {}, later: [1] }, status: 200 },
  {
    title: "a sync waits no longer than maxWait",
    scene: "small",
    body: { known: { a: 0 }, wait: 6e7 },
    status: 200,
  },
  {
    title: "a field that is null counts as left out",
    body: { known: {}, epoch: null, wait: null, clientId: null, mode: null, hint: null, timestamp: null },
    status: 200,
  },
  {
    title: "a slash at the end of the path does no harm",
    path: "/reality/sync/",
    whole: true,
    body: { known: {} },
    status: 200,
  },
  { title: "a sync without keys does not wait", body: { known: {}, wait: 20_000 }, status: 200 },
  {
    title: "an adapter mounted elsewhere answers there",
    scene: "elsewhere",
    body: { known: {} },
    status: 200,
  },
  { ...bad, title: "a body that is not JSON is refused", body: "{", message: /JSON/, bytes: true },
  { ...bad, title: "an empty body is refused", body: "", message: /JSON/, bytes: true },
  {
    ...bad,
    title: "a list is refused",
    body: [],
    message: /^Cannot read the body: expected an object, got an array$/,
  },
  { ...bad, title: "a sync without known is refused", body: {}, message: /"known".*nothing/ },
  { ...bad, title: "a list of known is refused", body: { known: ["a"] }, message: /"known".*an array/ },
  { ...bad, title: "a version below 0 is refused", body: { known: { a: -1 } }, message: /"a".*2\^53/ },
  { ...bad, title: "a fraction of a version is refused", body: { known: { a: 1.5 } }, message: /"a"/ },
  { ...bad, title: "a version past 2^53 - 1 is refused", body: { known: { a: 2 ** 53 } }, message: /"a"/ },
  { ...bad, title: "a version as text is refused", body: { known: { a: "1" } }, message: /"a".*a string/ },
  { ...bad, title: "a version of null is refused", body: { known: { a: null } }, message: /"a".*null/ },
  { ...bad, title: "an empty key is refused", body: { known: { "": 0 } }, message: /empty/ },
  { ...bad, title: "a control character is refused", body: { known: { "a\nb": 0 } }, message: /control/ },
  { ...bad, title: "a NUL is refused", body: '{"known":{"a\\u0000":0}}', message: /control/ },
  { ...bad, title: "a DEL is refused", body: '{"known":{"a\x7f":0}}', message: /control/ },
  { ...bad, title: "a C1 control character is refused", body: '{"known":{"a\x85":0}}', message: /control/ },
  {
    ...bad,
    title: "a key over the limit in bytes of UTF-8 is refused",
    body: { known: { ["é".repeat(257)]: 0 } },
    message: /maxKeyBytes \(512\)/,
  },
  { ...bad, title: "a lone surrogate is refused", body: '{"known":{"\\ud800":0}}', message: /surrogate/ },
  {
    ...bad,
    title: "a key over the limit is refused",
    body: { known: { ["x".repeat(513)]: 0 } },
    message: /maxKeyBytes \(512\)/,
  },
  { ...bad, title: "a wait below 0 is refused", body: { known: {}, wait: -1 }, message: /"wait"/ },
  { ...bad, title: "a wait as text is refused", body: { known: {}, wait: "1" }, message: /"wait"/ },
  { ...bad, title: "an epoch as number is refused", body: { known: {}, epoch: 1 }, message: /"epoch"/ },
  {
    ...bad,
    title: "a clientId as number is refused",
    body: { known: {}, clientId: 1 },
    message: /"clientId"/,
  },
  {
    title: "gossip without proof is refused",
    body: { known: {}, gossip: {} },
    status: 403,
    code: "FORBIDDEN",
    message: /"gossip"/,
  },
  {
    title: "more keys than maxKeys are refused",
    scene: "small",
    body: { known: { a: 0, b: 0, c: 0, d: 0 } },
    status: 413,
    code: "TOO_MANY_KEYS",
    message: /maxKeys \(3\)/,
  },
  {
    title: "a body over maxBodyBytes is refused",
    scene: "small",
    body: { known: {}, more: "x".repeat(SMALL.maxBodyBytes) },
    status: 413,
    code: "BODY_TOO_LARGE",
    message: /maxBodyBytes \(2000\)/,
    bytes: true,
  },
  ...["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx"].map((type) => ({
    title: `${type} is refused`,
    headers: { "content-type": type },
    body: '{"known":{}}',
    status: 415,
    code: "MEDIA_TYPE",
    message: /expected application\/json/,
    bytes: true as const,
  })),
];

/** Registers tests of what a sync answers. */
export function testSync(onAdapter: OnAdapter, adapter: Adapter): void {
  onAdapter("a sync tells what changed, and only that", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.operate({ do: "update", key: "b", hash: "2" });
    const before = await client.sync({ known: { a: 0, b: 0, c: 0 } });
    assert.deepEqual(Object.keys(before.changed), ["a", "b"]);
    const { a, b } = before.changed;
    assert.ok(a !== undefined && b !== undefined && b.version > a.version);
    assert.deepEqual(Object.keys(a).sort(), ["hash", "key", "updatedAt", "version"]);
    assert.equal(a.hash, "1");
    assert.deepEqual(before.mesh, { peers: [], serverVersion: b.version });
    const { epoch } = before;
    const known = { a: a.version, b: b.version, c: 0 };
    assert.deepEqual((await client.sync({ known, epoch })).changed, {});
    assert.deepEqual((await client.sync({ known })).changed, {});

    const other = await client.sync({ known, epoch: "another life" });
    assert.deepEqual(Object.keys(other.changed), ["a", "b"]);
    const ahead = await client.sync({ known: { a: a.version + 1000 }, epoch });
    assert.deepEqual(ahead.changed, { a });
  });

  onAdapter("a sync tells that a node is gone", "plain", async (client) => {
    await client.operate({ do: "update", key: "gone", hash: "1" });
    const { changed } = await client.sync({ known: { gone: 0 } });
    const known = { gone: changed.gone?.version ?? 0 };
    await client.operate({ do: "delete", key: "gone" });
    assert.deepEqual((await client.sync({ known })).changed.gone, absent("gone"));
    assert.deepEqual((await client.sync({ known: { gone: 0 } })).changed, {});
  });

  onAdapter("a client of the 1.x line gets the answer that it checks for", "plain", async (client) => {
    const answer = await client.sync({ known: {}, ...LEGACY });
    assert.deepEqual(answer.mesh.peers, {});
    assert.equal(typeof answer.serverTime, "number");
    const half = await client.sync({ known: {}, clientId: "c1", mode: "native" });
    assert.deepEqual(half.mesh.peers, []);
  });

  onAdapter("every key is a key, however strange", "plain", async (client) => {
    for (const key of STRANGE_KEYS) {
      const update = await client.post("/update", { key, hash: "1" }, WRITE);
      assert.equal(update.status, 200, key);
      const { versions, epoch } = await update.json();
      assert.deepEqual(Object.keys(versions), [key]);
      const answer = await client.sync({ known: { [key]: 0 }, epoch });
      assert.deepEqual(Object.keys(answer.changed), [key]);
      const meta = Object.getOwnPropertyDescriptor(answer.changed, key)?.value;
      assert.equal(meta.key, key);
      const { [key]: version } = versions;
      assert.equal(meta.version, version);
      assert.deepEqual((await client.sync({ known: { [key]: version } })).changed, {});
      const deletion = await client.send(
        "DELETE",
        `/nodes/${encodeURIComponent(key)}`,
        undefined,
        AUTHORIZED,
      );
      assert.equal(deletion.status, 204, key);
      await deletion.body?.cancel();
      const after = await client.sync({ known: { [key]: version } });
      assert.equal(Object.getOwnPropertyDescriptor(after.changed, key)?.value.deleted, true, key);
    }
  });

  if (!adapter.onlyPlainJSON) {
    onAdapter("a type that ends in +json is JSON, too", "plain", async (client) => {
      const headers = { "content-type": "application/vnd.reality+json" };
      const response = await client.post("/sync", { known: {} }, headers);
      assert.equal(response.status, 200);
      await response.body?.cancel();
    });
  }
}
