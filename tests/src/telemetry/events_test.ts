import "../../loaded_mesh.ts";
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import type { RealityEvent, RealityServerOptions } from "../../../mod.ts";
import { RealityServer } from "../../../src/server.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";
import { Servers } from "../mesh/servers.ts";
import { FakeIORedis, FakeRedis } from "../redis/fake_redis.ts";

const TOKEN = "write-token-0123456789";

function setUp(options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const events: RealityEvent[] = [];
  const server = new RealityServer({
    storage,
    clock,
    writeTokens: [TOKEN],
    onEvent: (event) => void events.push(event),
    ...options,
  });
  const handler = server.getFetchHandler();
  const ask = async (method: string, path: string, body?: unknown, signal?: AbortSignal) => {
    const response = await handler(
      new Request(`http://localhost/reality${path}`, {
        method,
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      }),
    );
    return response;
  };
  /** Returns the events so far without their times, and clears them. */
  const take = () => events.splice(0).map(({ at: _, ...event }) => event);
  const waits = async () => {
    for (let i = 0; (await server.getStats()).waits < 1; i++) {
      ok(i < 1_000, "no client waits");
      await settle();
    }
  };
  return { clock, storage, events, server, ask, take, waits };
}

test("onEvent receives requests with route, status and keys", async () => {
  const { server, ask, take } = setUp();
  await server.updateNode("a", "1");
  take();
  await ask("POST", "/sync", { known: { a: 0, b: 0 } });
  const times = { ms: 0, waited: 0 };
  deepEqual(take(), [
    { type: "sync", keyCount: 2, changed: 1, outcome: "answered", ...times },
    { type: "request", route: "sync", method: "POST", status: 200, keyCount: 2, ...times },
  ]);
  await ask("POST", "/update", { updates: [{ key: "a", hash: "2" }, { key: "b", hash: "2" }] });
  deepEqual(take(), [
    { type: "change", keyCount: 2, ms: 0 },
    { type: "request", route: "update", method: "POST", status: 200, keyCount: 2, ...times },
  ]);
  await ask("POST", "/invalidate", { keys: ["a"] });
  await ask("DELETE", "/nodes/a");
  deepEqual(take(), [
    { type: "change", keyCount: 1, ms: 0 },
    { type: "request", route: "invalidate", method: "POST", status: 200, keyCount: 1, ...times },
    { type: "change", keyCount: 1, ms: 0 },
    { type: "request", route: "nodes", method: "DELETE", status: 204, keyCount: 1, ...times },
  ]);
  for (const route of ["health", "ready", "metrics"]) {
    await ask("GET", `/${route}`);
    deepEqual(take(), [{ type: "request", route, method: "GET", status: 200, keyCount: 0, ...times }]);
  }
  await server.close();
});

test("onEvent receives refusals by code, before their requests", async () => {
  const { server, ask, take } = setUp({ limits: { maxKeys: 1 } });
  const cases = [
    ["POST", "/nope", undefined, "none", "NOT_FOUND", 404],
    ["GET", "/sync", undefined, "sync", "METHOD", 405],
    ["POST", "/sync", {}, "sync", "BAD_REQUEST", 400],
    ["POST", "/sync", { known: { a: 0, b: 0 } }, "sync", "TOO_MANY_KEYS", 413],
    ["POST", "/update", { key: "" }, "update", "BAD_REQUEST", 400],
  ] as const;
  for (const [method, path, body, route, name, status] of cases) {
    await ask(method, path, body);
    const code = `ERR_REALITY_${name}`;
    deepEqual(take(), [
      { type: "refusal", route, code, status },
      { type: "request", route, method, status, code, ms: 0, waited: 0, keyCount: 0 },
    ]);
  }
  await server.close();
});

test("onEvent receives the duration and the wait of a sync, and how the wait ended", async () => {
  const { clock, server, ask, take, waits } = setUp();
  await server.updateNode("a", "1");
  take();
  const start = clock.now();
  const answer = ask("POST", "/sync", { known: { a: 1 }, wait: 20_000 });
  await waits();
  await clock.advance(4_000);
  await server.updateNode("a", "2");
  await answer;
  const [change, sync, request] = take();
  equal(change?.type, "change");
  const times = { ms: 4_000, waited: 4_000 };
  deepEqual(sync, { type: "sync", keyCount: 1, changed: 1, outcome: "wake", ...times });
  deepEqual(request, { type: "request", route: "sync", method: "POST", status: 200, keyCount: 1, ...times });

  const late = server.handleSync({ known: { a: 2 }, wait: 1_000 });
  await settle();
  await clock.advance(1_000);
  await late;
  deepEqual(take(), [
    { type: "sync", keyCount: 1, changed: 0, outcome: "timeout", ms: 1_000, waited: 1_000 },
  ]);
  equal(clock.now() - start, 5_000);

  const last = server.handleSync({ known: { a: 2 }, wait: 1_000 });
  await settle();
  await server.close();
  await last;
  deepEqual(take(), [
    { type: "closing" },
    { type: "sync", keyCount: 1, changed: 0, outcome: "closed", ms: 0, waited: 0 },
    { type: "closed" },
  ]);
});

