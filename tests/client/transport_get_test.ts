import assert from "node:assert/strict";
import { test } from "../harness.ts";
import "../loaded_cached_sync.ts";
import { Fetches, Scene, type SentRequest } from "./scene.ts";

/** How long the client asks by POST after a fault, with the random numbers of the scene. */
const POST_MS = 45_000;

/** A scene with a client that asks by GET, which follows `a` and knows its version. */
async function follow(scene: Scene): Promise<{ fetches: Fetches; epoch: string }> {
  await scene.server.updateNode("a", "1");
  const { epoch } = await scene.server.handleSync({ known: {} });
  const fetches = new Fetches();
  scene.client({ public: true, headers: { authorization: "Bearer secret" } }).follow(["a"], fetches.listener);
  await scene.clock.advance(1_000);
  fetches.done();
  await scene.clock.advance(0);
  return { fetches, epoch };
}

/** Lets a fault be given as the answer to each GET, and returns how the client asked from then on. */
async function afterFault(
  scene: Scene,
  answer: (sent: SentRequest) => Response | Promise<Response>,
): Promise<string[]> {
  const { length } = scene.sent;
  scene.intercept = (sent) => sent.method === "GET" ? answer(sent) : undefined;
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(1_000);
  return scene.sent.slice(length).map(({ method }) => method);
}

/** What a cache answers that changes a good answer. */
function change(
  scene: Scene,
  edit: (body: Record<string, unknown>) => unknown,
  headers: Record<string, string> = {},
) {
  return async ({ path }: SentRequest) => {
    const response = await scene.respond(new Request(`http://localhost${path.replace(/&w=\d+/, "")}`));
    const body = await response.json();
    const [, wait = ""] = /(&w=\d+)/.exec(path) ?? [];
    return Response.json(edit({ ...body, asked: `${body.asked}${wait}` }), { headers });
  };
}

/** Resolves after so many milliseconds. */
function wait(scene: Scene, ms: number): Promise<void> {
  return new Promise((resolve) => void scene.clock.after(ms, resolve));
}

test("public: true asks by GET in the canonical form, without the headers of the application", async () => {
  await using scene = new Scene();
  const keys = ["b", "a:1", "é /?&+%'()*!~._-"];
  await scene.server.updateNode("a:1", "1");
  const fetches = new Fetches();
  scene.client({ public: true, headers: { authorization: "Bearer secret" } }).follow(keys, fetches.listener);
  await scene.clock.advance(1_000);
  fetches.done();
  await scene.server.updateNode("b", "1");
  await scene.clock.advance(100);
  const { epoch } = await scene.server.handleSync({ known: {} });
  const strange = "%C3%A9%20%2F%3F%26%2B%25%27%28%29%2A%21~._-";
  assert.deepEqual(scene.sent.map(({ path }) => path), [
    `/reality/sync?k=${strange}:0&k=a:1:0&k=b:0`,
    `/reality/sync?e=${epoch}&k=${strange}:0&k=a:1:1&k=b:0&w=20`,
    `/reality/sync?e=${epoch}&k=${strange}:0&k=a:1:1&k=b:2&w=20`,
  ]);
  assert.deepEqual(fetches.versions[1], { b: 2 });
  for (const { method, credentials, headers } of scene.sent) {
    assert.deepEqual([method, credentials, [...headers]], ["GET", "omit", []]);
  }
  assert.deepEqual(scene.errors, []);
});

test("public: true asks for one of a few waits", async () => {
  for (const [wait, asked] of [[45_000, 30], [20_000, 20], [19_999, 10], [300, 1]] as const) {
    await using scene = new Scene();
    scene.client({ public: true, wait }).follow(["a"], () => {});
    await scene.clock.advance(200);
    assert.match(scene.sent[1]!.path, new RegExp(`&w=${asked}$`));
  }
});

