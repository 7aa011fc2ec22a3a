import assert from "node:assert/strict";
import { type LiveOptions, type LiveSnapshot, parseStamp } from "../../client/mod.ts";
import { test } from "../harness.ts";
import { Scene } from "./scene.ts";

const URL_OF_DATA = "http://localhost/data";

/** An application with one value, which depends on the key "a". It may answer from a state before the newest. */
class Application {
  readonly #scene: Scene;
  readonly #states: { value: string; version: number }[] = [{ value: "none", version: 0 }];
  #epoch = "";
  /** How many changes the answers lag behind. */
  lag = 0;
  isStamped = true;
  isDown = false;
  loads = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  async set(value: string): Promise<void> {
    const { server } = this.#scene;
    await server.updateNode("a", value);
    const { changed } = await server.handleSync({ known: { a: 0 } });
    this.#states.push({ value, version: changed["a"]!.version });
  }

  readonly fetch = async (): Promise<Response> => {
    this.loads++;
    if (this.isDown) return new Response(null, { status: 500 });
    this.#epoch = (await this.#scene.server.handleSync({ known: {} })).epoch;
    const { value, version } = this.#states.at(-1 - this.lag)!;
    const field = `epoch="${this.#epoch}", keys=("a";v="${version}")`;
    return Response.json({ value }, { headers: this.isStamped ? { "reality-stamp": field } : {} });
  };
}

async function setUp(scene: Scene, options: LiveOptions<{ value: string }> = {}) {
  const application = new Application(scene);
  await application.set("1");
  const store = scene.client().live<{ value: string }>(URL_OF_DATA, { fetch: application.fetch, ...options });
  const seen: string[] = [];
  const listener = ({ data, state, error }: LiveSnapshot<{ value: string }>) =>
    void seen.push(`${state} ${data?.value ?? "-"}${error ? " error" : ""}`);
  return { application, store, seen, listener };
}

test("live() fetches once, and again when a key of the stamp changes", async () => {
  await using scene = new Scene();
  const { application, store, seen, listener } = await setUp(scene);
  assert.equal(application.loads, 0);
  const stop = store.subscribe(listener);
  await scene.clock.advance(60_000);
  assert.deepEqual(scene.questions[0], { a: 1 });
  assert.equal(application.loads, 1);
  await application.set("2");
  await scene.clock.advance(10);
  assert.deepEqual(seen, ["loading -", "loading -", "live 1", "updating 1", "live 2"]);
  stop();
  await scene.clock.advance(1_000);
  assert.equal((await scene.server.getStats()).waiters, 0);
  assert.equal(store.getSnapshot(), store.getSnapshot());
});

test("live() fetches after a pause without subscribers only if something changed", async () => {
  await using scene = new Scene();
  const { application, store, listener } = await setUp(scene);
  for (const loads of [1, 1, 2]) {
    if (loads === 2) await application.set("2");
    const stop = store.subscribe(listener);
    await scene.clock.advance(1_000);
    stop();
    assert.equal(application.loads, loads);
  }
});

test("live() with initial data and its stamp neither fetches nor misses a change", async () => {
  await using scene = new Scene();
  const { epoch } = await scene.server.handleSync({ known: {} });
  const { application, store, seen, listener } = await setUp(scene, {
    initial: { data: { value: "1" }, stamp: `epoch="${epoch}", keys=("a";v="1")` },
  });
  store.subscribe(listener);
  await scene.clock.advance(60_000);
  assert.deepEqual([seen, application.loads], [["live 1"], 0]);
  await application.set("2");
  await scene.clock.advance(10);
  assert.deepEqual(seen, ["live 1", "updating 1", "live 2"]);
});

test("live() with an old initial stamp fetches", async () => {
  await using scene = new Scene();
  const { epoch } = await scene.server.handleSync({ known: {} });
  const stamp = parseStamp(`epoch="${epoch}", keys=("a";v="0")`)!;
  const { store, seen, listener } = await setUp(scene, { initial: { data: { value: "0" }, stamp } });
  store.subscribe(listener);
  await scene.clock.advance(10);
  assert.deepEqual(seen, ["live 0", "updating 0", "live 1"]);
});