test("onEvent receives a request of a disconnected client as 499 and not as a failure", async () => {
  const { server, ask, take, waits } = setUp();
  const client = new AbortController();
  const answer = ask("POST", "/sync", { known: { a: 0 }, wait: 1_000 }, client.signal);
  await waits();
  client.abort();
  await answer;
  deepEqual(take(), [
    { type: "sync", keyCount: 1, changed: 0, outcome: "gone", ms: 0, waited: 0 },
    { type: "request", route: "sync", method: "POST", status: 499, keyCount: 1, ms: 0, waited: 0 },
  ]);
  await server.close();
});

test("onEvent receives the start of a stream, and its end with reason and duration", async () => {
  const { clock, server, ask, take } = setUp();
  await server.updateNode("a", "1");
  take();
  const first = (await ask("GET", "/events?keys=a&keys=b")).body!.getReader();
  await first.read();
  deepEqual(take(), [
    { type: "request", route: "events", method: "GET", status: 200, ms: 0, waited: 0, keyCount: 2 },
    { type: "stream", state: "begun", keyCount: 2 },
  ]);
  await clock.advance(700);
  await first.cancel();
  deepEqual(take(), [{ type: "stream", state: "ended", keyCount: 2, reason: "gone", ms: 700 }]);

  const request = new Request("http://localhost/");
  const second = (await server.handleSSECompat(request, { keys: ["a"], lifetime: 1_000 })).body!.getReader();
  await second.read();
  const rest = second.read();
  await clock.advance(1_000);
  await rest;
  const third = (await server.handleSSECompat(request, { keys: ["a"] })).body!.getReader();
  await third.read();
  const end = third.read();
  await server.close();
  await end;
  const ended = take().filter((event) => event.type === "stream" && event.state === "ended");
  deepEqual(ended, [
    { type: "stream", state: "ended", keyCount: 1, reason: "lifetime", ms: 1_000 },
    { type: "stream", state: "ended", keyCount: 1, reason: "closed", ms: 0 },
  ]);
});

test("onEvent receives the other reasons of a stream's end: rights, no slot, a storage that fails", async () => {
  const { clock, server, storage, take } = setUp({
    limits: { maxWaiters: 2 },
    authorize: () => ({ keys: true, expiresAt: clock.now() + 500 }),
  });
  const request = new Request("http://localhost/");
  const open = async () => {
    const reader = (await server.handleSSECompat(request, { keys: ["a"] })).body!.getReader();
    await reader.read();
    return reader;
  };
  const [first, second] = [await open(), await open()];
  const third = await open();
  await third.read();
  const ending = first.read();
  await clock.advance(500);
  await ending;
  const failing = second.read();
  storage.failure = new Error("away");
  await server.updateNode("a", "1").catch(() => {});
  await failing;
  const reasons = take().flatMap((event) => event.type === "stream" ? event.reason ?? [] : []);
  deepEqual(reasons, ["full", "rights", "rights"]);

  storage.failure = undefined;
  const fourth = await open();
  storage.failure = new Error("away");
  const broken = fourth.read();
  await server.updateNode("a", "1").catch(() => {});
  await broken;
  deepEqual(take().flatMap((event) => event.type === "stream" ? event.reason ?? [] : []), ["failed"]);
  await server.close();
});

test("onEvent receives one event when the storage fails, one when it works again, and one for each failed change", async () => {
  const { server, storage, take } = setUp();
  storage.failure = new Error("password=secret");
  for (let i = 0; i < 3; i++) await server.updateNode("a", "1").catch(() => {});
  await server.updateNode("", "1").catch(() => {});
  storage.failure = undefined;
  await server.getNode("a");
  const failed = { type: "change", keyCount: 1, ms: 0, code: "ERR_REALITY_STORAGE" };
  deepEqual(take(), [
    { type: "storage", state: "down", operation: "applyChanges" },
    failed,
    failed,
    failed,
    { type: "storage", state: "up", operation: "getNodes" },
  ]);
  await server.close();
});

