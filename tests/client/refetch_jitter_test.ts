import assert from "node:assert/strict";
import type { DataStamp, RealityClient } from "../../client/mod.ts";
// Loaded before the fake clock runs.
import "../../client/tabs.ts";
import { test } from "../harness.ts";
import { SeededRandom } from "../random.ts";
import { FakeBrowser } from "./fake_browser.ts";
import { FakePage, Fetches, Scene } from "./scene.ts";

const JITTER = 10_000;

/** Longer than a new subscription, `nudge()` and a page that is shown again fetch without a delay. */
const SETTLED = 6_000;

/** A client with the option, whose subscription to "a" is told of changes with a delay from now on. */
async function setUp(
  scene: Scene,
  keys: readonly string[] = ["a"],
): Promise<{ client: RealityClient; fetches: Fetches; stop: () => void }> {
  const client = scene.client({ refetchJitter: JITTER });
  const fetches = new Fetches();
  const stop = client.follow(keys, fetches.listener);
  await scene.clock.advance(10);
  assert.equal(fetches.calls.length, 1, "the first call is not delayed");
  fetches.done();
  await scene.clock.advance(SETTLED);
  scene.clock.randomValue = 0.5;
  return { client, fetches, stop };
}

test("refetchJitter delays a change by a random part of the time", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene);
  for (const [i, random] of [0.5, 0.25, 0.999].entries()) {
    scene.clock.randomValue = random;
    await scene.server.updateNode("a", `${i}`);
    await scene.clock.advance(random * JITTER - 1);
    assert.equal(fetches.calls.length, 1 + i);
    await scene.clock.advance(2);
    assert.equal(fetches.calls.length, 2 + i);
    fetches.done();
    await scene.clock.advance(0);
  }
});

test("refetchJitter spreads the fetches of many clients evenly over the time", async () => {
  await using scene = new Scene();
  const seed = `${Math.random()}`;
  const random = new SeededRandom(seed);
  const at: number[] = [];
  const { clock } = scene;
  for (let i = 0; i < 400; i++) {
    scene.client({
      refetchJitter: JITTER,
      clock: {
        now: () => clock.now(),
        elapsed: () => clock.elapsed(),
        after: (ms, callback) => clock.after(ms, callback),
        random: () => random.next(),
      },
    }).follow(["a"], () => at.push(clock.elapsed()));
  }
  await clock.advance(SETTLED);
  at.length = 0;
  const toldAt = clock.elapsed();
  await scene.server.updateNode("a", "1");
  await clock.advance(JITTER);
  assert.equal(at.length, 400);
  const fifths = [0, 0, 0, 0, 0];
  for (const time of at) fifths[Math.floor((time - toldAt) / JITTER * 5)]!++;
  // 80 are expected, with a standard deviation of 8.
  for (const count of fifths) assert.ok(count > 32 && count < 128, `${fifths}, seed ${seed}`);
});

test("refetchJitter makes one fetch of the changes within the delay, with the last versions", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene, ["a", "b"]);
  for (const [key, hash] of [["a", "1"], ["b", "1"], ["a", "2"]] as const) {
    await scene.server.updateNode(key, hash);
    await scene.clock.advance(1_000);
  }
  assert.equal(fetches.calls.length, 1);
  await scene.clock.advance(2_000);
  assert.deepEqual(fetches.versions[1], { a: 3, b: 2 });
  fetches.done();
  await scene.clock.advance(60_000);
  assert.equal(fetches.calls.length, 2);
});

test("refetchJitter counts from a change that is told during a fetch, and the fetch comes after it", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene);
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(5_000);
  assert.equal(fetches.calls.length, 2);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(2_000);
  fetches.done();
  await scene.clock.advance(2_999);
  assert.equal(fetches.calls.length, 2);
  await scene.clock.advance(1);
  assert.deepEqual(fetches.versions[2], { a: 2 });
  await scene.server.updateNode("a", "3");
  await scene.clock.advance(8_000);
  assert.equal(fetches.calls.length, 3);
  fetches.done();
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions[3], { a: 3 });
});

test("refetchJitter is not added to the pause after a failed fetch", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene, ["a", "b"]);
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(5_000);
  await scene.server.updateNode("b", "1");
  await scene.clock.advance(100);
  fetches.fail();
  await scene.clock.advance(500);
  assert.deepEqual(fetches.versions.slice(1), [{ a: 1 }, { b: 2, a: 1 }]);
});

