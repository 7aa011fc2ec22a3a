/**
 * What docs/proxies.md says of nginx: that its configuration does what is needed, and what happens without its lines.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { checkServer } from "../../cli/check/mod.ts";
import { MemoryStorage } from "../../mod.ts";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import { TOKEN } from "./backends.ts";
import { ask, askFrom, findWaiting, hashOf, JSON_TYPE, listenOnce, statusOf, sync } from "./client.ts";
import { withNginx } from "./nginx.ts";

test("nginx: syncs, writes and health pass through, and metrics do not", async () => {
  await withNginx({}, async ({ origin }) => {
    const write = await fetch(`${origin}/reality/update`, {
      method: "POST",
      headers: { ...JSON_TYPE, authorization: `Bearer ${TOKEN}` },
      body: '{"key":"a/b","hash":"1"}',
    });
    assert.deepEqual(Object.keys((await write.json()).versions), ["a/b"]);
    assert.equal((await sync(origin, { "a/b": 0 })).changed["a/b"]?.hash, "1");
    const deletion = await fetch(`${origin}/reality/nodes/a%2Fb`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    assert.equal(deletion.status, 204);
    assert.deepEqual((await sync(origin, { "a/b": 0 })).changed, {});
    for (const [path, status] of [["health", 200], ["ready", 200], ["metrics", 404]] as const) {
      assert.equal(await statusOf(fetch(`${origin}/reality/${path}`)), status, path);
    }
  });
});

test("nginx: a server passes the check", async () => {
  await withNginx({}, async ({ origin }) => {
    const { results } = await checkServer(`${origin}/reality`, { writeToken: TOKEN });
    assert.deepEqual(results.filter(({ outcome }) => outcome === "failed"), []);
  });
});

test("nginx: a waiting client is woken by a change through the other server", async () => {
  await withNginx({}, async ({ origin }, backends) => {
    for (const key of ["a", "b", "c"]) {
      const waiting = sync(origin, { [key]: 0 }, 20_000);
      const [, other] = await findWaiting(backends);
      await other.server.updateNode(key, "1");
      assert.equal((await soon(waiting, "the answer")).changed[key]?.hash, "1");
    }
  });
});

test("nginx: events arrive at once from each server, uncompressed", async () => {
  await withNginx({}, async ({ origin }, backends) => {
    await backends[0].server.updateNode("a", "1");
    const headers = { "accept-encoding": "gzip, br", accept: "text/event-stream" };
    const response = await fetch(`${origin}/reality/events?keys=a`, { headers });
    assert.equal(response.headers.get("content-encoding"), null);
    assert.equal(response.headers.get("cache-control"), "no-store, no-transform");
    const events = new EventReader(response);
    assert.equal(hashOf(await events.nextEvent("update")), "1");
    for (const [i, { server }] of backends.entries()) {
      await server.updateNode("a", `from ${i}`);
      assert.equal(hashOf(await events.nextEvent("update")), `from ${i}`);
    }
    await events.cancel();
    await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
  });
});

test("nginx: a stream resumes at the other server", async () => {
  await withNginx({}, async ({ origin }, backends) => {
    await backends[0].server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
    const open = async (id?: string) =>
      new EventReader(
        await fetch(
          `${origin}/reality/events?keys=a&keys=b`,
          id === undefined ? {} : {
            headers: { "last-event-id": id },
          },
        ),
      );
    const before = await open();
    await before.nextEvent("update");
    const { id = "" } = await before.nextEvent("update");
    const [first] = await findWaiting(backends);
    await before.cancel();
    await first.hasWaiters(0);
    await first.server.updateNode("b", "2");
    for (let isOther = false; !isOther;) {
      const after = await open(id);
      isOther = (await findWaiting(backends))[0] !== first;
      const frame = await after.nextEvent("update");
      assert.deepEqual([JSON.parse(frame.data ?? "").key, hashOf(frame)], ["b", "2"]);
      await after.cancel();
      await Promise.all(backends.map((backend) => backend.hasWaiters(0)));
    }
  });
});

test("nginx: a client that disconnects frees its slot", async () => {
  await withNginx({}, async ({ origin }, backends) => {
    const waiting = await RawClient.connect(origin);
    const body = '{"known":{"a":0},"wait":20000}';
    waiting.send("POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
    waiting.send(`Content-Length: ${body.length}\r\n\r\n${body}`);
    const [first] = await findWaiting(backends);
    await waiting.close();
    await first.hasWaiters(0);

    const streaming = await RawClient.connect(origin);
    streaming.send("GET /reality/events?keys=a HTTP/1.1\r\nHost: a\r\n\r\n");
    const [second] = await findWaiting(backends);
    await streaming.close();
    await second.hasWaiters(0);
  });
});

test("nginx: a client that resets one of many HTTP/2 streams frees its slot", async () => {
  await withNginx({ http2: true }, async ({ origin }, backends) => {
    const session = connectHttp2(origin);
    const requests = Array.from({ length: 30 }, () => {
      const stream = session.request({ ":path": "/reality/sync", ":method": "POST", ...JSON_TYPE });
      stream.end('{"known":{"a":0},"wait":20000}');
      return stream;
    });
    const total = async () =>
      (await Promise.all(backends.map(({ server }) => server.getStats())))
        .reduce((sum, { waiters }) => sum + waiters, 0);
    await until(async () => await total() === 30, "30 wait");
    requests[0]?.close();
    await until(async () => await total() === 29, "29 wait");
    const answers = requests.slice(1).map(async (stream) => {
      let text = "";
      for await (const chunk of stream.setEncoding("utf8")) text += chunk;
      return JSON.parse(text).changed.a.hash;
    });
    await backends[0].server.updateNode("a", "1");
    assert.deepEqual(await soon(Promise.all(answers), "29 answers"), Array(29).fill("1"));
    await new Promise<void>((resolve) => session.close(resolve));
  });
});

test("nginx: a body over the server's limit is refused by the server, one far over it by nginx", async () => {
  await withNginx({}, async ({ origin }) => {
    const ask = (bytes: number) =>
      fetch(`${origin}/reality/sync`, { method: "POST", headers: JSON_TYPE, body: `"${"x".repeat(bytes)}"` });
    const ours = await ask(1_500_000);
    assert.equal(ours.status, 413);
    assert.equal((await ours.json()).error.code, "ERR_REALITY_BODY_TOO_LARGE");
    const theirs = await ask(3_000_000);
    assert.equal(theirs.status, 413);
    assert.match(await theirs.text(), /<html>/);
  });
  const edits = [["client_max_body_size 2m;", ""]] as const;
  await withNginx({ edits }, async ({ origin }) => {
    const body = `"${"x".repeat(1_500_000)}"`;
    const response = await fetch(`${origin}/reality/sync`, { method: "POST", headers: JSON_TYPE, body });
    assert.equal(response.status, 413);
    assert.match(await response.text(), /<html>/);
  });
});

test("nginx: a server that stops loses no request", async () => {
  await withNginx({}, async ({ origin }, backends) => {
    const [first, second] = backends;
    await second.server.updateNode("a", "1");
    const waiting = Array.from({ length: 10 }, () => sync(origin, { quiet: 0 }, 20_000));
    await until(async () => (await first.server.getStats()).waiters > 0, "some wait at the first");
    const statuses: number[] = [];
    let isOver = false;
    const askOn = async () => {
      while (!isOver) statuses.push(await statusOf(ask(origin, { a: 0 })));
    };
    const asking = Array.from({ length: 4 }, askOn);
    await until(() => Promise.resolve(statuses.length > 50), "50 were answered");
    const stopping = first.server.close();
    assert.equal(await statusOf(fetch(`${first.origin}/reality/ready`)), 503);
    await stopping;
    const before = statuses.length;
    await until(() => Promise.resolve(statuses.length > before + 50), "50 more were answered");
    await first.stop();
    const after = statuses.length;
    await until(() => Promise.resolve(statuses.length > after + 50), "50 more were answered");
    isOver = true;
    await Promise.all(asking);
    assert.deepEqual(statuses.filter((status) => status !== 200), []);
    assert.equal(await statusOf(fetch(`${origin}/reality/ready`)), 200);
    await second.server.updateNode("quiet", "1");
    // Those at the server that stopped were answered with nothing, and would ask again.
    for (const { changed } of await soon(Promise.all(waiting), "all who waited")) {
      assert.ok(["", "1"].includes(changed.quiet?.hash ?? ""));
    }
  });
});

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
  assert.equal(await count([["keepalive 64;\n    keepalive_timeout 4s;", ""]]), 20);
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
