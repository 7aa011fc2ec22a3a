/**
 * Each setting of the nginx configuration in docs/proxies.md: what it does, and what happens without it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { MemoryStorage } from "../../mod.ts";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import { ask, askFrom, findWaiting, hashOf, listenOnce, statusOf, sync } from "./client.ts";
import { withNginx } from "./nginx.ts";

test("nginx: without proxy_next_upstream, clients notice a server that stops", async () => {
  const edits = [["proxy_next_upstream error timeout http_503 non_idempotent;", ""]] as const;
  await withNginx({ edits }, async ({ origin }, backends) => {
    await backends[0].server.close();
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++) statuses.push(await statusOf(ask(origin, {})));
    assert.ok(statuses.includes(503), String(statuses));
  });
});

test("nginx: a connection that the server closes meanwhile costs nothing, and without non_idempotent a 502", async () => {
  const closing = await listenOnce();
  try {
    await withNginx({ upstreams: [closing.origin] }, async ({ origin }) => {
      for (let i = 0; i < 20; i++) assert.equal(await statusOf(ask(origin, {})), 200);
      assert.ok(closing.broken > 0);
    });
    const edits = [["http_503 non_idempotent;", "http_503;"]] as const;
    await withNginx({ edits, upstreams: [closing.origin] }, async ({ origin, log }) => {
      const statuses: number[] = [];
      for (let i = 0; i < 20; i++) statuses.push(await statusOf(ask(origin, {})));
      assert.ok(statuses.includes(502), String(statuses));
      assert.match(log(), /upstream prematurely closed connection/);
    });
  } finally {
    await closing.close();
  }
});

test("nginx: with max_fails a short failure of the storage is a 502 for all clients", async () => {
  let isBroken = true;
  class Breaking extends MemoryStorage {
    override readNodes(keys: readonly string[]): ReturnType<MemoryStorage["readNodes"]> {
      return isBroken ? Promise.reject(new Error("away")) : super.readNodes(keys);
    }
  }
  const server = { storage: new Breaking() };
  const ours = async (origin: string) => {
    const response = await ask(origin, { a: 0 });
    return [response.status, (await response.text()).includes("ERR_REALITY_STORAGE")];
  };
  await withNginx({ server }, async ({ origin }) => {
    for (let i = 0; i < 5; i++) assert.deepEqual(await ours(origin), [503, true]);
    isBroken = false;
    assert.deepEqual(await ours(origin), [200, false]);
  });
  isBroken = true;
  const edits = [[" max_fails=0", ""], ["worker_processes auto;", "worker_processes 1;"]] as const;
  await withNginx({ server, edits }, async ({ origin, log }) => {
    const statuses: unknown[] = [];
    for (let i = 0; i < 10; i++) statuses.push((await ours(origin))[0]);
    assert.ok(statuses.includes(502), String(statuses));
    isBroken = false;
    assert.deepEqual(await ours(origin), [502, false]);
    assert.match(log(), /no live upstreams/);
  });
});

test("nginx: connections to the servers are kept alive only with HTTP/1.1 and an empty Connection header", async () => {
  const count = async (edits: readonly (readonly [string, string])[]) => {
    let connections = 0;
    await withNginx({ edits }, async ({ origin }, backends) => {
      for (let i = 0; i < 20; i++) assert.equal(await statusOf(ask(origin, {})), 200);
      connections = backends.reduce((sum, backend) => sum + backend.connections, 0);
    });
    return connections;
  };
  // Each of nginx's workers keeps its own.
  assert.ok(await count([["worker_processes auto;", "worker_processes 1;"]]) <= 2);
  assert.equal(await count([['proxy_set_header Connection "";', ""]]), 20);
  assert.equal(await count([["proxy_http_version 1.1;", ""]]), 20);
  assert.equal(await count([["keepalive 1024;\n    keepalive_timeout 4s;", ""]]), 20);
});

test("nginx: connections of many requests at once are kept for the next ones", async () => {
  const count = async (edits: readonly (readonly [string, string])[]) => {
    let connections = 0;
    await withNginx({ edits }, async ({ origin }, backends) => {
      for (let round = 0; round < 2; round++) {
        const statuses = await Promise.all(Array.from({ length: 200 }, () => statusOf(ask(origin, {}))));
        assert.deepEqual(new Set(statuses), new Set([200]));
      }
      connections = backends.reduce((sum, backend) => sum + backend.connections, 0);
    });
    return connections;
  };
  const oneWorker = ["worker_processes auto;", "worker_processes 1;"] as const;
  assert.ok(await count([oneWorker]) <= 200);
  assert.ok(await count([oneWorker, ["keepalive 1024;", "keepalive 1;"]]) > 200);
});

test("nginx: the server knows the client's address, whatever the client says of itself", async () => {
  const found: (string | null)[] = [];
  const server = {
    trustProxy: ["127.0.0.1"],
    rateLimit: {
      limit: 1_000,
      window: 60_000,
      key: (_request: Request, { address }: { address: string | null }) => {
        found.push(address);
        return null;
      },
    },
  };
  const lies = [{}, { "x-forwarded-for": "9.9.9.9" }, { forwarded: "for=9.9.9.9" }];
  await withNginx({ server }, async ({ origin }) => {
    for (const lie of lies) await askFrom("127.0.0.2", origin, lie);
    assert.deepEqual(found.splice(0), Array(3).fill("127.0.0.2"));
  });
  // Where the fields contradict each other, all such clients are one: the proxy.
  await withNginx({ server, edits: [['proxy_set_header Forwarded "";', ""]] }, async ({ origin }) => {
    await askFrom("127.0.0.2", origin, { forwarded: "for=9.9.9.9" });
    assert.deepEqual(found.splice(0), ["127.0.0.1"]);
  });
  await withNginx({ server: { ...server, trustProxy: 0 } }, async ({ origin }) => {
    await askFrom("127.0.0.2", origin, {});
    assert.deepEqual(found.splice(0), ["127.0.0.1"]);
  });
});

test("nginx: authorize sees the address that the client asked, and else the name of the upstream", async () => {
  const urls: string[] = [];
  const server = { authorize: (request: Request) => urls.push(new URL(request.url).host) > 0 };
  await withNginx({ server }, async ({ origin }) => {
    await sync(origin, { a: 0 });
    assert.deepEqual(urls.splice(0), [new URL(origin).host]);
  });
  await withNginx({ server, edits: [["proxy_set_header Host $http_host;", ""]] }, async ({ origin }) => {
    await sync(origin, { a: 0 });
    assert.deepEqual(urls.splice(0), ["reality"]);
  });
});

test("nginx: a proxy_read_timeout below the wait is a 504", async () => {
  await withNginx({ edits: [["proxy_read_timeout 60s;", "proxy_read_timeout 1s;"]] }, async ({ origin }) => {
    const response = await soon(ask(origin, { quiet: 0 }, 20_000), "an answer");
    assert.equal(response.status, 504);
    assert.match(await response.text(), /<html>/);
    // And a stream is cut without a word, since it is silent for longer.
    const events = new EventReader(await fetch(`${origin}/reality/events?keys=quiet`));
    const frames = [];
    try {
      for (let frame = await events.next(); frame !== null; frame = await events.next()) frames.push(frame);
    } catch {
      // Its end may look like a connection that broke.
    }
    assert.deepEqual(frames.map((frame) => frame.retry).filter((retry) => retry !== undefined), ["500"]);
  });
});

test("nginx: heartbeats keep a stream open for longer than proxy_read_timeout", async () => {
  const server = { heartbeatInterval: 250 };
  const edits = [["proxy_read_timeout 60s;", "proxy_read_timeout 2s;"]] as const;
  await withNginx({ server, edits }, async ({ origin }, backends) => {
    const events = new EventReader(await fetch(`${origin}/reality/own`));
    for (let heartbeats = 0; heartbeats < 12;) {
      const frame = await events.next();
      assert.ok(frame !== null, `It ended after ${heartbeats} heartbeats`);
      if (frame.comment === "heartbeat") heartbeats++;
    }
    await backends[1].server.updateNode("a", "1");
    assert.equal(hashOf(await events.nextEvent("update")), "1");
    await events.cancel();
    await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
  });
});

test("nginx: with buffering and HTTP/1.0, or with compression, events arrive when the stream has ended", async () => {
  const buffered = [
    ["proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering;"],
    ["proxy_http_version 1.1;", ""],
  ] as const;
  const packed = [[
    "proxy_buffering off;",
    "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_min_length 0; gzip_types text/event-stream;",
  ]] as const;
  for (const edits of [buffered, packed]) {
    await withNginx({ edits }, async ({ origin }, backends) => {
      const headers = { "accept-encoding": "gzip" };
      const opening = fetch(`${origin}/reality/events?keys=a`, { headers });
      let isThere = false;
      const reading = opening.then(async (response) => {
        const events = new EventReader(response);
        const event = await events.nextEvent("update");
        isThere = true;
        await events.cancel();
        return event;
      });
      const [first, other] = await findWaiting(backends);
      // A stream beside it shows when the event is out.
      const direct = new EventReader(await fetch(`${first.origin}/reality/events?keys=a`));
      await other.server.updateNode("a", "1");
      assert.equal(hashOf(await direct.nextEvent("update")), "1");
      assert.equal(isThere, false);
      await direct.cancel();
      await first.server.close();
      assert.equal(hashOf(await soon(reading, "the event at the end")), "1");
    });
  }
});

test("nginx: the server's own X-Accel-Buffering does the same as proxy_buffering off", async () => {
  const edits = [["proxy_buffering off;", ""], ["proxy_http_version 1.1;", ""]] as const;
  await withNginx({ edits }, async ({ origin }, backends) => {
    const events = new EventReader(await fetch(`${origin}/reality/events?keys=a`));
    await events.next();
    await backends[0].server.updateNode("a", "1");
    assert.equal(hashOf(await events.nextEvent("update")), "1");
    await events.cancel();
  });
});

test("nginx: each waiting client uses two of worker_connections", async () => {
  const edits = [
    ["worker_processes auto;", "worker_processes 1;"],
    ["worker_connections 65536;", "worker_connections 32;"],
  ] as const;
  await withNginx({ edits }, async ({ origin, log }, backends) => {
    const clients: RawClient[] = [];
    while (!log().includes("worker_connections are not enough")) {
      const client = await RawClient.connect(origin);
      clients.push(client);
      client.send("GET /reality/events?keys=a HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.receive((text) => text.includes("\r\n\r\n"));
    }
    assert.ok(clients.length <= 16, `${clients.length} clients`);
    for (const client of clients) await client.close();
    await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
  });
});

test("nginx: a reload disconnects no client before worker_shutdown_timeout", async () => {
  await withNginx({}, async ({ origin, reload, log }, backends) => {
    const waiting = sync(origin, { a: 0 }, 20_000);
    const [, other] = await findWaiting(backends);
    reload();
    await until(() => Promise.resolve(/gracefully shutting down/.test(log())), "old workers go");
    assert.equal(await statusOf(fetch(`${origin}/reality/health`)), 200);
    await other.server.updateNode("a", "1");
    assert.equal((await soon(waiting, "the answer")).changed.a?.hash, "1");
  });
  const edits = [["worker_shutdown_timeout 30s;", "worker_shutdown_timeout 1s;"]] as const;
  await withNginx({ edits }, async ({ origin, reload }) => {
    const raw = await RawClient.connect(origin);
    raw.send("GET /reality/events?keys=a HTTP/1.1\r\nHost: a\r\n\r\n");
    await raw.receive((text) => text.includes("retry: 500"));
    reload();
    await raw.closed();
  });
});
