/**
 * What docs/proxies.md says of Caddy: that its configuration does what is needed, and what happens without its lines.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import { TOKEN } from "./backends.ts";
import { isOld, withCaddy } from "./caddy.ts";
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

test("Caddy: syncs, writes and health pass through, and metrics do not", async () => {
  await withCaddy({}, async (origin) => {
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
    assert.deepEqual((await sync(origin, { "a/b": 0 })).changed, {});
    for (const [path, status] of [["health", 200], ["ready", 200], ["metrics", 404]] as const) {
      assert.equal(await statusOf(fetch(`${origin}/reality/${path}`)), status, path);
    }
  });
});

test("Caddy: a waiting client is woken through the other server, and one that disconnects frees its slot", async () => {
  await withCaddy({}, async (origin, backends) => {
    const waiting = sync(origin, { a: 0 }, 20_000);
    const [first, other] = await findWaiting(backends);
    await other.server.updateNode("a", "1");
    assert.equal((await soon(waiting, "the answer")).changed.a?.hash, "1");
    await first.hasWaiters(0);
    const body = '{"known":{"b":0},"wait":20000}';
    const requests = [
      `POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      "GET /reality/events?keys=b HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (const request of requests) {
      const raw = await RawClient.connect(origin);
      raw.send(request);
      const [found] = await findWaiting(backends);
      await raw.close();
      await found.hasWaiters(0);
    }
  });
});

test("Caddy: events arrive at once, also with compression, and resume at the other server", async () => {
  const packing = [["respond /reality/metrics 404", "respond /reality/metrics 404\n\tencode gzip"]] as const;
  for (const edits of [[], packing]) {
    await withCaddy({ edits }, async (origin, backends) => {
      const open = async (id = "") => {
        const headers = { "accept-encoding": "gzip", "last-event-id": id };
        return new EventReader(await fetch(`${origin}/reality/events?keys=a`, { headers }));
      };
      await backends[0].server.updateNode("a", "0");
      const events = await open();
      let last = await events.nextEvent("update");
      for (const [i, { server }] of backends.entries()) {
        await server.updateNode("a", `from ${i}`);
        last = await events.nextEvent("update");
        assert.equal(hashOf(last), `from ${i}`);
      }
      const [first] = await findWaiting(backends);
      await events.cancel();
      await first.hasWaiters(0);
      await first.server.updateNode("a", "meanwhile");
      for (let isOther = false; !isOther;) {
        const after = await open(last.id);
        isOther = (await findWaiting(backends))[0] !== first;
        assert.equal(hashOf(await after.nextEvent("update")), "meanwhile");
        await after.cancel();
        await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
      }
    });
  }
});

test("Caddy: a body over the server's limit is refused by the server", async () => {
  await withCaddy({}, async (origin) => {
    const body = `"${"x".repeat(1_500_000)}"`;
    const response = await fetch(`${origin}/reality/sync`, { method: "POST", headers: JSON_TYPE, body });
    assert.equal(response.status, 413);
    assert.equal((await response.json()).error.code, "ERR_REALITY_BODY_TOO_LARGE");
  });
});

test("Caddy: a server that stops gets requests until the next check of /ready, and none after it", async () => {
  await withCaddy({}, async (origin, backends) => {
    const waiting = sync(origin, { quiet: 0 }, 20_000);
    const [first, second] = await findWaiting(backends);
    await first.server.close();
    assert.deepEqual((await soon(waiting, "the answer to who waited")).changed, {});
    const isLeft = async () => {
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(origin, {})));
      for (const answer of answers) {
        if (answer.status !== 200) assert.match(answer.headers.get("retry-after") ?? "", /^[1-5]$/);
        await answer.body?.cancel();
      }
      return answers.every(({ status }) => status === 200);
    };
    await until(isLeft, "no client is sent to the server that stops");
    for (let round = 0; round < 10; round++) {
      const many = await Promise.all(Array.from({ length: 100 }, () => statusOf(ask(origin, {}))));
      assert.deepEqual(many.filter((status) => status !== 200), []);
    }
    await first.stop();
    for (let i = 0; i < 20; i++) assert.equal(await statusOf(ask(origin, {})), 200);
    assert.equal((await second.server.getStats()).waiters, 0);
  });
});

test("Caddy: a server that is gone costs nothing, and a 502 without lb_retries", async () => {
  // Without checks of /ready: only requests show it.
  const blind = ["health_uri /reality/ready", ""] as const;
  await withCaddy({ edits: [blind] }, async (origin, backends) => {
    await backends[0].stop();
    for (let i = 0; i < 30; i++) assert.equal(await statusOf(ask(origin, { a: 0 })), 200);
  });
  const without = [["lb_retries 20", ""], ["lb_try_duration 5s", ""], ["lb_try_interval 10ms", ""]] as const;
  // An old Caddy asks the next server with a body that it has lost, unless it has kept it.
  for (const left of isOld() ? [without, [["request_buffers 2MB", ""]] as const] : [without]) {
    await withCaddy({ edits: [blind, ...left] }, async (origin, backends) => {
      await backends[0].stop();
      const statuses: number[] = [];
      for (let i = 0; i < 30; i++) statuses.push(await statusOf(ask(origin, {})));
      assert.ok(statuses.includes(502), String(statuses));
    });
  }
});

test("Caddy: a connection that the server closes meanwhile is a 502, so Caddy has to close it first", async () => {
  const closing = await listenOnce();
  try {
    await withCaddy({ upstreams: [closing.origin] }, async (origin) => {
      const statuses: number[] = [];
      for (let i = 0; i < 40; i++) statuses.push(await statusOf(ask(origin, {})));
      assert.ok(statuses.includes(502), String(statuses));
    });
  } finally {
    await closing.close();
  }
});

test("Caddy: the server knows the client's address and what it asked, whatever it says of itself", async () => {
  const found: (string | null)[] = [];
  const server = watchful(found);
  await withCaddy({ server }, async (origin) => {
    const lies = [{}, { "x-forwarded-for": "9.9.9.9" }, { forwarded: "for=9.9.9.9" }];
    for (const lie of lies) {
      await askFrom("127.0.0.2", origin, lie);
      assert.deepEqual(found.splice(0), ["127.0.0.2", new URL(origin).host]);
    }
  });
  await withCaddy({ server, edits: [["header_up -Forwarded", ""]] }, async (origin) => {
    await askFrom("127.0.0.2", origin, { forwarded: "for=9.9.9.9" });
    assert.equal(found[0], "127.0.0.1");
  });
});
