/**
 * Rights through every adapter: the arguments of `authorize`, what a forbidden key looks
 * like, what ends with an identity, and how tokens and a hook allow writes.
 *
 * @module
 */
import assert from "node:assert/strict";
import { EventReader, RawClient, soon } from "./client.ts";
import type { Adapter } from "./adapter.ts";
import type { Client, OnAdapter } from "./adapter_client.ts";
import { type Asked, TOKENS } from "./scenes.ts";

const JSON_TYPE = { "content-type": "application/json" };
const ANA = { ...JSON_TYPE, "x-user": "ana" };
const BOB = { ...JSON_TYPE, "x-user": "bob" };

/** The node that Ana may not read, and a key of the same length without a node. */
const FORBIDDEN = "bob:1";
const NOWHERE = "bob:2";

/** One request to each write route. */
const WRITES: readonly (readonly [string, string, unknown])[] = [
  ["POST", "/update", { key: "POST:a", hash: "1" }],
  ["POST", "/invalidate", { keys: ["POST:a"] }],
  ["DELETE", "/nodes/DELETE%3Aa", undefined],
];

/** Registers what the scene `readers` is for. */
export function testReadingRights(onAdapter: OnAdapter, adapter: Adapter): void {
  testWhatIsAsked(onAdapter);
  testWhatTheHostKnows(onAdapter, adapter);
  testWhatIsSeen(onAdapter);
  testWhatIsGranted(onAdapter);
  testWhatEnds(onAdapter);
}

