import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createClient, type DataStamp } from "../../client/mod.ts";
import { stampsModule, streamsModule } from "../../src/optional_modules.ts";
import { test } from "../harness.ts";
import { Fetches, Scene } from "./scene.ts";

test("follow() tells a key once, and again when it changes", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(10);
  assert.deepEqual(fetches.calls, [[{
    key: "a",
    version: 1,
    hash: "1",
    updatedAt: fetches.calls[0]![0]!.updatedAt,
  }]]);
  fetches.done();
  await scene.clock.advance(1_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ a: 1 }, { a: 2 }]);
  assert.deepEqual(scene.sent.map(({ body }) => body.wait), [0, 20_000, 20_000]);
  assert.deepEqual(scene.errors, []);
});

test("follow() tells a key without a node, its creation and its deletion", async () => {
  await using scene = new Scene();
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(1_000);
  fetches.done();
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(1_000);
  fetches.done();
  await scene.server.deleteNode("a");
  await scene.clock.advance(1_000);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }, { a: 0 }]);
  assert.equal(fetches.calls[2]![0]!.deleted, true);
});

test("follow() tells what changes during a fetch after it, in one call", async () => {
  await using scene = new Scene();
  const fetches = new Fetches();
  scene.client().follow(["a", "b"], fetches.listener);
  await scene.clock.advance(1_000);
  for (const [key, hash] of [["a", "1"], ["a", "2"], ["b", "1"]] as const) {
    await scene.server.updateNode(key, hash);
    await scene.clock.advance(1_000);
  }
  assert.deepEqual(fetches.versions, [{ a: 0, b: 0 }]);
  fetches.done();
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions[1], { a: 2, b: 3 });
});

test("follow() tells the keys of a failed fetch again after a growing pause", async () => {
  await using scene = new Scene();
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(10);
  fetches.fail();
  await scene.clock.advance(499);
  assert.equal(fetches.calls.length, 1);
  await scene.clock.advance(1);
  assert.equal(fetches.calls.length, 2);
  fetches.fail();
  await scene.clock.advance(999);
  assert.equal(fetches.calls.length, 2);
  await scene.clock.advance(1);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 0 }, { a: 0 }]);
  assert.equal(scene.errors.length, 2);
});

test("follow() tells again what a fetch that takes too long was told, and aborts it", async () => {
  await using scene = new Scene();
  const fetches = new Fetches();
  scene.client({ refetchTimeout: 2_000 }).follow(["a"], fetches.listener);
  await scene.clock.advance(2_600);
  assert.equal(fetches.calls.length, 2);
  assert.equal(fetches.signals[0]!.aborted, true);
});

test("follow() with initial versions tells only what is newer", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  await scene.server.updateNode("b", "1");
  const { epoch } = await scene.server.handleSync({ known: {} });
  const fetches = new Fetches();
  scene.client().follow(["a", "b"], fetches.listener, { initial: { epoch, versions: { a: 1, b: 1 } } });
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ b: 2 }]);
  assert.deepEqual(scene.questions, [{ a: 1, b: 1 }]);
});

test("follow() with an initial version is told of a deletion that other subscriptions know already", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const { epoch } = await scene.server.handleSync({ known: {} });
  await scene.server.deleteNode("a");
  const client = scene.client();
  client.follow(["a"], () => {});
  await scene.clock.advance(1_000);
  const fetches = new Fetches();
  client.follow(["a"], fetches.listener, { initial: { epoch, versions: { a: 1 } } });
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ a: 0 }]);
});

test("follow() with initial versions of another epoch tells all keys", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const fetches = new Fetches();
  const initial = { epoch: "other", versions: { a: 1, b: 0 } };
  scene.client().follow(["a", "b"], fetches.listener, { initial });
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ a: 1, b: 0 }]);
});

test("follow() takes over the versions of a stamp, and fetches older data again after a pause", async () => {
  await using scene = new Scene();
  const { epoch } = await scene.server.handleSync({ known: {} });
  await scene.server.updateNode("a", "1");
  await scene.server.updateNode("a", "2");
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(10);
  fetches.done({ epoch, versions: { a: 1 } });
  await scene.clock.advance(499);
  assert.deepEqual(fetches.versions, [{ a: 2 }]);
  await scene.clock.advance(1);
  assert.deepEqual(fetches.versions, [{ a: 2 }, { a: 2 }]);
  fetches.done({ epoch, versions: { a: 2 } });
  await scene.clock.advance(60_000);
  assert.equal(fetches.calls.length, 2);
});