test("onEvent receives peers by their index, and by their URL only with eventKeys", async () => {
  for (const eventKeys of [false, true]) {
    const events: RealityEvent[] = [];
    const servers = new Servers(["a", "b", "c"], { meshSecret: "a secret of the mesh" });
    servers.start("a", { onEvent: (event) => void events.push(event), eventKeys });
    await servers.meet();
    servers.cut = (from, to) => from === "a" && to === "c";
    /** Lets servers change the node until the peer has this state. */
    const reach = async (id: string, state: "down" | "up") => {
      for (let i = 0; !events.some((event) => event.type === "peer" && event.state === state); i++) {
        ok(i < 200, `no peer is ${state}`);
        await servers.get(id).updateNode("key", String(i));
        await servers.rest();
      }
    };
    await reach("a", "down");
    servers.cut = () => false;
    await reach("c", "up");
    const found = events.filter((event) => event.type === "peer").map(({ at: _, ...event }) => event);
    const peer = { type: "peer", peer: 1, ...(eventKeys ? { url: "http://c:3000/reality/sync" } : {}) };
    deepEqual(found, [
      { ...peer, state: "down", code: "ERR_REALITY_PEER_UNREACHABLE" },
      { ...peer, state: "up" },
    ]);
    const exchanges = events.filter((event) => event.type === "request" && event.route === "exchange");
    ok(exchanges.length > 0);
    await servers.close();
  }
});

test("onEvent receives the failure of Redis and its end", async () => {
  const redis = new FakeRedis();
  const clients = { publisher: new FakeIORedis(redis), subscriber: new FakeIORedis(redis) };
  const { server, take } = setUp({ redis: clients });
  await server.updateNode("a", "1");
  await settle();
  clients.publisher.lose();
  clients.publisher.connect();
  await settle();
  deepEqual(take().filter(({ type }) => type === "redis"), [
    { type: "redis", state: "down" },
    { type: "redis", state: "up" },
  ]);
  await server.close();
});

test("every event has the time of the server's clock", async () => {
  const { clock, server, events, ask } = setUp();
  await clock.advance(1_234);
  await server.updateNode("a", "1");
  await ask("POST", "/sync", { known: { a: 0 } });
  await server.close();
  equal(events.length, 5);
  equal(events.every(({ at }) => at === clock.now()), true);
});

test("exceptions and rejections of onEvent are ignored", async () => {
  const hooks = [
    () => {
      throw new Error("an observer's mistake");
    },
    () => Promise.reject(new Error("an observer's mistake")),
  ];
  for (const onEvent of hooks) {
    const { server, ask } = setUp({ onEvent: onEvent as () => void, onError: onEvent as () => void });
    await server.updateNode("a", "1");
    equal((await ask("POST", "/sync", { known: { a: 0 } })).status, 200);
    equal((await ask("POST", "/sync", {})).status, 400);
    const reader = (await ask("GET", "/events?keys=a")).body!.getReader();
    await reader.read();
    await reader.cancel();
    await server.close();
  }
});

test("no event contains a key, a hash, a URL or a cause by default", async () => {
  const secrets = ['zebra"\\ 1', "http://zebra.example/?token=zebra", "zebra 🦓", "__proto__zebra"];
  const provoke = async (eventKeys: boolean) => {
    const { server, storage, events, ask } = setUp({
      eventKeys,
      serverId: "zebra-server",
      meshPeers: ["http://zebra-peer:3000"],
      mesh: { fetch: () => Promise.reject(new Error("zebra")) },
    });
    for (const key of secrets) {
      const encoded = encodeURIComponent(key);
      await ask("POST", "/sync", { known: { [key]: 0 }, clientId: "zebra", epoch: "zebra" });
      await ask("POST", "/sync", { known: { [key]: "zebra" } });
      await ask("POST", "/update", { key, hash: "zebra" });
      await ask("POST", "/invalidate", { keys: [key] });
      await ask("DELETE", `/nodes/${encoded}`);
      await ask("GET", `/${encoded}?${encoded}`);
      const reader = (await ask("GET", `/events?keys=${encoded}`)).body!.getReader();
      await reader.read();
      await reader.cancel();
    }
    storage.failure = new Error("zebra");
    await ask("POST", "/update", { key: secrets[0], hash: "zebra" });
    await settle();
    await server.close();
    return events;
  };
  const text = JSON.stringify(await provoke(false));
  equal(/zebra|🦓/i.test(text), false, text);
  const named = await provoke(true);
  for (const type of ["request", "sync", "change", "stream"]) {
    const lists = named.flatMap((event) => event.type === type && "keys" in event ? [event.keys] : []);
    for (const key of secrets) ok(lists.some((keys) => keys?.includes(key)), `${type} ${key}`);
  }
  equal(JSON.stringify(named).includes('hash":'), false);
});

test("without onEvent no event is created, and with it no answer changes", async () => {
  const quiet = setUp({ onEvent: undefined });
  const loud = setUp();
  for (const { server } of [quiet, loud]) await server.updateNode("a", "1");
  const [one, other] = await Promise.all(
    [quiet, loud].map(({ server }) => server.handleSync({ known: { a: 0 } })),
  );
  deepEqual(one?.changed, other?.changed);
  equal(quiet.events.length, 0);
  for (const { server } of [quiet, loud]) await server.close();
});

test("onEvent and eventKeys are checked", () => {
  throws(() => setUp({ onEvent: "log" as never }), { name: "TypeError", message: /"onEvent"/ });
  throws(() => setUp({ eventKeys: 1 as never }), { name: "TypeError", message: /"eventKeys"/ });
});