test("live() asks a lagging application again, and never shows older data", async () => {
  await using scene = new Scene();
  const { application, store, seen, listener } = await setUp(scene);
  store.subscribe(listener);
  await scene.clock.advance(10);
  await application.set("2");
  await scene.clock.advance(1_000);
  application.lag = 2;
  await application.set("3");
  await scene.clock.advance(10_000);
  assert.ok(application.loads < 10, `${application.loads} fetches`);
  application.lag = 0;
  await scene.clock.advance(10_000);
  const values = seen.map((line) => /\d/.exec(line)?.[0]).filter((value) => value !== undefined);
  assert.deepEqual([...new Set(values)], ["1", "2", "3"]);
  assert.equal(seen.at(-1), "live 3");
});

test("live() shows an error, keeps the data and fetches again", async () => {
  await using scene = new Scene();
  const { application, store, seen, listener } = await setUp(scene);
  store.subscribe(listener);
  await scene.clock.advance(200);
  application.isDown = true;
  await application.set("2");
  await scene.clock.advance(10);
  assert.deepEqual(seen.slice(3), ["updating 1", "retrying 1 error"]);
  application.isDown = false;
  await scene.clock.advance(1_000);
  assert.equal(seen.at(-1), "live 2");
});

test("live() with keys and without stamps fetches again after the first answer of the server", async () => {
  await using scene = new Scene();
  const { application, store, seen, listener } = await setUp(scene, { keys: ["a"] });
  application.isStamped = false;
  store.subscribe(listener);
  await scene.clock.advance(10_000);
  assert.equal(application.loads, 2);
  await application.set("2");
  await scene.clock.advance(10);
  assert.equal(seen.at(-1), "live 2");
});

test("live() says so if it has neither keys nor a stamp", async () => {
  await using scene = new Scene();
  const { application, store } = await setUp(scene);
  application.isStamped = false;
  store.subscribe(() => {});
  await scene.clock.advance(10);
  const { data, error } = store.getSnapshot();
  assert.deepEqual(data, { value: "1" });
  assert.match(String(error), /Reality-Stamp/);
  assert.match(String(error), /server\.stamp\(\)/);
  // Also to onError: a page that shows only the data would not notice that it stays as it is.
  assert.deepEqual(scene.errors, [error]);
});

test("live() follows the keys of earlier data while an answer has no stamp", async () => {
  await using scene = new Scene();
  const { application, store } = await setUp(scene);
  store.subscribe(() => {});
  await scene.clock.advance(1_000);
  application.isStamped = false;
  await application.set("2");
  await scene.clock.advance(1_000);
  assert.match(String(store.getSnapshot().error), /Reality-Stamp/);
  application.isStamped = true;
  await application.set("3");
  await scene.clock.advance(1_000);
  assert.deepEqual(store.getSnapshot(), { data: { value: "3" }, error: undefined, state: "live" });
});

for (const between of ["a key is created", "the data of the server is erased"]) {
  test(`live() fetches again if ${between} while an answer is made, which has a stamp of each half`, async () => {
    await using scene = new Scene();
    await scene.server.updateNode("b", "1");
    const { epoch } = await scene.server.handleSync({ known: {} });
    const stamps = between === "a key is created"
      ? [`epoch="${epoch}", keys=("a";v="0")`, `epoch="${epoch}", keys=("a";v="2")`]
      : [`epoch="erased", keys=("a";v="7")`, `epoch="${epoch}", keys=("a";v="2")`];
    await scene.server.updateNode("a", "1");
    const store = scene.client().live<string>(URL_OF_DATA, {
      fetch() {
        const response = Response.json(stamps.length > 1 ? "half" : "whole");
        for (const stamp of stamps) response.headers.append("reality-stamp", stamp);
        stamps.splice(0, stamps.length - 1);
        return Promise.resolve(response);
      },
    });
    store.subscribe(() => {});
    await scene.clock.advance(5_000);
    assert.deepEqual(store.getSnapshot(), { data: "whole", error: undefined, state: "live" });
  });
}

