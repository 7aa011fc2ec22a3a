/**
 * nginx with the configuration of docs/proxies.md passes on what clients and servers send. Its settings are tested one by one in
 * nginx_settings_test.ts.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { checkServer } from "../../cli/check/mod.ts";
import { test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "../http/client.ts";
import { TOKEN } from "./backends.ts";
import { ask, findWaiting, hashOf, JSON_TYPE, statusOf, sync } from "./client.ts";
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
  await withNginx({ listen: "http2" }, async ({ origin }, backends) => {
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