test("public: true splits a question so that no URL is longer than 2000 characters", async () => {
  await using scene = new Scene({ maxKeys: 1_000 });
  const keys = Array.from({ length: 300 }, (_, i) => `chat:room:${i}`.padEnd(30, "x"));
  const told = new Set<string>();
  scene.client({ public: true }).follow(keys, (changed) => {
    for (const key of changed.keys()) told.add(key);
  });
  await scene.clock.advance(1_000);
  assert.equal(told.size, 300);
  for (const { method, path } of scene.sent) {
    assert.equal(method, "GET");
    assert.ok(`http://localhost${path}`.length <= 2_000);
  }
  assert.ok(scene.sent.length <= 2 * 6, `${scene.sent.length}`);
  assert.deepEqual(scene.errors, []);
});

test("public: true asks by POST for good where the server does not answer by GET", async () => {
  for (const status of [403, 404, 405]) {
    await using scene = new Scene();
    const { fetches } = await follow(scene);
    const methods = await afterFault(scene, () => new Response("{}", { status }));
    assert.deepEqual(methods, ["GET", "POST", "POST"].slice(0, methods.length));
    assert.deepEqual(fetches.versions.at(-1), { a: 2 });
    await scene.clock.advance(600_000);
    assert.deepEqual(new Set(scene.sent.slice(-10).map(({ method }) => method)), new Set(["POST"]));
    assert.equal(scene.sent.at(-1)!.headers.get("authorization"), "Bearer secret");
  }
});

test("public: true asks by POST for a key that is not public", async () => {
  await using scene = new Scene();
  await scene.server.updateNode("private:a", "1");
  const fetches = new Fetches();
  scene.client({ public: true }).follow(["private:a"], fetches.listener);
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions, [{ "private:a": 1 }]);
  assert.deepEqual(
    scene.sent.map(({ method }) => method),
    ["GET", "POST", "POST"].slice(0, scene.sent.length),
  );
});

const FAULTS: Record<string, (scene: Scene) => (sent: SentRequest) => Response | Promise<Response>> = {
  "a page": () => () => new Response("<html>"),
  "a redirect": () => () => new Response("{}", { status: 302 }),
  "another question": (scene) => change(scene, (body) => ({ ...body, asked: "k=b:0" })),
  "no question": (scene) => change(scene, ({ asked: _, ...body }) => body),
  "an old answer": (scene) =>
    change(scene, (body) => ({ ...body, changed: {} }), { "reality-time": `${scene.clock.now() - 5_001}` }),
  "an old answer without a header": (scene) => {
    const serverTime = scene.clock.now() - 5_001;
    return change(scene, (body) => ({ ...body, changed: {}, serverTime }));
  },
  "an answer without a time": (scene) =>
    change(scene, ({ serverTime: _, ...body }) => ({ ...body, changed: {} })),
};

for (const [name, create] of Object.entries(FAULTS)) {
  test(`public: true asks by POST for a minute after ${name}, and by GET again later`, async () => {
    await using scene = new Scene();
    const { fetches } = await follow(scene);
    const answer = create(scene);
    // The wait by GET that is open ends with the change.
    await afterFault(scene, (sent) => answer(sent));
    const before = scene.sent.findLastIndex(({ method }) => method === "GET");
    assert.equal(scene.sent[before + 1]!.at, scene.sent[before]!.at);
    assert.deepEqual(fetches.versions.at(-1), { a: 2 });
    assert.equal(scene.errors.length, 1);
    fetches.done();
    scene.intercept = () => undefined;
    const from = scene.sent.length;
    await scene.clock.advance(POST_MS - 2_000);
    assert.ok(scene.sent.slice(from).every(({ method }) => method === "POST"));
    await scene.clock.advance(25_000);
    assert.equal(scene.sent.at(-1)!.method, "GET");
    assert.equal(scene.errors.length, 1);
  });
}

test("public: true takes three failures for the server's, and asks by POST after the fourth", async () => {
  for (
    const failure of [
      () => new Response("", { status: 503 }),
      () => Promise.reject(new TypeError("No network")),
    ]
  ) {
    await using scene = new Scene();
    const { fetches } = await follow(scene);
    const { length } = scene.sent;
    await afterFault(scene, failure);
    await scene.clock.advance(6_000);
    const methods = scene.sent.slice(length).map(({ method }) => method);
    assert.deepEqual(methods.slice(0, 5), ["GET", "GET", "GET", "GET", "POST"]);
    fetches.done();
    await scene.clock.advance(0);
    assert.deepEqual(fetches.versions.at(-1), { a: 2 });
  }
});

