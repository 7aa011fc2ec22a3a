/**
 * Tests of `GET /sync`, whose answers caches keep: what is asked and refused, what an answer holds, for how long it may be
 * kept, and that it does not depend on the client.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { SyncResponse } from "../../mod.ts";
import { absent, AUTHORIZED, type Client, type OnAdapter, STRANGE_KEYS } from "./adapter_client.ts";
import { RawClient, soon } from "./client.ts";
import { bad, type Exchange, withoutBody } from "./exchange.ts";

/** How long caches may keep an answer that only moves a client forward, and any other one. */
const FORWARD = "public, max-age=0, s-maxage=2";
const OTHER = "public, max-age=0, s-maxage=1";

const get = { method: "GET", scene: "cached" } as const;
const refused = { ...get, ...bad } as const;

/** Queries that are answered, and such that are refused. */
export const cachedExchanges: readonly Exchange[] = [
  {
    ...withoutBody,
    title: "without public keys a sync by GET is refused",
    method: "GET",
    path: "/sync?k=a:0",
    message: /allowed is POST$/,
  },
  {
    ...get,
    title: "a sync by GET is answered for caches",
    path: "/sync?k=a:0",
    status: 200,
    answers: {
      "content-type": /^application\/json/,
      "cache-control": OTHER,
      // As text: the hash of it would take longer than the rest of the answer.
      "etag": /^W\/"k=a:0;[\w-]+;[\w.%-]+"$/,
      "reality-time": /^\d{13}$/,
      "ratelimit": null,
      "vary": null,
      "set-cookie": null,
    },
  },
  {
    ...get,
    title: "a sync by HEAD is answered without a body",
    method: "HEAD",
    path: "/sync?k=a:0",
    status: 200,
    json: "",
  },
  {
    ...get,
    title: "a key that is not public is refused by GET",
    path: "/sync?k=a:0&k=private:b:0",
    status: 403,
    code: "FORBIDDEN",
    message: /^Cannot read "private:b" by GET: it is not public; send a POST$/,
  },
  {
    ...get,
    title: "a public that throws makes no key public",
    path: "/sync?k=broken:b:0",
    status: 500,
    code: "INTERNAL",
  },
  {
    ...get,
    title: "a promise of public makes no key public",
    path: "/sync?k=promised:b:0",
    status: 500,
    code: "INTERNAL",
  },
  {
    ...refused,
    title: "a query without keys is refused",
    path: "/sync",
    message: /"k": expected one or more, got none$/,
  },
  { ...refused, title: "a wait without keys is refused", path: "/sync?w=1", message: /"k"/ },
  {
    ...refused,
    title: "an unknown parameter is refused",
    path: "/sync?k=a:0&x=1",
    message: /"x": expected e, k or w$/,
  },
  {
    ...refused,
    title: "a key named twice is refused",
    path: "/sync?k=a:0&k=a:1",
    message: /"k".*once.*"a" twice$/,
  },
  {
    ...refused,
    title: "an epoch named twice is refused",
    path: "/sync?k=a:0&e=1&e=1",
    message: /"e".*twice$/,
  },
  { ...refused, title: "a wait named twice is refused", path: "/sync?k=a:0&w=1&w=1", message: /"w".*twice$/ },
  {
    ...refused,
    title: "a key without a version is refused",
    path: "/sync?k=a",
    message: /"k": expected key:version/,
  },
  { ...refused, title: "an empty key in a query is refused", path: "/sync?k=:1", message: /"k".*empty/ },
  ...["", "-1", "1.5", "01", "1e3", "0x1", "%201", `${2 ** 53}`, "x"].map((version) => ({
    ...refused,
    title: `the version "${version}" in a query is refused`,
    path: `/sync?k=a:${version}`,
    message: /"k": expected a version from 0 to 2\^53 - 1 after the last colon/,
  })),
  ...["", "0", "-1", "1.5", "01", "3601", "x"].map((wait) => ({
    ...refused,
    title: `the wait "${wait}" in a query is refused`,
    path: `/sync?k=a:0&w=${wait}`,
    message: /"w": expected whole seconds from 1 to 3600/,
  })),
  {
    ...refused,
    title: "a query with broken percent-encoding is refused",
    path: "/sync?k=%E0%A4:0",
    message: /"k": its percent-encoding is broken$/,
  },
  {
    ...refused,
    title: "an epoch of a query over 128 characters is refused",
    path: `/sync?e=${"x".repeat(129)}&k=a:0`,
    message: /"e": longer than 128 characters$/,
  },
  { ...get, title: "a query of 8000 characters is answered", path: `/sync?${longQuery(8_000)}`, status: 200 },
  {
    ...refused,
    title: "a query over 8000 characters is refused",
    path: `/sync?${longQuery(8_001)}`,
    message: /longer than 8000 characters/,
  },
  {
    ...get,
    title: "more keys in a query than maxKeys are refused",
    path: `/sync?${Array.from({ length: 21 }, (_, i) => `k=${i}:0`).join("&")}`,
    status: 413,
    code: "TOO_MANY_KEYS",
    message: /maxKeys \(20\)/,
  },
  {
    ...get,
    title: "a sync by GET may be read by pages of every origin",
    scene: "cachedCors",
    path: "/sync?k=a:0",
    headers: { origin: "https://any.example" },
    status: 200,
    answers: {
      "access-control-allow-origin": "*",
      "access-control-expose-headers": /\breality-time\b/,
      "vary": null,
    },
  },
];