test("refetchJitter does not delay what is told soon after nudge(), nor what waits then", async () => {
  await using scene = new Scene();
  const { client, fetches } = await setUp(scene);
  // The change of the page's own write is told before the write is answered.
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(50);
  assert.equal(fetches.calls.length, 1);
  client.nudge();
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions[1], { a: 1 });
  fetches.done();
  // It is told by another server some time later.
  await scene.clock.advance(2_000);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions[2], { a: 2 });
  fetches.done();
  await scene.clock.advance(SETTLED);
  await scene.server.updateNode("a", "3");
  await scene.clock.advance(4_999);
  assert.equal(fetches.calls.length, 3);
  await scene.clock.advance(1_000);
  assert.equal(fetches.calls.length, 4);
});

test("refetchJitter: a page that is hidden during the delay fetches at once when it is shown", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene);
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(50);
  scene.page.become("hidden");
  await scene.clock.advance(60_000);
  assert.equal(fetches.calls.length, 1);
  assert.equal(scene.clock.timers, 0);
  scene.page.become("active");
  await scene.clock.advance(0);
  assert.deepEqual(fetches.versions[1], { a: 1 });
  fetches.done();
  scene.page.become("hidden");
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(60_000);
  scene.page.become("active");
  await scene.clock.advance(10);
  assert.deepEqual(fetches.versions[2], { a: 2 });
});

for (const end of ["stop", "close"] as const) {
  test(`refetchJitter: ${end}() during the delay leaves no timer, and nothing is fetched`, async () => {
    await using scene = new Scene();
    const { client, fetches, stop } = await setUp(scene);
    await scene.server.updateNode("a", "1");
    await scene.clock.advance(50);
    if (end === "stop") stop();
    else client.close();
    await scene.clock.advance(30_000);
    assert.equal(scene.clock.timers, 0);
    assert.equal(fetches.calls.length, 1);
  });
}

test("refetchJitter delays what a server with lost data tells", async () => {
  await using scene = new Scene();
  const { fetches } = await setUp(scene);
  let answeredAt = 0;
  scene.intercept = () => {
    if (answeredAt > 0) return new Promise(() => {});
    answeredAt = scene.clock.elapsed();
    return Response.json({ changed: { a: { version: 1, hash: "", updatedAt: 0 } }, epoch: "other" });
  };
  while (answeredAt === 0) await scene.clock.advance(100);
  await scene.clock.advance(answeredAt + 4_990 - scene.clock.elapsed());
  assert.equal(fetches.calls.length, 1);
  await scene.clock.advance(20);
  assert.deepEqual(fetches.versions[1], { a: 1 });
});

test("refetchJitter: live() fetches its first data and refresh() at once, and a change with a delay", async () => {
  await using scene = new Scene();
  let loads = 0;
  const store = scene.client({ refetchJitter: JITTER }).live(async () => {
    loads++;
    const { epoch, changed } = await scene.server.handleSync({ known: { a: 0 } });
    return { epoch, versions: { a: changed["a"]?.version ?? 0 } };
  }, { stamp: (stamp: DataStamp) => stamp });
  store.subscribe(() => {});
  await scene.clock.advance(SETTLED);
  assert.equal(loads, 1);
  scene.clock.randomValue = 0.5;
  await scene.server.updateNode("a", "1");
  await scene.clock.advance(4_000);
  assert.deepEqual([loads, store.getSnapshot().state], [1, "live"]);
  store.refresh();
  await scene.clock.advance(0);
  assert.equal(loads, 2);
  // It has fetched the change as well.
  await scene.clock.advance(60_000);
  assert.equal(loads, 2);
  await scene.server.updateNode("a", "2");
  await scene.clock.advance(5_010);
  assert.equal(loads, 3);
});

test("refetchJitter is added once for a tab whose leader asks for it", async () => {
  await using scene = new Scene();
  const browser = new FakeBrowser((ms, callback) => scene.clock.after(ms, callback));
  const told: number[][] = [];
  for (let i = 0; i < 3; i++) {
    const own: number[] = [];
    told.push(own);
    const page = Object.assign(new FakePage(), { tabs: browser.open() });
    const { clock } = scene;
    const random = new SeededRandom(`tab ${i}`);
    scene.client({
      page,
      tabs: true,
      refetchJitter: JITTER,
      clock: {
        now: () => clock.now(),
        elapsed: () => clock.elapsed(),
        after: (ms, callback) => clock.after(ms, callback),
        random: () => random.next(),
      },
    }).follow(["a"], () => own.push(clock.elapsed()));
  }
  await scene.clock.advance(SETTLED);
  for (let i = 0; i < 20; i++) {
    for (const own of told) own.length = 0;
    await scene.server.updateNode("a", `${i}`);
    await scene.clock.advance(JITTER + 100);
    assert.deepEqual(told.map(({ length }) => length), [1, 1, 1]);
  }
});

test("createClient() refuses a refetchJitter that no timer can have", () => {
  const scene = new Scene();
  for (const refetchJitter of [-1, NaN, 2 ** 31]) {
    assert.throws(() => scene.client({ refetchJitter }), RangeError);
  }
});
