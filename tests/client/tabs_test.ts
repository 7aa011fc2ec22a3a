import assert from "node:assert/strict";
import type { ClientOptions, DataStamp, KeyChange, RealityClient } from "../../client/mod.ts";
// Loaded before the fake clock runs.
import "../../client/tabs.ts";
import { streamsModule } from "../../src/optional_modules.ts";
import { test } from "../harness.ts";
import "../loaded_cached_sync.ts";
import { SeededRandom } from "../random.ts";
import { FakeBrowser, type FakeTab } from "./fake_browser.ts";
import { FakePage, Scene } from "./scene.ts";

/** A tab with a client that follows keys. */
interface Tab {
  readonly fake: FakeTab;
  readonly page: FakePage;
  readonly client: RealityClient;
  /** Key → the version that it was told last. */
  readonly told: Map<string, number>;
}

/** Tabs of one browser beside a server. */
class TabScene extends Scene {
  readonly browser: FakeBrowser = new FakeBrowser((ms, callback) => this.clock.after(ms, callback));
  readonly #random = new SeededRandom("tabs");
  /** How many requests wait at the server. */
  waiting = 0;

  /** Opens a tab. */
  open(keys: readonly string[] = ["a"], options: Partial<ClientOptions> = {}): Tab {
    const fake = this.browser.open();
    const page = Object.assign(new FakePage(), { tabs: fake });
    const { clock } = this;
    const client = this.client({
      page,
      // Each tab draws other numbers.
      clock: {
        now: () => clock.now(),
        elapsed: () => clock.elapsed(),
        after: (ms, callback) => clock.after(ms, callback),
        random: () => this.#random.next(),
      },
      ...(!options.headers && { tabs: true }),
      fetch: async (url, init) => {
        const isWait = init!.body ? JSON.parse(String(init!.body)).wait > 0 : /&w=/.test(String(url));
        if (isWait) this.waiting++;
        try {
          return await this.fetch(url, init);
        } finally {
          if (isWait) this.waiting--;
        }
      },
      ...options,
    });
    const told = new Map<string, number>();
    const listener = (changed: ReadonlyMap<string, KeyChange>) => {
      for (const { key, version } of changed.values()) told.set(key, version);
    };
    client.follow(keys, listener);
    return { fake, page, client, told };
  }

  /** Opens so many tabs, and waits until they share. */
  async openAll(count: number, keys?: (i: number) => readonly string[]): Promise<Tab[]> {
    const tabs = Array.from({ length: count }, (_, i) => this.open(keys?.(i)));
    await this.settle();
    return tabs;
  }

  /** Lets time pass that is enough to elect a leader, but not for a wait to end. */
  async settle(ms = 1_000): Promise<void> {
    await this.clock.advance(ms);
  }
}

test("seven tabs share one request, and each is told what changes", async () => {
  await using scene = new TabScene();
  const tabs = await scene.openAll(7, (i) => ["a", `own ${i}`]);
  assert.equal(scene.waiting, 1);
  for (const [i, { client, told }] of tabs.entries()) {
    assert.equal(client.state, "live");
    assert.deepEqual([...told], [["a", 0], [`own ${i}`, 0]]);
  }
  const sent = scene.sent.length;
  await scene.server.updateNode("a", "1");
  await scene.settle(50);
  for (const { told } of tabs) assert.equal(told.get("a"), 1);
  await scene.server.updateNode("own 6", "1");
  await scene.settle(200);
  assert.deepEqual(tabs.map(({ told }) => [...told.values()].at(-1)), [0, 0, 0, 0, 0, 0, 2]);
  assert.equal(scene.waiting, 1);
  assert.ok(scene.sent.length - sent <= 5, `${scene.sent.length - sent} requests`);
});

const ENDS: Record<string, (tab: Tab) => void> = {
  "is closed": ({ client }) => client.close(),
  "crashes": ({ fake, client }) => {
    fake.crash();
    client.close();
  },
  "is hidden": ({ page }) => page.become("hidden"),
};

for (const [name, end] of Object.entries(ENDS)) {
  test(`another tab leads at once when the leader ${name}`, async () => {
    await using scene = new TabScene();
    const tabs = await scene.openAll(3);
    const leader = tabs.find(({ fake }) => fake === scene.browser.leader)!;
    end(leader);
    await scene.settle(50);
    assert.equal(scene.waiting, 1);
    await scene.server.updateNode("a", "1");
    await scene.settle(50);
    for (const tab of tabs) if (tab !== leader) assert.equal(tab.told.get("a"), 1);
    await scene.settle(60_000);
    assert.equal(scene.waiting, 1);
  });
}

