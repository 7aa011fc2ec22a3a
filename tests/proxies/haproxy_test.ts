/**
 * What docs/proxies.md says of HAProxy: that its configuration does what is needed, and what happens without its lines.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import { TOKEN } from "./backends.ts";
import {
  ask,
  askFrom,
  findWaiting,
  hashOf,
  JSON_TYPE,
  listenOnce,
  statusOf,
  sync,
  watchful,
} from "./client.ts";
import { withHAProxy } from "./haproxy.ts";

const HANG_UPS = [
  `POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n` +
  '{"known":{"b":0},"wait":20000}',
  "GET /reality/events?keys=b HTTP/1.1\r\nHost: a\r\n\r\n",
];

/** Without checks of /ready: only requests show it. */
const blind = [["option httpchk GET /reality/ready", ""], ["check inter 1s fall 1 rise 1 ", ""]] as const;

test("HAProxy: syncs, writes and health pass through, and metrics do not", async () => {
  await withHAProxy({}, async (origin) => {
    const authorization = `Bearer ${TOKEN}`;
    const write = await fetch(`${origin}/reality/update`, {
      method: "POST",
      headers: { ...JSON_TYPE, authorization },
      body: '{"key":"a/b","hash":"1"}',
    });
    assert.deepEqual(Object.keys((await write.json()).versions), ["a/b"]);
    assert.equal((await sync(origin, { "a/b": 0 })).changed["a/b"]?.hash, "1");
    const deletion = fetch(`${origin}/reality/nodes/a%2Fb`, { method: "DELETE", headers: { authorization } });
    assert.equal(await statusOf(deletion), 204);
    for (const [path, status] of [["health", 200], ["ready", 200], ["metrics", 404]] as const) {
      assert.equal(await statusOf(fetch(`${origin}/reality/${path}`)), status, path);
    }
    const body = `"${"x".repeat(1_500_000)}"`;
    const large = await fetch(`${origin}/reality/sync`, { method: "POST", headers: JSON_TYPE, body });
    assert.equal((await large.json()).error.code, "ERR_REALITY_BODY_TOO_LARGE");
  });
});

test("HAProxy: a waiting client is woken through the other server, and one that disconnects frees its slot", async () => {
  await withHAProxy({}, async (origin, backends) => {
    const waiting = sync(origin, { a: 0 }, 20_000);
    const [first, other] = await findWaiting(backends);
    await other.server.updateNode("a", "1");
    assert.equal((await soon(waiting, "the answer")).changed.a?.hash, "1");
    await first.hasWaiters(0);
    for (const request of HANG_UPS) {
      const raw = await RawClient.connect(origin);
      raw.send(request);
      const [found] = await findWaiting(backends);
      await raw.close();
      await found.hasWaiters(0);
    }
  });
});

test("HAProxy: without abortonclose, a client that disconnects keeps its slot until the answer", async () => {
  await withHAProxy({ edits: [["option abortonclose", ""]] }, async (origin, backends) => {
    const raw = await RawClient.connect(origin);
    raw.send(HANG_UPS[0] ?? "");
    const [found, other] = await findWaiting(backends);
    await raw.close();
    // Whatever HAProxy does about it, it has done before it answers the next ones.
    for (let i = 0; i < 20; i++) await statusOf(ask(origin, {}));
    assert.equal((await found.server.getStats()).waiters, 1);
    await other.server.updateNode("b", "1");
    await found.hasWaiters(0);
  });
});

test("HAProxy: events come at once, and heartbeats keep a stream for longer than timeout server", async () => {
  const edits = [["timeout server 60s", "timeout server 1s"], [
    "timeout client 60s",
    "timeout client 1s",
  ]] as const;
  await withHAProxy({ edits, server: { heartbeatInterval: 250 } }, async (origin, backends) => {
    const events = new EventReader(await fetch(`${origin}/reality/own`));
    for (let heartbeats = 0; heartbeats < 6;) {
      const frame = await events.next();
      assert.ok(frame !== null, `It ended after ${heartbeats} heartbeats`);
      if (frame.comment === "heartbeat") heartbeats++;
    }
    for (const [i, { server }] of backends.entries()) {
      await server.updateNode("a", `from ${i}`);
      assert.equal(hashOf(await events.nextEvent("update")), `from ${i}`);
    }
    await events.cancel();
    await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
    // Who is silent for longer is cut: a wait gets a page of HTML.
    const response = await soon(ask(origin, { quiet: 0 }, 20_000), "an answer");
    assert.equal(response.status, 504);
    assert.match(await response.text(), /<html>/);
  });
});

test("HAProxy: clients do not notice a server that stops, and without retry-on they do", async () => {
  await withHAProxy({ edits: blind }, async (origin, backends) => {
    const waiting = sync(origin, { quiet: 0 }, 20_000);
    const [first] = await findWaiting(backends);
    await first.server.close();
    assert.deepEqual((await soon(waiting, "the answer to who waited")).changed, {});
    for (let i = 0; i < 20; i++) assert.equal(await statusOf(ask(origin, {})), 200);
    await first.stop();
    for (let i = 0; i < 20; i++) assert.equal(await statusOf(ask(origin, {})), 200);
  });
  const edits = [...blind, ["retry-on conn-failure empty-response 503", ""]] as const;
  await withHAProxy({ edits }, async (origin, backends) => {
    await backends[0].server.close();
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++) statuses.push(await statusOf(ask(origin, {})));
    assert.ok(statuses.includes(503), String(statuses));
  });
});

test("HAProxy: a server that stops gets no requests after the next check of /ready", async () => {
  await withHAProxy(
    { edits: [["retry-on conn-failure empty-response 503", ""]] },
    async (origin, backends) => {
      await backends[0].server.close();
      const isLeft = async () => {
        const statuses = await Promise.all(Array.from({ length: 20 }, () => statusOf(ask(origin, {}))));
        return statuses.every((status) => status === 200);
      };
      await until(isLeft, "no client is sent to the server that stops");
    },
  );
});

test("HAProxy: a request on a connection that the server closes meanwhile is retried", async () => {
  const closing = await listenOnce();
  try {
    await withHAProxy({ upstreams: [closing.origin], edits: blind }, async (origin) => {
      for (let i = 0; i < 40; i++) assert.equal(await statusOf(ask(origin, {})), 200);
    });
    assert.ok(closing.broken > 0);
  } finally {
    await closing.close();
  }
});

test("HAProxy: the server knows the client's address and what it asked, whatever it says of itself", async () => {
  const found: (string | null)[] = [];
  const server = watchful(found);
  await withHAProxy({ server }, async (origin) => {
    for (const lie of [{}, { "x-forwarded-for": "9.9.9.9" }, { forwarded: "for=9.9.9.9" }]) {
      await askFrom("127.0.0.2", origin, lie);
      assert.deepEqual(found.splice(0), ["127.0.0.2", new URL(origin).host]);
    }
  });
  await withHAProxy({ server, edits: [["http-request del-header Forwarded", ""]] }, async (origin) => {
    await askFrom("127.0.0.2", origin, { forwarded: "for=9.9.9.9" });
    assert.equal(found[0], "127.0.0.1");
  });
});