/** Registers what tokens and the hook of the scene `hook` are for. */
export function testWritingRights(onAdapter: OnAdapter): void {
  onAdapter("each token opens the write routes, and the hook is not asked", "hook", async (client) => {
    for (const token of TOKENS) {
      // The hook would refuse, or throw.
      const headers = { authorization: `Bearer ${token}`, "x-user": "broken" };
      for (const [method, path, body] of WRITES) {
        assert.equal(await statusOf(client, method, path, body, headers), method === "DELETE" ? 204 : 200);
      }
    }
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter("a wrong token, or none, leaves it to the hook", "hook", async (client) => {
    for (
      const authorization of [undefined, "Bearer ", "Bearer wrong-token-0123456789", `Basic ${TOKENS[0]}`]
    ) {
      const headers = authorization === undefined ? {} : { authorization };
      for (const [method, path, body] of WRITES) {
        assert.equal(await statusOf(client, method, path, body, headers), 403);
        const writer = { ...headers, "x-user": "writer" };
        assert.equal(await statusOf(client, method, path, body, writer), method === "DELETE" ? 204 : 200);
      }
    }
  });

  onAdapter("what may not be written is not written", "hook", async (client) => {
    for (const [method, path, body] of WRITES) await statusOf(client, method, path, body, {});
    const { changed, mesh } = await client.sync({ known: { "POST:a": 0 } });
    assert.deepEqual([changed, mesh.serverVersion], [{}, 0]);
  });

  onAdapter("curl can write", "plain", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    const { host, pathname } = new URL(client.url("/update"));
    const body = JSON.stringify({ key: "from curl", hash: "1" });
    try {
      // What `curl -X POST … -H … -d …` sends, with the header that it adds before large bodies.
      raw.send(`POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: curl/8.9.1\r\nAccept: */*\r\n`);
      raw.send(`authorization: Bearer ${TOKENS[1]}\r\ncontent-type: application/json\r\n`);
      raw.send(`Content-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n${body}`);
      await raw.receive((text) => text.includes('"epoch"'));
      assert.match(raw.received, /HTTP\/1\.1 200 [\s\S]*"versions":\{"from curl":[1-9]\d*\}/);
    } finally {
      await raw.close();
    }
  });
}

function testWhatIsAsked(onAdapter: OnAdapter): void {
  onAdapter("authorize is shown the request at a sync and after a wake", "readers", async (client) => {
    await client.operate({ do: "update", key: "ana:1", hash: "1" });
    const headers = { ...ANA, authorization: "Bearer a-token", cookie: "a=1; b=2", "x-empty": "" };
    const waiting = client.post("/sync?page=7", { known: { "ana:2": 0, "bob:1": 0 }, wait: 20_000 }, headers);
    await client.hasWaiters(1);
    await client.operate({ do: "update", key: "ana:2", hash: "1" });
    const response = await soon(waiting, "the answer to a waiting client");
    assert.deepEqual(Object.keys((await response.json()).changed), ["ana:2"]);
    const asked = await client.operate({ do: "asked" }) as Asked[];
    // Once before it waits and once after the wake.
    assert.equal(asked.length, 2);
    for (const { method, url, headers: seen, keys } of asked) {
      assert.equal(method, "POST");
      assert.equal(new URL(url).pathname, new URL(client.url("/sync")).pathname);
      assert.equal(new URL(url).search, "?page=7");
      assert.deepEqual(keys, ["ana:2", "bob:1"]);
      assert.equal(seen["x-user"], "ana");
      assert.equal(seen.authorization, "Bearer a-token");
      assert.equal(seen.cookie, "a=1; b=2");
      assert.equal(seen["content-type"], "application/json");
      assert.equal(seen.host, new URL(client.url("")).host);
    }
  });

  onAdapter(
    "authorize is shown the request when a stream begins and at each change",
    "readers",
    async (client) => {
      await client.operate({ do: "update", key: "ana:1", hash: "1" });
      const path = "/events?keys=ana%3A1&keys=bob%3A1";
      const events = new EventReader(await client.get(path, { "x-user": "ana", cookie: "a=1" }));
      await events.nextEvent("update");
      await client.operate({ do: "update", key: "ana:1", hash: "2" });
      await events.nextEvent("update");
      const asked = await client.operate({ do: "asked" }) as Asked[];
      // At the beginning, at the change, and perhaps once more: a poll of a shared storage that was under way at the
      // change wakes the stream again.
      assert.ok(asked.length === 2 || asked.length === 3, `authorize was called ${asked.length} times`);
      for (const { method, url, headers, keys } of asked) {
        assert.equal(method, "GET");
        assert.equal(
          new URL(url).pathname + new URL(url).search,
          new URL(client.url(path)).pathname + "?keys=ana%3A1&keys=bob%3A1",
        );
        assert.deepEqual(keys, ["ana:1", "bob:1"]);
        assert.deepEqual([headers["x-user"], headers.cookie], ["ana", "a=1"]);
      }
      await events.cancel();
      await client.isLeft("ana:1");
    },
  );

  onAdapter(
    "authorize that fails is a 500 that tells nothing, or the end of a stream",
    "readers",
    async (client) => {
      const headers = { ...JSON_TYPE, "x-user": "broken" };
      for (const wait of [0, 20_000]) {
        const response = await client.post("/sync", { known: { a: 0 }, wait }, headers);
        const text = await response.text();
        assert.equal(response.status, 500);
        assert.equal(JSON.parse(text).error.code, "ERR_REALITY_INTERNAL");
        assert.doesNotMatch(text, /secret/);
      }
      const events = new EventReader(await client.get("/events?keys=a", { "x-user": "broken" }));
      assert.deepEqual(Object.keys(await events.next() ?? {}), ["retry"]);
      assert.equal(await events.next(), null);
      assert.deepEqual(await client.reports(), Array(3).fill("ERR_REALITY_INTERNAL"));
      await client.hasWaiters(0);
    },
  );

  onAdapter("authorize has no say about writes", "readers", async (client) => {
    const headers = { ...JSON_TYPE, authorization: `Bearer ${TOKENS[0]}` };
    const response = await client.post("/update", { key: "bob:1", hash: "1" }, headers);
    assert.equal(response.status, 200);
    await response.body?.cancel();
    assert.deepEqual(await client.operate({ do: "asked" }), []);
  });
}

function testWhatTheHostKnows(onAdapter: OnAdapter, { host }: Adapter): void {
  onAdapter(
    "authorize gets what the host knows, at a sync, a stream and each wake",
    "readers",
    async (client) => {
      const waiting = client.post("/sync", { known: { "ana:1": 0 }, wait: 20_000 }, ANA);
      const events = new EventReader(await client.get("/events?keys=ana%3A1", { "x-user": "ana" }));
      await client.hasWaiters(2);
      await client.operate({ do: "update", key: "ana:1", hash: "1" });
      await (await soon(waiting, "the answer")).body?.cancel();
      await events.nextEvent("update");
      await events.cancel();
      await client.isLeft("ana:1");
      const asked = await client.operate({ do: "asked" }) as Asked[];
      assert.deepEqual(asked.map((one) => one.host).slice(0, 4), Array(4).fill(host));
    },
  );
}

function testWhatIsSeen(onAdapter: OnAdapter): void {
  onAdapter("authorize may refuse a request, before there is a stream as well", "readers", async (client) => {
    const stranger = { ...JSON_TYPE, "x-user": "stranger" };
    const responses = [
      await client.post("/sync", { known: { "ana:1": 0 } }, stranger),
      await client.post("/sync", { known: { "ana:1": 0 }, wait: 20_000 }, stranger),
      await client.get("/events?keys=ana%3A1", { "x-user": "stranger" }),
    ];
    for (const response of responses) {
      assert.equal(response.status, 401);
      assert.equal(response.headers.get("www-authenticate"), "Bearer");
      const message = "Cannot read: you are unknown";
      assert.deepEqual(await response.json(), { error: { code: "ERR_REALITY_UNAUTHORIZED", message } });
    }
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter(
    "a key that may not be read has the bytes of one that is not there",
    "readers",
    async (client) => {
      await client.operate({ do: "update", key: "ana:1", hash: "1" });
      await client.operate({ do: "update", key: FORBIDDEN, hash: "secret" });
      const { epoch } = await (await client.post("/sync", { known: {} }, ANA)).json();
      const own = await versionOf(client, "ana:1", ANA);
      const theirs = await versionOf(client, FORBIDDEN, BOB);
      for (const user of [ANA, JSON_TYPE]) {
        for (const version of [0, 1, theirs - 1, theirs, theirs + 1]) {
          for (const more of [{}, { epoch }, { epoch: "another life" }, { wait: 20 }]) {
            const ask = (key: string) =>
              bytesOf(client, "POST", "/sync", { known: { "ana:1": own, [key]: version }, ...more }, user);
            const [forbidden, nowhere] = [await ask(FORBIDDEN), await ask(NOWHERE)];
            assert.equal(forbidden, nowhere.replaceAll(NOWHERE, FORBIDDEN));
            assert.doesNotMatch(forbidden, /secret/);
          }
        }
      }
    },
  );

  onAdapter("a stream of it has the same bytes, new and resumed", "readers", async (client) => {
    await client.operate({ do: "update", key: FORBIDDEN, hash: "1" });
    await client.operate({ do: "update", key: "ana:1", hash: "1" });
    const open = async (key: string, lastEventId?: string) => {
      const headers = lastEventId === undefined ? ANA : { ...ANA, "last-event-id": lastEventId };
      const events = new EventReader(await client.get(`/events?keys=${key}&keys=ana:1`, headers));
      const frames = [];
      let id: string | undefined;
      // Only the last event of a reading has an id. The block of `retry` has that of an interrupted opening.
      while (id === undefined) {
        const frame = await events.next();
        assert.ok(frame !== null, "the stream ended before an id");
        if (frame.retry === undefined) id = frame.id;
        frames.push(frame);
      }
      await events.cancel();
      // An id ends in a mark of the keys that the client has named.
      return { id, text: JSON.stringify(frames).replaceAll(id.slice(id.lastIndexOf(":")), "") };
    };
    const first = await open(FORBIDDEN);
    const same = await open(NOWHERE);
    await client.operate({ do: "update", key: FORBIDDEN, hash: "secret" });
    for (const ids of [[], [first.id, same.id], ["garbage", "garbage"]]) {
      const [forbidden, nowhere] = [await open(FORBIDDEN, ids[0]), await open(NOWHERE, ids[1])];
      assert.equal(forbidden.text, nowhere.text.replaceAll(NOWHERE, FORBIDDEN));
      assert.doesNotMatch(forbidden.text, /secret/);
    }
    await client.isLeft("ana:1");
  });

  onAdapter("a waiting client is not woken by a key that it may not read", "readers", async (client) => {
    const events = new EventReader(await client.get(`/events?keys=${FORBIDDEN}&keys=ana:1`, ANA));
    assert.notEqual((await events.next())?.retry, undefined);
    const waiting = client.post("/sync", { known: { [FORBIDDEN]: 0, "ana:1": 0 }, wait: 20_000 }, ANA);
    await client.hasWaiters(2);
    for (const hash of ["1", "2"]) await client.operate({ do: "update", key: FORBIDDEN, hash });
    await client.operate({ do: "delete", key: FORBIDDEN });
    await client.hasWaiters(2);
    await client.operate({ do: "update", key: "ana:1", hash: "1" });
    const { changed } = await (await soon(waiting, "the answer")).json();
    assert.deepEqual(Object.keys(changed), ["ana:1"]);
    assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").key, "ana:1");
    await events.cancel();
    await client.isLeft("ana:1");
  });

  onAdapter("a right that is taken away holds from the next answer on", "readers", async (client) => {
    await client.operate({ do: "update", key: "ana:1", hash: "1" });
    const version = await versionOf(client, "ana:1", ANA);
    const waiting = client.post("/sync", { known: { "ana:1": version }, wait: 20_000 }, ANA);
    const events = new EventReader(await client.get("/events?keys=ana:1&keys=ana:2", ANA));
    await events.nextEvent("update");
    await client.hasWaiters(2);
    await client.operate({ do: "revoke", key: "ana:1" });
    await client.operate({ do: "update", key: "ana:1", hash: "secret" });
    const { changed } = await (await soon(waiting, "the answer")).json();
    assert.deepEqual(changed, { "ana:1": absent("ana:1") });
    assert.deepEqual(JSON.parse((await events.nextEvent("update")).data ?? ""), absent("ana:1"));
    await events.cancel();
    await client.isLeft("ana:2");
  });
}

function testWhatIsGranted(onAdapter: OnAdapter): void {
  onAdapter(
    "a granted right wakes a waiting client as soon as the server is told of it",
    "readers",
    async (client) => {
      await client.operate({ do: "update", key: "ana:1", hash: "1" });
      await client.operate({ do: "revoke", key: "ana:1" });
      const waiting = client.post("/sync", { known: { "ana:1": 0 }, wait: 20_000 }, ANA);
      const events = new EventReader(await client.get("/events?keys=ana:1", ANA));
      await client.hasWaiters(2);
      await client.operate({ do: "grant", key: "ana:1" });
      const { changed } = await (await soon(waiting, "the answer")).json();
      assert.equal(changed["ana:1"].hash, "1");
      assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "1");
      await events.cancel();
      await client.isLeft("ana:1");
    },
  );
}

function testWhatEnds(onAdapter: OnAdapter): void {
  onAdapter("a wait ends when the identity of its client expires", "readers", async (client) => {
    await client.operate({ do: "update", key: "ana:1", hash: "secret" });
    const version = await versionOf(client, "ana:1", ANA);
    const headers = { ...ANA, "x-expires-at": String(Date.now() + 50) };
    for (const known of [{ "ana:2": 0 }, { "bob:1": 0 }]) {
      const waiting = client.post("/sync", { known, wait: 25_000 }, headers);
      const { changed } = await (await soon(waiting, "the answer at the identity's end")).json();
      assert.deepEqual(changed, {});
    }
    // From then on it receives nothing, waiting or not.
    for (const wait of [0, 25_000]) {
      const asking = client.post("/sync", { known: { "ana:1": version }, wait }, headers);
      const { changed } = await (await soon(asking, "an answer without rights")).json();
      assert.deepEqual(changed, { "ana:1": absent("ana:1") });
    }
    await client.hasWaiters(0);
  });

  onAdapter(
    "a stream ends with the identity of its client, and takes nothing back",
    "readers",
    async (client) => {
      await client.operate({ do: "update", key: "ana:1", hash: "1" });
      const headers = { ...ANA, "x-expires-at": String(Date.now() + 300) };
      const events = new EventReader(await client.get("/events?keys=ana:1", headers));
      const frames = [];
      for (let frame = await events.next(); frame !== null; frame = await events.next()) frames.push(frame);
      assert.equal(Object.keys(frames.at(-1) ?? {}).join(), "retry");
      for (const { data } of frames) {
        if (data !== undefined) assert.equal(JSON.parse(data).hash, "1");
      }
      await client.hasWaiters(0);
      assert.deepEqual(await client.reports(), []);
    },
  );
}

/** The version of a node that the user may read. */
async function versionOf(client: Client, key: string, user: Record<string, string>): Promise<number> {
  const { changed } = await (await client.post("/sync", { known: { [key]: 0 } }, user)).json();
  assert.ok(changed[key].version > 0);
  return changed[key].version;
}

async function statusOf(
  client: Client,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<number> {
  const type = body === undefined ? {} : JSON_TYPE;
  const response = await client.send(method, path, body, { ...type, ...headers });
  await response.body?.cancel();
  return response.status;
}

/** An answer without its times: status, headers and body. */
async function bytesOf(
  client: Client,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<string> {
  const response = await client.send(method, path, body, headers);
  const found = [...response.headers].filter(([name]) => name !== "date");
  const text = await response.text();
  return `${response.status}\n${JSON.stringify(found)}\n${text.replace(/("serverTime":)\d+/, "$1")}`;
}

function absent(key: string): unknown {
  return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
}