/** Registers tests of what a sync by GET answers. */
export function testCachedSync(onAdapter: OnAdapter): void {
  onAdapter("a sync by GET answers what a POST would, and what was asked", "cached", async (client) => {
    await client.operate({ do: "update", key: "b", hash: "2" });
    await client.operate({ do: "update", key: "a:1", hash: "1" });
    const { answer } = await ask(client, "k=c:0&k=b:0&k=a:1:0");
    assert.deepEqual(Object.keys(answer), ["changed", "mesh", "epoch", "serverTime", "asked"]);
    assert.deepEqual(Object.keys(answer.changed).sort(), ["a:1", "b"]);
    assert.equal(answer.asked, "k=a:1:0&k=b:0&k=c:0");
    const { "a:1": a, b } = answer.changed;
    const { asked } = (await ask(client, `w=1&k=b:0&e=${answer.epoch}&k=a%3A1:0`)).answer;
    assert.equal(asked, `e=${answer.epoch}&k=a:1:0&k=b:0&w=1`);
    const none = await ask(client, `e=${answer.epoch}&k=a:1:${a?.version}&k=b:${b?.version}`);
    assert.deepEqual(none.answer.changed, {});
    const byPost = await client.post("/sync", { known: { b: 0 } });
    assert.equal(byPost.status, 401);
    await byPost.body?.cancel();
  });

  onAdapter("every public key can be asked by GET, however strange", "cached", async (client) => {
    for (const key of STRANGE_KEYS) {
      await client.operate({ do: "update", key, hash: "1" });
      const { answer } = await ask(client, `k=${encodeURIComponent(key)}:0`);
      assert.deepEqual(Object.keys(answer.changed), [key]);
      const canonical = new URL(client.url(`/sync?${answer.asked}`)).search;
      // A browser sends the canonical form as it is.
      assert.equal(canonical, `?${answer.asked}`);
      assert.equal((await ask(client, answer.asked!)).answer.asked, answer.asked);
      const spaced = await ask(client, `k=${encodeURIComponent(key).replaceAll("%20", "+")}:0`);
      assert.equal(spaced.answer.asked, answer.asked);
    }
  });

  onAdapter("only what moves a client forward may be kept for two seconds", "cached", async (client) => {
    const first = (await ask(client, "k=a:0&k=b:0")).answer;
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.operate({ do: "update", key: "b", hash: "1" });
    const { changed, epoch } = (await ask(client, "k=a:0&k=b:0")).answer;
    const [a, b] = [changed.a?.version ?? 0, changed.b?.version ?? 0];
    assert.equal(first.epoch, epoch);
    for (
      const [query, kept] of [
        [`e=${epoch}&k=a:${a - 1 || 1}&k=b:${b - 1}`, a === 1 ? OTHER : FORWARD],
        [`e=${epoch}&k=b:${b - 1}`, FORWARD],
        [`e=${epoch}&k=a:${a}&k=b:${b - 1}`, FORWARD],
        // No node is known: the next answer may be that it was deleted.
        [`e=${epoch}&k=b:0`, OTHER],
        [`e=${epoch}&k=a:0&k=b:${b - 1}`, OTHER],
        // The client is ahead of this server.
        [`e=${epoch}&k=b:${b + 9}`, OTHER],
        [`e=${epoch}&k=a:${a}&k=b:${b}`, OTHER],
        [`e=${epoch}&k=nothing:${b}`, OTHER],
        [`e=other&k=b:${b - 1}`, OTHER],
        [`k=b:${b - 1}`, OTHER],
      ] as const
    ) assert.equal((await ask(client, query)).headers.get("cache-control"), kept, query);
  });

  onAdapter("a cache that holds the answer is told so", "cached", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    const first = await ask(client, "k=a:0&k=b:0");
    const etag = first.headers.get("etag") ?? "";
    const same = [etag, etag.slice(2), `"other", ${etag}`, "*"];
    for (const value of same) {
      const again = await client.get("/sync?k=b:0&k=a:0", { "if-none-match": value });
      assert.equal(again.status, 304, value);
      assert.equal(await again.text(), "");
      for (const name of ["etag", "cache-control"]) {
        assert.equal(again.headers.get(name), first.headers.get(name));
      }
      assert.ok(Number(again.headers.get("reality-time")) >= first.answer.serverTime);
    }
    const others = ["k=a:0", `e=${first.answer.epoch}&k=a:0&k=b:0`];
    for (const query of others) assert.notEqual((await ask(client, query)).headers.get("etag"), etag);
    // A tag must fit into a field that proxies accept.
    const [long, longer] = [
      await ask(client, `k=${"x".repeat(500)}:0`),
      await ask(client, `k=${"x".repeat(501)}:0`),
    ];
    assert.match(long.headers.get("etag") ?? "", /^W\/"[\w-]{22}"$/);
    assert.notEqual(long.headers.get("etag"), longer.headers.get("etag"));
    await client.operate({ do: "update", key: "b", hash: "1" });
    const changed = await client.get("/sync?k=a:0&k=b:0", { "if-none-match": etag });
    assert.equal(changed.status, 200);
    assert.deepEqual(Object.keys((await changed.json()).changed), ["a", "b"]);
  });

  onAdapter("a waiting sync by GET is answered by a change", "cached", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    const { changed, epoch } = (await ask(client, "k=a:0")).answer;
    const version = changed.a?.version ?? 0;
    const waiting = ask(client, `e=${epoch}&k=a:${version}&w=20`);
    await client.hasWaiters(1);
    await client.operate({ do: "update", key: "a", hash: "2" });
    const { answer, headers } = await soon(waiting, "the answer to a waiting sync");
    assert.equal(answer.changed.a?.hash, "2");
    assert.equal(headers.get("cache-control"), FORWARD);
    await client.hasWaiters(0);
    await client.operate({ do: "delete", key: "a" });
    const gone = await ask(client, `e=${epoch}&k=a:${answer.changed.a?.version}&w=20`);
    assert.deepEqual(gone.answer.changed.a, absent("a"));
    assert.equal(gone.headers.get("cache-control"), OTHER);
  });

  onAdapter("an answer with a pause has another tag than one without", "cached", async (client) => {
    const ended = await ask(client, "k=quiet:0&w=1");
    assert.equal(ended.answer.pause, undefined);
    const waiting = ask(client, "k=quiet:0&w=1");
    await client.hasWaiters(1);
    await client.operate({ do: "close" });
    const stopped = await soon(waiting, "the answer of a server that stops");
    assert.ok(Number(stopped.answer.pause) >= 500);
    // A cache that revalidates would keep the pause, or lose it.
    assert.notEqual(stopped.headers.get("etag"), ended.headers.get("etag"));
  });

  onAdapter("a sync by HEAD has the length of the answer to a GET", "cached", async (client) => {
    const { headers } = await client.send("HEAD", "/sync?k=a:0", undefined, {});
    const whole = await client.get("/sync?k=a:0");
    // A host may leave it out.
    assert.ok([null, `${(await whole.text()).length}`].includes(headers.get("content-length")));
  });

  onAdapter("a sync by GET or HEAD with a body is refused", "cached", async (client) => {
    for (const method of ["GET", "HEAD"]) {
      for (const body of ["Content-Length: 300", "Transfer-Encoding: chunked"]) {
        const raw = await RawClient.connect(client.url(""));
        try {
          const { pathname } = new URL(client.url("/sync"));
          raw.send(`${method} ${pathname}?k=a:0&w=20 HTTP/1.1\r\nHost: a\r\n${body}\r\n\r\n`);
          const answer = await raw.receive((text) => text.includes("\r\n\r\n"));
          assert.match(answer, /^HTTP\/1\.1 400 /, `${method}, ${body}`);
        } finally {
          await raw.close();
        }
      }
    }
    await client.hasWaiters(0);
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter("a sync by GET does not depend on the client", "cached", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    const first = await ask(client, "k=a:0");
    const { serverTime: _, ...expected } = first.answer;
    for (
      const headers of [AUTHORIZED, { cookie: "user=ana" }, {
        "accept-language": "de",
        origin: "https://b.example",
      }]
    ) {
      const { answer: { serverTime: _, ...answer }, headers: found } = await ask(client, "k=a:0", headers);
      assert.deepEqual(answer, expected);
      for (const name of ["etag", "vary", "cache-control"]) {
        assert.equal(found.get(name), first.headers.get(name));
      }
    }
    assert.deepEqual(await client.reports(), []);
  });
}

async function ask(
  client: Client,
  query: string,
  headers: Record<string, string> = {},
): Promise<{ answer: SyncResponse; headers: Headers }> {
  const response = await client.get(`/sync?${query}`, headers);
  assert.equal(response.status, 200, query);
  return { answer: await response.json(), headers: response.headers };
}

/** A query of so many characters. */
function longQuery(length: number): string {
  const keys = Array.from({ length: 15 }, (_, i) => `k=${`${i}`.padEnd(500, "k")}:0&`).join("");
  return `${keys}k=${"k".repeat(length - keys.length - 4)}:0`;
}