test("tabs of a leader that hangs are told after its wait at the latest, and then share again", async () => {
  await using scene = new TabScene();
  const tabs = await scene.openAll(3);
  const leader = tabs.find(({ fake }) => fake === scene.browser.leader)!;
  const others = tabs.filter((tab) => tab !== leader);
  leader.fake.hang();
  await scene.settle(21_000);
  await scene.server.updateNode("a", "1");
  await scene.settle(2_500);
  for (const { told } of others) assert.equal(told.get("a"), 1);
  await scene.settle(21_000);
  // The one of the leader, and one for the others.
  assert.equal(scene.waiting, 2);
});

test("a tab that follows another key is told of it soon, and drops it when it stops", async () => {
  await using scene = new TabScene();
  const tabs = await scene.openAll(2);
  const follower = tabs.find(({ fake }) => fake !== scene.browser.leader)!;
  const versions: number[] = [];
  const stop = follower.client.follow(["b"], (changed) => versions.push(changed.get("b")!.version));
  await scene.settle(500);
  assert.equal(scene.waiting, 1);
  assert.deepEqual(scene.questions.at(-1), { a: 0, b: 0 });
  await scene.server.updateNode("b", "1");
  await scene.settle(500);
  assert.deepEqual(versions, [0, 1]);
  stop();
  await scene.settle(500);
  assert.deepEqual(scene.questions.at(-1), { a: 0 });
});

for (const count of [2, 3]) {
  test(`of ${count} tabs, the keys of one that crashed are asked for three waits at most`, async () => {
    await using scene = new TabScene();
    const tabs = await scene.openAll(count, (i) => [`own ${i}`]);
    const crashed = tabs.findIndex(({ fake }) => fake !== scene.browser.leader);
    ENDS.crashes!(tabs[crashed]!);
    await scene.settle(62_000);
    assert.deepEqual(
      Object.keys(scene.questions.at(-1)!).sort(),
      ["own 0", "own 1", "own 2"].filter((_, i) => i < count && i !== crashed),
    );
  });
}

test("a tab whose leader is refused asks by itself", async () => {
  await using scene = new TabScene();
  const tabs = await scene.openAll(2);
  const leader = tabs.find(({ fake }) => fake === scene.browser.leader)!;
  const follower = tabs.find((tab) => tab !== leader)!;
  scene.intercept = () => new Response(null, { status: 503, headers: { "retry-after": "1" } });
  await scene.settle(20_000);
  assert.equal(leader.client.state, "retrying");
  assert.equal(follower.client.state, "retrying");
  scene.intercept = () => undefined;
  await scene.server.updateNode("a", "1");
  await scene.settle(5_000);
  for (const { client, told } of tabs) {
    assert.equal(client.state, "live");
    assert.equal(told.get("a"), 1);
  }
  assert.equal(scene.waiting, 1);
});

test("tabs are told soon although the request of a leader fails before it closes, as it does on a reload", async () => {
  await using scene = new TabScene();
  let fail = (_: Error) => {};
  scene.intercept = ({ body }) =>
    body.wait > 0 ? new Promise<Response>((_, reject) => fail = reject) : undefined;
  const tabs = await scene.openAll(3);
  const leader = tabs.find(({ fake }) => fake === scene.browser.leader)!;
  scene.intercept = () => undefined;
  fail(new TypeError("Failed to fetch"));
  await scene.settle(10);
  leader.fake.crash();
  await scene.settle(200);
  await scene.server.updateNode("a", "1");
  await scene.settle(200);
  for (const { told } of tabs.filter((tab) => tab !== leader)) assert.equal(told.get("a"), 1);
});

test("tabs with other URLs, or headers, or another user do not share", async () => {
  await using scene = new TabScene();
  scene.open();
  scene.open(["a"], { url: "http://localhost/reality/v1/.." });
  scene.open(["a"], { headers: { "x-user": "1" } });
  scene.open(["a"], { headers: { "x-user": "1" }, tabs: "user 1" });
  scene.open(["a"], { headers: { "x-user": "2" }, tabs: "user 2" });
  scene.open(["a"], { tabs: false });
  await scene.settle();
  assert.equal(scene.waiting, 6);
  scene.open(["a"], { headers: { "x-user": "2" }, tabs: "user 2" });
  await scene.settle();
  assert.equal(scene.waiting, 6);
});