test("public: true asks by POST where a cache has kept a failure of the waiting question only", async () => {
  await using scene = new Scene();
  await follow(scene);
  const { length } = scene.sent;
  scene.intercept = ({ path }) => /w=\d+$/.test(path) ? new Response("", { status: 503 }) : undefined;
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(30_000);
  const methods = scene.sent.slice(length).map(({ method }) => method);
  assert.ok(methods.includes("POST"), methods.join());
  assert.ok(methods.length < 15, methods.join());
});

test("public: true asks by POST again within 16 seconds after one that failed", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  let posts = 0;
  scene.intercept = ({ method }) =>
    method === "GET" || ++posts === 1 ? new Response("", { status: 503 }) : undefined;
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(16_000);
  assert.equal(posts > 1, true);
  fetches.done();
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions.at(-1), { a: 2 });
});

test("public: true asks by POST as soon after an outage as if there had been none before", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  const refuse = () => new Response("", { status: 503 });
  for (let outage = 0; outage < 7; outage++) {
    scene.intercept = refuse;
    await scene.clock.advance(60_000);
    scene.intercept = () => undefined;
    await scene.clock.advance(60_000);
  }
  scene.intercept = ({ method }) => method === "GET" ? refuse() : undefined;
  // No wait is under way any more, which would be answered.
  await scene.clock.advance(20_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(10_000);
  assert.deepEqual(fetches.versions.at(-1), { a: 2 });
});

test("public: true asks by POST every 80 to 110 seconds in an outage of hours, which a cache keeps", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  let [isDown, posts] = [true, 0];
  scene.intercept = ({ method }) => {
    if (method === "POST") posts++;
    return isDown || method === "GET" ? new Response("", { status: 503 }) : undefined;
  };
  // No wait is under way any more, which would be answered.
  await scene.clock.advance(20_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(3 * 3_600_000);
  assert.ok(posts > 98 && posts < 138, `${posts} requests by POST`);
  isDown = false;
  await scene.clock.advance(110_000);
  assert.deepEqual(fetches.versions.at(-1), { a: 2 });
});

test("public: true asks by GET again at once after a time in which the server refused everything", async () => {
  for (
    const failure of [
      () => new Response("", { status: 503 }),
      () => Promise.reject(new TypeError("No network")),
    ]
  ) {
    await using scene = new Scene();
    const { fetches } = await follow(scene);
    const { length } = scene.sent;
    scene.intercept = failure;
    await scene.server.updateNode("a", "2");
    await scene.clock.advance(120_000);
    const methods = scene.sent.slice(length).map(({ method }) => method);
    // A POST reaches the server, whatever the cache does: all clients together must not send one for each failure.
    assert.ok(methods.filter((method) => method === "POST").length <= 3, methods.join());
    const from = scene.sent.length;
    scene.intercept = () => undefined;
    await scene.clock.advance(60_000);
    fetches.done();
    await scene.clock.advance(60_000);
    assert.deepEqual(fetches.versions.at(-1), { a: 2 });
    assert.deepEqual(new Set(scene.sent.slice(from).map(({ method }) => method)), new Set(["GET"]));
  }
});

test("public: true asks by POST at the deadline of a GET that is held", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  const { length } = scene.sent;
  await afterFault(scene, () => new Promise(() => {}));
  await scene.server.updateNode("a", "3");
  await scene.clock.advance(30_000);
  assert.deepEqual(scene.sent.slice(length, length + 2).map(({ method }) => method), ["GET", "POST"]);
  fetches.done();
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions.at(-1), { a: 3 });
});