test("live() takes a fetcher, select, and a stamp inside of the data", async () => {
  await using scene = new Scene();
  const { epoch } = await scene.server.handleSync({ known: {} });
  await scene.server.updateNode("a", "1");
  const answers = [
    { value: 1, stamp: { epoch, versions: { a: 1 } } },
    { value: 2, stamp: { epoch, versions: { b: 2 } } },
    { value: 3, stamp: { epoch, versions: { b: 3 } } },
  ];
  const changes: string[][] = [];
  const store = scene.client().live<number>(({ changed }) => {
    changes.push([...changed.keys()]);
    return Promise.resolve(answers[changes.length - 1]);
  }, { select: ({ value }: { value: number }) => value * 10, stamp: ({ stamp }: { stamp: never }) => stamp });
  store.subscribe(() => {});
  await scene.clock.advance(1_000);
  for (const key of ["a", "a", "b"]) {
    await scene.server.updateNode(key, "x");
    await scene.clock.advance(1_000);
  }
  // The second answer does not depend on "a" any more.
  assert.deepEqual(changes.slice(0, 2), [[], ["a"]]);
  assert.equal(store.getSnapshot().data, 30);
});

test("live() without keepPrevious shows no data while newer data is fetched", async () => {
  await using scene = new Scene();
  const { application, store, seen, listener } = await setUp(scene, { keepPrevious: false });
  store.subscribe(listener);
  await scene.clock.advance(200);
  await application.set("2");
  await scene.clock.advance(10);
  assert.deepEqual(seen.slice(2), ["live 1", "updating -", "live 2"]);
});

test("live() fetches on refresh(), and stops when the client is closed", async () => {
  await using scene = new Scene();
  const application = new Application(scene);
  const client = scene.client();
  const store = client.live(URL_OF_DATA, { fetch: application.fetch });
  store.refresh();
  store.subscribe(() => {});
  await scene.clock.advance(1_000);
  store.refresh();
  await scene.clock.advance(1_000);
  assert.equal(application.loads, 2);
  client.close();
  store.refresh();
  await scene.clock.advance(1_000);
  assert.equal(application.loads, 2);
  assert.throws(() => client.live(URL_OF_DATA).subscribe(() => {}), TypeError);
});

test("live() shows data of a new epoch", async () => {
  await using scene = new Scene();
  const { store, seen, listener } = await setUp(scene);
  store.subscribe(listener);
  await scene.clock.advance(1_000);
  const told = { epoch: "other", changed: { a: { key: "a", version: 1, hash: "", updatedAt: 0 } } };
  scene.intercept = ({ body }) => body.wait > 0 ? new Promise(() => {}) : Response.json(told);
  scene.page.become("hidden");
  scene.page.become("active");
  await scene.clock.advance(200);
  // The application still answers with the old epoch: that data is not shown as the newest.
  assert.equal(seen.at(-1), "retrying 1 error");
  scene.intercept = () => undefined;
  scene.page.become("hidden");
  scene.page.become("active");
  await scene.clock.advance(10_000);
  assert.equal(seen.at(-1), "live 1");
});

test("live() ignores the end of a fetch that was given up, and calls no listener after close()", async () => {
  await using scene = new Scene();
  const ends: ((value: unknown) => void)[] = [];
  const client = scene.client({ refetchTimeout: 1_000 });
  // A fetcher that does not use its signal.
  const store = client.live(() => new Promise((resolve) => ends.push(resolve)), {
    stamp: () => ({ epoch: "", versions: {} }),
  });
  const seen: string[] = [];
  store.subscribe(({ data, state }) => seen.push(`${state} ${data ?? "-"}`));
  await scene.clock.advance(2_000);
  assert.equal(ends.length, 2);
  ends[1]!("new");
  await scene.clock.advance(0);
  assert.equal(seen.at(-1), "live new");
  ends[0]!("old");
  await scene.clock.advance(0);
  assert.deepEqual([seen.at(-1), store.getSnapshot().error], ["live new", undefined]);
  store.refresh();
  await scene.clock.advance(0);
  const { length } = seen;
  client.close();
  ends[2]!("newer");
  await scene.clock.advance(1_000);
  assert.deepEqual(seen.slice(length), []);
});

for (const keepPrevious of [true, false]) {
  test(`live() fetches when a subscriber comes after the last one left with a fetch that failed, keepPrevious ${keepPrevious}`, async () => {
    await using scene = new Scene();
    const { application, store, seen, listener } = await setUp(scene, { keepPrevious });
    const stop = store.subscribe(listener);
    await scene.clock.advance(1_000);
    application.isDown = true;
    store.refresh();
    await scene.clock.advance(0);
    stop();
    application.isDown = false;
    store.subscribe(listener);
    await scene.clock.advance(1_000);
    assert.equal(seen.at(-1), "live 1");
  });
}