test("tabs that read events share one stream", async () => {
  // The server loads it when it is used. Reading a file takes real time.
  await streamsModule.load();
  await using scene = new TabScene();
  const tabs = [1, 2, 3].map(() => scene.open(["a"], { transport: "events", fetch: scene.fetch }));
  await scene.settle();
  await scene.settle();
  assert.equal(
    scene.sent.filter(({ path, signal }) => path.includes("/events") && !signal.aborted).length,
    1,
  );
  await scene.server.updateNode("a", "1");
  await scene.settle(200);
  for (const { told } of tabs) assert.equal(told.get("a"), 1);
});

test("closed tabs leave no lock, channel and timer", async () => {
  await using scene = new TabScene();
  const tabs = await scene.openAll(3);
  for (const { client } of tabs) client.close();
  await scene.settle(10);
  assert.equal(scene.browser.locks.size, 0);
  assert.equal(scene.browser.channels.size, 0);
  assert.equal(scene.clock.timers, 0);
});

test("public: true: one tab asks by GET for all, and by POST after a fault", async () => {
  await using scene = new TabScene();
  const tabs = [scene.open(["a"], { public: true }), scene.open(["b"], { public: true })];
  await scene.clock.advance(5_000);
  assert.equal(scene.waiting, 1);
  assert.match(scene.sent.at(-1)!.path, /k=a:0&k=b:0&w=20$/);
  await scene.server.updateNode("b", "1");
  await scene.clock.advance(100);
  assert.equal(tabs[1]!.told.get("b"), 1);
  assert.deepEqual(new Set(scene.sent.map(({ method }) => method)), new Set(["GET"]));
  scene.intercept = ({ method }) => method === "GET" ? new Response("<html>") : undefined;
  for (const [tab, key] of [[0, "a"], [1, "b"]] as const) {
    await scene.server.updateNode(key, "2");
    await scene.clock.advance(1_000);
    assert.equal(tabs[tab]!.told.get(key), (await scene.server.getNode(key))!.version);
  }
  assert.equal(scene.waiting, 1);
  assert.equal(scene.sent.at(-1)!.method, "POST");
});

// A leader that is asked for a key that is not public asks by POST for good, and no cache answers its tabs any more.
test("a client with public: true and one without do not share", async () => {
  await using scene = new TabScene();
  const keys = ["a", "private:a", "b", "private:b"];
  const tabs = keys.map((key) => scene.open([key], { public: !key.startsWith("private:") }));
  await scene.clock.advance(60_000);
  assert.equal(scene.waiting, 2);
  const before = scene.sent.length;
  for (const [i, key] of keys.entries()) {
    const { version } = await scene.server.updateNode(key, "1");
    await scene.clock.advance(3_000);
    assert.equal(tabs[i]!.told.get(key), version);
  }
  const questions = scene.sent.slice(before).map(({ method, path, body }) =>
    body ? `${method} ${Object.keys(body.known)}` : `${method} ${path.match(/(?<=&k=)\w+/g)}`
  );
  assert.deepEqual(new Set(questions), new Set(["GET a,b", "POST private:a,private:b"]));
});

test("each tab gets on after a server has lost a change that a stamp names", async () => {
  await using scene = new TabScene();
  const { server } = scene;
  await server.invalidateMany(["a", "b"]);
  const tabs = await scene.openAll(2, () => ["a", "b"]);
  let isAhead = false;
  let written = 0;
  const stores = tabs.map(({ client }) =>
    client.live<number>(async () => {
      const { epoch, versions } = (await server.stamp(["a", "b"])).toJSON();
      return { data: written, stamp: { epoch, versions: isAhead ? { ...versions, a: 1_000 } : versions } };
    }, {
      select: ({ data }: { data: number }) => data,
      stamp: ({ stamp }: { stamp: DataStamp }) => stamp,
    })
  );
  const stops = stores.map((store) => store.subscribe(() => {}));
  await scene.clock.advance(10_000);
  // Another server has a change of "a" that no third one gets.
  for (isAhead of [true, false]) {
    written++;
    await server.invalidate("b");
    await scene.clock.advance(30_000);
  }
  assert.deepEqual(stores.map((store) => store.getSnapshot().data), [2, 2]);
  for (const stop of stops) stop();
});