test("public: true asks again a second after an empty answer that was kept", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  const from = scene.sent.length;
  let kept = 0;
  const answer = change(scene, (body) => ({ ...body, changed: {} }));
  scene.intercept = (sent) => kept++ < 3 ? answer(sent) : undefined;
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(4_000);
  const times = scene.sent.slice(from, from + 4).map(({ at }) => at - scene.sent[from]!.at);
  assert.deepEqual(times, [0, 750, 1_500, 2_250]);
  assert.deepEqual(fetches.versions.at(-1), { a: 2 });
  assert.deepEqual(scene.errors, []);
});

test("public: true does not shorten its wait for a failure after an empty answer that came early", async () => {
  await using scene = new Scene();
  await follow(scene);
  const answer = change(scene, (body) => ({ ...body, changed: {} }));
  let early = 0;
  let cut = 0;
  scene.intercept = (sent) => {
    if (!sent.path.includes("w=")) return undefined;
    // It joins the wait of another client, which ends after four seconds.
    if (early++ === 0) return wait(scene, 4_000).then(() => answer(sent));
    if (cut++ === 0) throw new TypeError("The connection was reset");
    return undefined;
  };
  await scene.server.updateNode("b", "1");
  scene.client({ public: true }).follow(["b"], () => {});
  await scene.clock.advance(30_000);
  assert.equal(cut > 1, true);
  assert.deepEqual(
    scene.sent.filter(({ path }) => /w=/.test(path) && !/w=20$/.test(path)).map(({ path }) => path),
    [],
  );
});

test("public: true asks at once for a new key after an empty answer that was kept", async () => {
  await using scene = new Scene();
  const { epoch: _ } = await follow(scene);
  const client = scene.client({ public: true });
  const answer = change(scene, (body) => ({ ...body, changed: {} }));
  client.follow(["a"], () => {});
  scene.intercept = (sent) => sent.path.includes("w=") ? answer(sent) : undefined;
  await scene.clock.advance(1_200);
  const { length } = scene.sent;
  client.follow(["b"], () => {});
  await scene.clock.advance(10);
  assert.match(scene.sent[length]!.path, /k=b:0/);
});

test("public: true leaves a loop of a cache after three rounds", async () => {
  await using scene = new Scene();
  const { epoch } = await follow(scene);
  const { length } = scene.sent;
  const meta = (version: number) => ({ a: { key: "a", version, hash: "", updatedAt: 0 } });
  await afterFault(scene, ({ path }) =>
    Response.json({
      changed: meta(/k=a:9/.test(path) ? 4 : 9),
      epoch,
      mesh: {},
      serverTime: scene.clock.now(),
      asked: path.split("?")[1],
    }));
  await scene.clock.advance(10_000);
  const gets = scene.sent.slice(length).filter(({ method }) => method === "GET");
  assert.ok(gets.length <= 7, `${gets.length} requests`);
  assert.equal(scene.sent.at(-1)!.method, "POST");
});

test("public: true is led to a new epoch once, without a fault", async () => {
  await using scene = new Scene();
  const { fetches } = await follow(scene);
  const meta = { a: { key: "a", version: 1, hash: "", updatedAt: 0 } };
  await afterFault(scene, ({ path }) =>
    Response.json({
      changed: /e=next/.test(path) ? {} : meta,
      epoch: "next",
      mesh: {},
      serverTime: scene.clock.now(),
      asked: path.split("?")[1],
    }));
  fetches.done();
  await scene.clock.advance(1_000);
  assert.deepEqual(fetches.versions.slice(1), [{ a: 2 }, { a: 1 }]);
  assert.equal(scene.sent.at(-1)!.method, "GET");
  assert.deepEqual(scene.errors, []);
});

test("public: true leaves no timer behind", async () => {
  await using scene = new Scene();
  await follow(scene);
  const client = scene.client({ public: true });
  client.follow(["b"], () => {});
  const answer = change(scene, (body) => ({ ...body, changed: {} }));
  scene.intercept = (sent) => answer(sent);
  await scene.clock.advance(1_300);
  const { timers } = scene.clock;
  client.close();
  await scene.clock.advance(0);
  assert.ok(scene.clock.timers < timers);
});