test("follow() does not fetch again what a stamp already includes", async () => {
  await using scene = new Scene();
  const { epoch } = await scene.server.handleSync({ known: {} });
  await scene.server.updateNode("a", "1");
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(1_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(1_000);
  fetches.done({ epoch, versions: { a: 2 } });
  await scene.clock.advance(1_000);
  assert.deepEqual(fetches.versions, [{ a: 1 }]);
});

test("All subscriptions share one request with the least version of each key", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const { epoch } = await scene.server.handleSync({ known: {} });
  const client = scene.client();
  const [old, young] = [new Fetches(), new Fetches()];
  client.follow(["a"], young.listener, { initial: { epoch, versions: { a: 1 } } });
  client.follow(["a", "b"], old.listener, { initial: { epoch, versions: { a: 0, b: 0 } } });
  await scene.clock.advance(10);
  assert.deepEqual(scene.questions, [{ a: 0, b: 0 }]);
  assert.deepEqual([old.versions, young.versions], [[{ a: 1 }], []]);
});

test("A new subscription to a known key is told at once, without a request", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const client = scene.client();
  const [first, second] = [new Fetches(), new Fetches()];
  client.follow(["a"], first.listener);
  await scene.clock.advance(1_000);
  assert.equal(scene.sent.length, 2);
  client.follow(["a"], second.listener);
  await scene.clock.advance(1_000);
  assert.deepEqual(second.versions, [{ a: 1 }]);
  assert.equal(scene.sent.length, 2);
});

test("A key that is added or dropped during a wait changes the request within 10 ms", async () => {
  await using scene = new Scene();
  const client = scene.client();
  client.follow(["a"], () => {});
  await scene.clock.advance(1_000);
  const stop = client.follow(["b"], () => {});
  client.follow(["c"], () => {});
  await scene.clock.advance(10);
  assert.deepEqual(scene.questions.slice(2), [{ a: 0, b: 0, c: 0 }]);
  assert.equal(scene.sent[1]!.signal.aborted, true);
  await scene.clock.advance(1_000);
  stop();
  await scene.clock.advance(10);
  assert.deepEqual(scene.questions.at(-1), { a: 0, c: 0 });
  assert.equal((await scene.server.getStats()).waiters, 0);
  await scene.clock.advance(1_000);
  assert.equal((await scene.server.getStats()).waiters, 1);
});

test("Keys that change all the time do not keep others from being told", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const client = scene.client();
  const fetches = new Fetches();
  client.follow(["a"], fetches.listener);
  for (let i = 0; i < 100; i++) {
    const stop = client.follow([`b${i}`], () => {});
    await scene.clock.advance(7);
    stop();
    if (i === 50) {
      fetches.done();
      await scene.server.updateNode("a", "2");
    }
  }
  assert.deepEqual(fetches.versions, [{ a: 1 }, { a: 2 }]);
});

test("An empty list of keys asks nothing, and the last stop() ends the wait", async () => {
  await using scene = new Scene();
  const client = scene.client();
  client.follow([], () => {});
  await scene.clock.advance(60_000);
  assert.deepEqual([scene.sent.length, scene.clock.timers, client.state], [0, 0, "idle"]);
  const stop = client.follow(["a"], () => {});
  await scene.clock.advance(1_000);
  assert.equal(client.state, "live");
  stop();
  stop();
  await scene.clock.advance(10);
  assert.equal(scene.sent.at(-1)!.signal.aborted, true);
  assert.deepEqual([client.state, (await scene.server.getStats()).waiters], ["idle", 0]);
});

test("More keys than maxKeys are split, and all of them are told", async () => {
  await using scene = new Scene();
  const keys = Array.from({ length: 25 }, (_, i) => `k${i}`);
  const fetches = new Fetches();
  scene.client({ maxKeys: 10 }).follow(keys, fetches.listener);
  await scene.clock.advance(1_000);
  assert.deepEqual(scene.questions.map((known) => Object.keys(known).length), [10, 10, 5, 10, 10, 5]);
  fetches.done();
  for (const key of ["k3", "k24"]) {
    await scene.server.updateNode(key, "1");
    await scene.clock.advance(1_000);
    fetches.done();
  }
  assert.deepEqual(fetches.versions.slice(1).map((told) => Object.keys(told)), [["k3"], ["k24"]]);
});

test("A server that allows fewer keys gets fewer in each request", async () => {
  await using scene = new Scene({ maxKeys: 8 });
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`);
  const fetches = new Fetches();
  scene.client().follow(keys, fetches.listener);
  await scene.clock.advance(5_000);
  assert.equal(fetches.calls[0]?.length, 20);
});

for (const status of [429, 503]) {
  test(`After a ${status} nothing is sent for the time of Retry-After, not even by nudge()`, async () => {
    await using scene = new Scene();
    scene.intercept = () => new Response(null, { status, headers: { "retry-after": "7" } });
    const client = scene.client();
    client.follow(["a"], () => {});
    await scene.clock.advance(1_000);
    scene.intercept = () => undefined;
    assert.equal(client.state, "retrying");
    client.nudge();
    await scene.clock.advance(5_900);
    assert.equal(scene.sent.length, 1);
    await scene.clock.advance(200);
    assert.equal(scene.sent.length, 2);
    assert.equal(client.state, "live");
  });
}

test("Retry-After may be a date, and may be far away", async () => {
  await using scene = new Scene();
  const dates = [new Date(scene.clock.now() + 10_000).toUTCString(), "99999999999"];
  scene.intercept = () =>
    new Response(null, { status: 503, headers: { "retry-after": dates.shift() ?? "1" } });
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(9_000);
  assert.equal(scene.sent.length, 1);
  await scene.clock.advance(200_000);
  assert.equal(scene.sent.length, 2);
});

test("a date in Retry-After is no pause of hours where the clock of the computer is wrong", async () => {
  for (
    const [error, least, most] of [[-400 * 86_400_000, 10_000, 301_000], [86_400_000, 200, 1_000]] as const
  ) {
    await using scene = new Scene();
    const date = new Date(scene.clock.now() + 10_000).toUTCString();
    scene.intercept = () =>
      scene.sent.length > 1
        ? undefined
        : new Response(null, { status: 503, headers: { "retry-after": date } });
    scene.clock.jump(error);
    scene.client().follow(["a"], () => {});
    await scene.clock.advance(1_000_000);
    const pause = (scene.sent[1]?.at ?? Infinity) - scene.sent[0]!.at;
    assert.ok(pause >= least && pause <= most, `a pause of ${pause} ms`);
  }
});

test("An answer with pause delays the next request", async () => {
  await using scene = new Scene({ maxWaiters: 1 });
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(1_000);
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(10_000);
  // The server asks for 500 ms at least.
  assert.ok(scene.sent.length > 10 && scene.sent.length < 25, `${scene.sent.length} requests`);
});

test("Requests that fail are repeated after growing pauses", async () => {
  await using scene = new Scene();
  scene.intercept = () => Promise.reject(new TypeError("No network"));
  const client = scene.client();
  client.follow(["a"], () => {});
  await scene.clock.advance(120_000);
  const at = scene.sent.map((request) => request.at);
  const gaps = at.slice(1).map((time, i) => Math.round(time - at[i]!));
  assert.deepEqual(gaps, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.equal(client.state, "retrying");
  client.nudge();
  await scene.clock.advance(10);
  assert.equal(scene.sent.length, at.length + 1);
});

test("A server that answers every wait at once gets few requests", async () => {
  await using scene = new Scene();
  scene.intercept = () => Response.json({ changed: {}, epoch: "e" });
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(60_000);
  assert.ok(scene.sent.length < 10, `${scene.sent.length} requests`);
});

test("A server that refuses every wait at once is polled, and the next wait that is held ends that", async () => {
  await using scene = new Scene();
  scene.intercept = ({ body }) => body.wait > 0 ? new Response(null, { status: 502 }) : undefined;
  const fetches = new Fetches();
  const client = scene.client();
  client.follow(["a"], fetches.listener);
  await scene.clock.advance(10);
  fetches.done();
  await scene.clock.advance(120_000);
  assert.ok(scene.sent.length < 80, `${scene.sent.length} requests in two minutes`);
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(5_010);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }]);
  fetches.done();
  scene.intercept = () => undefined;
  await scene.clock.advance(60_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }, { a: 2 }]);
  // One failure is followed by the shortest pause again.
  fetches.done();
  scene.intercept = ({ body }) => body.wait > 0 ? new Response(null, { status: 502 }) : undefined;
  client.nudge();
  await scene.clock.advance(10);
  const { length } = scene.sent;
  await scene.clock.advance(500);
  assert.equal(scene.sent.length, length + 1);
});

test("Between two requests there is the least interval, however often keys change", async () => {
  await using scene = new Scene();
  let version = 1;
  scene.intercept = ({ body }) =>
    Response.json({
      epoch: "e",
      changed: { a: { key: "a", version: version++, hash: "", updatedAt: 0 } },
      body,
    });
  const fetches = new Fetches();
  scene.client().follow(["a"], fetches.listener);
  await scene.clock.advance(10_000);
  assert.ok(scene.sent.length <= 102, `${scene.sent.length} requests`);
});

test("A request that is not answered within the wait and the timeout has failed", async () => {
  await using scene = new Scene();
  scene.intercept = ({ body }) => body.wait > 0 ? new Promise(() => {}) : undefined;
  const client = scene.client({ wait: 10_000, timeout: 3_000 });
  client.follow(["a"], () => {});
  await scene.clock.advance(13_000);
  assert.deepEqual([scene.sent.length, client.state], [2, "live"]);
  await scene.clock.advance(200);
  assert.deepEqual([scene.sent.length, client.state], [2, "retrying"]);
  assert.equal(scene.sent[1]!.signal.aborted, true);
});

test("Behind a proxy that ends waits after 10 s the client waits for less", async () => {
  await using scene = new Scene();
  scene.intercept = ({ body }) =>
    body.wait > 10_000
      ? new Promise((resolve) =>
        scene.clock.after(10_000, () => resolve(new Response(null, { status: 504 })))
      )
      : undefined;
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(300_000);
  const cut = scene.sent.filter(({ body }) => body.wait > 10_000).length;
  assert.ok(cut <= 10, `${cut} requests were ended by the proxy`);
});

test("An answer that is no sync answer is a failure", async () => {
  const answers = [
    "<html>",
    "null",
    "[]",
    '{"epoch":1,"changed":{}}',
    '{"epoch":"e"}',
    '{"epoch":"e","changed":{"a":{"version":-1}}}',
    '{"epoch":"e","changed":{"a":null}}',
  ];
  for (const answer of answers) {
    await using scene = new Scene();
    scene.intercept = () => new Response(answer, { headers: { "content-type": "application/json" } });
    const client = scene.client();
    const fetches = new Fetches();
    client.follow(["a"], fetches.listener);
    await scene.clock.advance(100);
    assert.deepEqual([client.state, fetches.calls], ["retrying", []], answer);
  }
});

for (const status of [401, 403]) {
  test(`After a ${status} the client calls onUnauthorized and asks only after nudge()`, async () => {
    await using scene = new Scene();
    scene.intercept = () => new Response(null, { status });
    const statuses: number[] = [];
    const client = scene.client({ onUnauthorized: (given) => void statuses.push(given) });
    client.follow(["a"], () => {});
    await scene.clock.advance(600_000);
    assert.deepEqual([statuses, scene.sent.length, client.state], [[status], 1, "unauthorized"]);
    scene.intercept = () => undefined;
    client.nudge();
    await scene.clock.advance(10);
    assert.equal(client.state, "live");
  });
}

test("A renewed token is used after onUnauthorized resolves to true", async () => {
  await using scene = new Scene();
  let token = "old";
  scene.intercept = ({ headers }) =>
    headers.get("authorization") === "Bearer new" ? undefined : new Response(null, { status: 401 });
  const client = scene.client({
    headers: () => Promise.resolve({ authorization: `Bearer ${token}` }),
    onUnauthorized: () => {
      token = "new";
      return Promise.resolve(true);
    },
  });
  client.follow(["a"], () => {});
  await scene.clock.advance(1_000);
  assert.equal(client.state, "live");
  assert.equal(scene.sent[0]!.headers.get("content-type"), "application/json");
});

test("An onUnauthorized that throws is reported, and nudge() still asks again", async () => {
  await using scene = new Scene();
  scene.intercept = () => new Response(null, { status: 401 });
  const error = new Error("Redirect");
  const client = scene.client({
    onUnauthorized() {
      throw error;
    },
  });
  client.follow(["a"], () => {});
  await scene.clock.advance(10);
  assert.deepEqual([client.state, scene.errors.includes(error)], ["unauthorized", true]);
  scene.intercept = () => undefined;
  client.nudge();
  await scene.clock.advance(10);
  assert.equal(client.state, "live");
});

for (const transport of ["wait", "events"] as const) {
  test(`A 401 to what was sent before nudge() does not silence the client, with "${transport}"`, async () => {
    await Promise.all([import("../../client/transport_events.ts"), streamsModule.load()]);
    await using scene = new Scene();
    const { promise, resolve } = Promise.withResolvers<Response>();
    scene.intercept = () => promise;
    const client = scene.client({ transport });
    client.follow(["a"], () => {});
    await scene.clock.advance(1_000);
    client.nudge();
    await scene.clock.advance(1_000);
    scene.intercept = () => undefined;
    resolve(new Response(null, { status: 401 }));
    await scene.clock.advance(1_000);
    assert.equal(client.state, "live");
  });
}

test("fetch may be that of the browser, which refuses to be called as a method of another object", async () => {
  await using scene = new Scene();
  const client = scene.client({
    fetch(this: unknown, input, init) {
      assert.equal(this, undefined);
      return scene.fetch(input, init);
    },
  });
  client.follow(["a"], () => {});
  await scene.clock.advance(10);
  assert.equal(client.state, "live");
});

test("A hidden page asks nothing, and at once when it is shown", async () => {
  await using scene = new Scene();
  const client = scene.client();
  const fetches = new Fetches();
  client.follow(["a"], fetches.listener);
  await scene.clock.advance(1_000);
  fetches.done();
  scene.page.become("hidden");
  await scene.clock.advance(60_000);
  assert.deepEqual([client.state, scene.sent.length, scene.clock.timers], ["hidden", 2, 0]);
  assert.equal((await scene.server.getStats()).waiters, 0);
  await scene.server.updateNode("a", "1");
  scene.page.become("active");
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }]);
  assert.equal(scene.sent[2]!.body.wait, 0);
});

test("Without a network the client rests, and asks at once when there is one", async () => {
  await using scene = new Scene();
  scene.intercept = () => Promise.reject(new TypeError("No network"));
  const client = scene.client();
  client.follow(["a"], () => {});
  await scene.clock.advance(60_000);
  scene.page.become("offline");
  const { length } = scene.sent;
  await scene.clock.advance(600_000);
  assert.deepEqual([client.state, scene.sent.length], ["offline", length]);
  scene.intercept = () => undefined;
  scene.page.become("active");
  await scene.clock.advance(10);
  assert.equal(client.state, "live");
});

test("After a sleep of the computer the client asks anew", async () => {
  await using scene = new Scene();
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(1_000);
  scene.intercept = ({ body }) => body.wait > 0 ? new Promise(() => {}) : undefined;
  scene.clock.jump(3_600_000);
  await scene.clock.advance(5_000);
  assert.equal(scene.sent[1]!.signal.aborted, true);
  assert.equal(scene.sent[2]!.body.wait, 0);
});

test("nudge() asks at once", async () => {
  await using scene = new Scene();
  const client = scene.client();
  client.follow(["a"], () => {});
  await scene.clock.advance(1_000);
  client.nudge();
  client.nudge();
  await scene.clock.advance(10);
  assert.deepEqual(scene.sent.map(({ body }) => body.wait), [0, 20_000, 0]);
});

test("close() ends everything, and may be called again", async () => {
  await using scene = new Scene();
  const abort = new AbortController();
  const client = scene.client({ signal: abort.signal });
  const states: string[] = [];
  client.subscribe((state) => states.push(state));
  const fetches = new Fetches();
  client.follow(["a"], fetches.listener);
  await scene.clock.advance(1_000);
  abort.abort();
  client.close();
  client[Symbol.dispose]();
  client.nudge();
  assert.equal(fetches.signals[0]!.aborted, true);
  await scene.clock.advance(10);
  assert.deepEqual(states, ["idle", "connecting", "live", "closed"]);
  assert.deepEqual([scene.page.listeners, scene.clock.timers], [0, 0]);
  assert.equal((await scene.server.getStats()).waiters, 0);
  assert.throws(() => client.follow(["a"], () => {}), TypeError);
});

test("A listener of the state that throws is reported, and stops nothing", async () => {
  await using scene = new Scene();
  const client = scene.client();
  const states: string[] = [];
  let isBroken = false;
  client.subscribe(() => {
    if (isBroken) throw new Error("Broken listener");
  });
  isBroken = true;
  const stop = client.subscribe((state) => states.push(state));
  client.follow(["a"], () => {});
  await scene.clock.advance(10);
  assert.deepEqual(states, ["idle", "connecting", "live"]);
  assert.equal(scene.errors.length, 2);
  stop();
});

test("follow() and live() refuse a lone key, which would be followed as letters", async () => {
  await using scene = new Scene();
  const client = scene.client();
  const expected = { name: "TypeError", message: 'Cannot follow "chat": expected a list of keys' };
  assert.throws(() => client.follow("chat", () => {}), expected);
  assert.throws(() => client.live("/data", { keys: "chat" as unknown as string[] }), expected);
  await scene.clock.advance(1_000);
  assert.deepEqual(scene.sent, []);
});

test("follow() and live() refuse keys that no server takes, which would end the updates of all others", async () => {
  await using scene = new Scene();
  const client = scene.client();
  const stop = client.follow(["a"], () => {});
  for (const key of ["", "a\0b", "\ud800", "é".repeat(257)]) {
    const expected = {
      name: "RangeError",
      message: /^Cannot follow ".*": expected 1 to 512 bytes, no control characters$/,
    };
    assert.throws(() => client.follow(["b", key], () => {}), expected);
    assert.throws(() => client.live("/data", { keys: [key] }), expected);
    const stamp = { epoch: "e", versions: { [key]: 1 } };
    assert.throws(() => client.live("/data", { initial: { data: 1, stamp } }), expected);
  }
  const unnamed = client.live(() => 1, { stamp: () => ({ epoch: "e", versions: { "a\0b": 1 } }) });
  unnamed.subscribe(() => {});
  await scene.clock.advance(100);
  assert.match(String(unnamed.getSnapshot().error), /^RangeError: Cannot follow "a\\u0000b"/);
  assert.equal(client.state, "live");
  stop();
  client.follow(["é".repeat(256)], () => {});
  await scene.clock.advance(100);
  assert.equal(client.state, "live");
});

test("createClient() refuses wrong options", () => {
  const url = "/reality";
  const wrong: [Record<string, unknown>, string][] = [
    [{}, "url"],
    [{ url, waits: 1 }, "waits"],
    [{ url, transport: "socket" }, "transport"],
  ];
  for (const [options, name] of wrong) {
    assert.throws(
      () => createClient(options as never),
      (error) => error instanceof TypeError && error.message.includes(name),
    );
  }
  assert.throws(() => createClient({ url, maxKeys: 0 }), RangeError);
  assert.throws(() => createClient({ url, wait: NaN }), RangeError);
});

test("createClient() says what to write if it is called without a url", () => {
  for (const slip of [undefined, "/reality", {}, { baseUrl: "/reality" }]) {
    assert.throws(() => createClient(slip as never), {
      name: "TypeError",
      message: /createClient\(\{ url: /,
    });
  }
});

test("onError gets the URL that answered with a refusal", async () => {
  await using scene = new Scene();
  scene.intercept = () => new Response(null, { status: 404 });
  scene.client().follow(["a"], () => {});
  await scene.clock.advance(10);
  const message = "Error: Cannot sync: the server answered 404 at http://localhost/reality/sync";
  assert.deepEqual(scene.errors.map(String), [message]);
});

test('transport: "poll" asks at its interval, and at once for other keys', async () => {
  await using scene = new Scene();
  const client = scene.client({ transport: "poll", pollInterval: 10_000 });
  const fetches = new Fetches();
  client.follow(["a"], fetches.listener);
  await scene.clock.advance(10);
  fetches.done();
  await scene.clock.advance(60_000);
  assert.ok(scene.sent.every(({ body }) => body.wait === 0));
  assert.ok(scene.sent.length >= 6 && scene.sent.length <= 8, `${scene.sent.length} requests`);
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(11_000);
  assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }]);
  const { length } = scene.sent;
  client.follow(["b"], () => {});
  await scene.clock.advance(10);
  assert.equal(scene.sent.length, length + 1);
});

test('transport: "events" tells what a stream says', async () => {
  // Client and server load these when they are used. Reading a file takes real time.
  await Promise.all([import("../../client/transport_events.ts"), streamsModule.load()]);
  await using scene = new Scene();
  await scene.server.updateNode("a", "1");
  const client = scene.client({ transport: "events" });
  const fetches = new Fetches();
  client.follow(["a", "b c"], fetches.listener);
  await scene.clock.advance(1_000);
  fetches.done();
  for (const change of [() => scene.server.updateNode("b c", "1"), () => scene.server.deleteNode("a")]) {
    await change();
    await scene.clock.advance(1_000);
    fetches.done();
  }
  assert.deepEqual(fetches.versions, [{ a: 1, "b c": 0 }, { "b c": 2 }, { a: 0 }]);
  assert.deepEqual(scene.sent.map(({ path }) => path), ["/reality/events?keys=a&keys=b+c", "/reality/sync"]);
  client.follow(["d"], () => {});
  await scene.clock.advance(1_000);
  assert.equal(scene.sent[2]!.path, "/reality/events?keys=a&keys=b+c&keys=d");
  await scene.clock.advance(120_000);
  assert.equal(client.state, "live");
  assert.equal(scene.sent.length, 4);
});

test('transport: "events" keeps its stream when data with a newer stamp was fetched', async () => {
  await using scene = new Scene();
  await Promise.all([
    import("../../client/transport_events.ts"),
    streamsModule.load(),
    stampsModule.load(),
  ]);
  await scene.server.updateNode("a", "1");
  const store = scene.client({ transport: "events" })
    .live<DataStamp>(async () => (await scene.server.stamp(["a"])).toJSON(), {
      stamp: (stamp: DataStamp) => stamp,
    });
  store.subscribe(() => {});
  await scene.clock.advance(1_000);
  const sent = scene.sent.length;
  for (const hash of ["2", "3", "4"]) {
    await scene.server.updateNode("a", hash);
    await scene.clock.advance(1_000);
  }
  assert.equal(store.getSnapshot().data?.versions["a"], 4);
  assert.deepEqual(scene.sent.slice(sent).map(({ path }) => path), []);
});

test('transport: "events" asks for the epoch again when live() refuses data of another epoch', async () => {
  await import("../../client/transport_events.ts");
  await using scene = new Scene();
  let stream!: ReadableStreamDefaultController<Uint8Array>;
  let [epoch, version, data] = ["old", 7, "old"];
  const sendUpdate = () =>
    stream.enqueue(
      new TextEncoder().encode(
        `event: update\ndata: {"key":"a","version":${version},"hash":"","updatedAt":0}\nid: ${epoch}:r:0:${version}:k\n\n`,
      ),
    );
  scene.intercept = ({ path }) =>
    path.includes("/events")
      ? new Response(
        new ReadableStream({
          start(controller) {
            stream = controller;
            sendUpdate();
          },
        }),
      )
      : Response.json({ epoch, changed: { a: { version, hash: "", updatedAt: 0 } } });
  const store = scene.client({ transport: "events" })
    .live<string>(() => Promise.resolve(data), {
      stamp: (data: string) => ({ epoch: data, versions: { a: version } }),
    });
  store.subscribe(() => {});
  await scene.clock.advance(1_000);
  assert.deepEqual(store.getSnapshot(), { data: "old", error: undefined, state: "live" });
  // The server and the data were restored. A server that lags has told the client the epoch from before.
  [version, data] = [3, "new"];
  sendUpdate();
  await scene.clock.advance(100);
  assert.equal(store.getSnapshot().state, "retrying");
  epoch = "new";
  await scene.clock.advance(5_000);
  assert.deepEqual(store.getSnapshot(), { data: "new", error: undefined, state: "live" });
});

for (const isSameStream of [true, false]) {
  const where = isSameStream ? "the same stream" : "the next one";
  test(`transport: "events" tells the same version in another epoch of ${where}, also if syncs lag`, async () => {
    await import("../../client/transport_events.ts");
    await using scene = new Scene();
    let stream!: ReadableStreamDefaultController<Uint8Array>;
    const send = (text: string) => stream.enqueue(new TextEncoder().encode(text));
    /** The epoch of the stream, and the one that syncs tell. */
    let [epoch, synced] = ["old", "old"];
    const update = (version: number) =>
      send(
        `event: update\ndata: {"key":"a","version":${version},"hash":"","updatedAt":0}\n` +
          `id: ${encodeURIComponent(epoch)}:r:0:${version}:k\n\n`,
      );
    scene.intercept = ({ path }) => {
      if (!path.includes("/events")) {
        return Response.json({ epoch: synced, changed: { a: { version: 7, hash: "", updatedAt: 0 } } });
      }
      return new Response(
        new ReadableStream({
          start(controller) {
            stream = controller;
            send("retry: 500\n\n");
            update(7);
          },
        }),
      );
    };
    const fetches = new Fetches();
    scene.client({ transport: "events" }).follow(["a"], fetches.listener);
    await scene.clock.advance(100);
    assert.deepEqual(fetches.versions, [{ a: 7 }]);
    fetches.done();
    // A restored database has a new epoch, and the version that it had before. The stream sends all nodes.
    epoch = "new: 1";
    if (isSameStream) update(7);
    else stream.close();
    await scene.clock.advance(3_000);
    synced = epoch;
    await scene.clock.advance(5_000);
    assert.deepEqual(fetches.versions, [{ a: 7 }, { a: 7 }]);
    fetches.done();
    const sent = scene.sent.length;
    update(8);
    await scene.clock.advance(100);
    assert.deepEqual(fetches.versions[2], { a: 8 });
    assert.equal(scene.sent.length, sent);
  });
}

test('transport: "events" with public keys asks the server for the epoch, and no cache', async () => {
  await Promise.all([import("../../client/transport_events.ts"), import("../../client/transport_get.ts")]);
  await using scene = new Scene();
  await streamsModule.load();
  const fetches = new Fetches();
  scene.client({ transport: "events", public: true }).follow(["a"], fetches.listener);
  await scene.clock.advance(100);
  assert.deepEqual(fetches.versions, [{ a: 0 }]);
  assert.deepEqual(scene.sent.map(({ method, path }) => `${method} ${path}`), [
    "GET /reality/events?keys=a",
    "POST /reality/sync",
  ]);
});

test('transport: "events" asks ever less often where streams end at once, and reports an answer that is no stream', async () => {
  await import("../../client/transport_events.ts");
  for (
    const text of ["<html>", 'retry: 500\n\nevent: update\ndata: {"key":"a","version":7}\nid: e:r:0:7:k\n\n']
  ) {
    await using scene = new Scene();
    scene.intercept = ({ path }) =>
      path.includes("/events")
        ? new Response(text)
        : Response.json({ epoch: "e", changed: { a: { version: 7, hash: "", updatedAt: 0 } } });
    scene.client({ transport: "events" }).follow(["a"], () => {});
    await scene.clock.advance(60_000);
    const { length } = scene.sent.filter(({ path }) => path.includes("/events"));
    assert.ok(length < 10, `${length} streams in a minute`);
    assert.equal(scene.errors.length > 0, text === "<html>");
  }
});

test('transport: "events" asks ever less often where each stream breaks after its first event', async () => {
  await import("../../client/transport_events.ts");
  await using scene = new Scene();
  const text = 'retry: 500\n\nevent: update\ndata: {"key":"a","version":7}\nid: e:r:0:7:k\n\n';
  scene.intercept = ({ path }) => {
    if (!path.includes("/events")) return undefined;
    const parts = [new TextEncoder().encode(text)];
    return new Response(
      new ReadableStream({
        pull(controller) {
          const part = parts.shift();
          if (part) controller.enqueue(part);
          else controller.error(new TypeError("The connection was reset"));
        },
      }, { highWaterMark: 0 }),
    );
  };
  scene.client({ transport: "events" }).follow(["a"], () => {});
  await scene.clock.advance(60_000);
  const { length } = scene.sent.filter(({ path }) => path.includes("/events"));
  assert.ok(length < 30, `${length} streams in a minute`);
});

test('transport: "events" waits by sync requests where the file that reads streams cannot be loaded', async () => {
  await using scene = new Scene();
  const folder = await mkdtemp(join(tmpdir(), "reality-client-"));
  try {
    await cp("client", folder, { recursive: true });
    await rm(join(folder, "transport_events.ts"));
    const { createClient }: typeof import("../../client/mod.ts") = await import(
      pathToFileURL(join(folder, "mod.ts")).href
    );
    const { clock, page, fetch, errors } = scene;
    const fetches = new Fetches();
    const { promise, resolve } = Promise.withResolvers<void>();
    using client = createClient({
      url: "http://localhost/reality",
      transport: "events",
      clock,
      page,
      fetch,
      onError: (error) => errors.push(error),
    });
    client.subscribe((state) => {
      if (state === "live" || state === "retrying") resolve();
    });
    client.follow(["a"], fetches.listener);
    await clock.advance(10);
    // Looking for the file takes real time.
    await promise;
    await clock.advance(1_000);
    fetches.done();
    await scene.server.updateNode("a", "1");
    await clock.advance(1_000);
    assert.deepEqual(fetches.versions, [{ a: 0 }, { a: 1 }]);
    assert.deepEqual(scene.sent.map(({ body }) => body.wait), [0, 20_000, 20_000]);
    assert.deepEqual(errors, []);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a key that no group has is reported to onError once, and the other keys are told as always", async () => {
  for (const transport of ["wait", "poll", "events"] as const) {
    await using scene = new Scene({}, { of: () => [], isGroup: () => false });
    await streamsModule.load();
    const fetches = new Fetches();
    scene.client({ transport }).follow(["chats:*", "a"], fetches.listener);
    await scene.clock.advance(100);
    fetches.done();
    for (const hash of ["1", "2"]) {
      await scene.server.updateNode("a", hash);
      await scene.clock.advance(10_000);
      fetches.done();
    }
    assert.deepEqual(fetches.versions, [{ "chats:*": 0, a: 0 }, { a: 1 }, { a: 2 }]);
    assert.deepEqual(scene.errors.map(String), ['Error: Cannot follow "chats:*": no group has this key']);
    assert.equal((scene.errors[0] as { key?: string }).key, "chats:*");
  }
});
