import assert from "node:assert/strict";
import { holdCrypto, SeededRandom } from "./random.ts";
import { test } from "./harness.ts";
import { CALM, FakeNetwork, type NetworkFaults } from "./network.ts";
import { MachineClock, settleAll, SimClock } from "./sim_clock.ts";

/** A network with a server that counts what it handles, and a client beside it. */
function setUp(faults: Partial<NetworkFaults> = {}) {
  const clock = new SimClock();
  const network = new FakeNetwork(clock, new SeededRandom(1));
  network.faults = { ...CALM, ...faults };
  const handled: string[] = [];
  const server = network.join("server");
  server.listen(async (request) => {
    handled.push(await request.text());
    return new Response(`heard ${handled.length}`, { status: 201 });
  });
  const client = network.join("client");
  const ask = (body: string, signal?: AbortSignal): Promise<string> => {
    const request = new Request("http://server/x", { method: "POST", body, signal: signal ?? null });
    return client.fetch(request).then(
      async (response) => `${response.status} ${await response.text()}`,
      (error) => `failed: ${error.message}`,
    );
  };
  const pass = async (ms: number) => {
    const until = clock.now() + ms;
    await settleAll(() => false);
    while (clock.step(until)) await settleAll(() => false);
  };
  /** The result of a promise so far; undefined while it is pending. */
  const after = async <T>(ms: number, promise: Promise<T>): Promise<T | undefined> => {
    let found: T | undefined;
    void promise.then((value) => found = value);
    await pass(ms);
    return found;
  };
  return { network, handled, server, client, ask, after };
}

test("FakeNetwork delivers a request and its answer", async () => {
  const { ask, after, handled, network } = setUp();
  assert.equal(await after(10, ask("hello")), "201 heard 1");
  assert.deepEqual(handled, ["hello"]);
  assert.equal(network.requests, 1);
  assert.equal(network.bytes, "hello".length + "heard 1".length);
});

test("FakeNetwork leaves a lost request without an answer until its sender aborts it", async () => {
  const { ask, after, handled } = setUp({ requestLoss: 1 });
  const controller = new AbortController();
  const answer = ask("hello", controller.signal);
  assert.equal(await after(30_000, answer), undefined);
  controller.abort(new Error("enough"));
  assert.equal(await answer, "failed: enough");
  assert.deepEqual(handled, []);
});

test("FakeNetwork loses an answer after the request was handled", async () => {
  const { ask, after, handled } = setUp({ answerLoss: 1 });
  assert.equal(await after(30_000, ask("hello")), undefined);
  assert.deepEqual(handled, ["hello"]);
});

test("FakeNetwork can deliver a request twice and its answer once", async () => {
  const { ask, after, handled } = setUp({ duplication: 1 });
  assert.match(await after(30, ask("hello")) ?? "", /^201 heard [12]$/);
  assert.deepEqual(handled, ["hello", "hello"]);
});

test("FakeNetwork lets a later request overtake an earlier one", async () => {
  const { ask, after, handled } = setUp({ delay: [1, 500] });
  const bodies = ["a", "b", "c", "d", "e", "f"];
  await after(2000, Promise.all(bodies.map((body) => ask(body))));
  assert.deepEqual([...handled].sort(), bodies);
  assert.notDeepEqual(handled, bodies);
});

test("FakeNetwork can cut one direction only", async () => {
  const { ask, after, handled, network } = setUp();
  network.cut("server", "client");
  assert.equal(await after(1000, ask("unanswered")), undefined);
  network.mend();
  network.cut("client", "server");
  assert.equal(await after(1000, ask("unheard")), undefined);
  network.mend();
  assert.equal(await after(1000, ask("again")), "201 heard 2");
  assert.deepEqual(handled, ["unanswered", "again"]);
});

test("FakeNetwork refuses connections to a stopped server, and records unknown hosts", async () => {
  const { ask, after, server, client, network } = setUp();
  server.leave();
  assert.equal(await after(10, ask("hello")), "failed: Cannot fetch: connection refused");
  assert.deepEqual([...network.strays], []);
  void client.fetch(new Request("http://stranger/")).catch(() => {});
  await after(10, Promise.resolve());
  assert.deepEqual([...network.strays], ["stranger"]);
});

test("SimClock calls back in order of time, and at the same time in order of registration", () => {
  const [clock, calls] = [new SimClock(0), [] as string[]];
  clock.after(20, () => calls.push("c"));
  const cancel = clock.after(15, () => calls.push("never"));
  clock.after(10, () => calls.push("a"));
  clock.after(10, () => calls.push("b"));
  cancel();
  assert.equal(clock.timers, 3);
  while (clock.step(15));
  assert.deepEqual(calls, ["a", "b"]);
  assert.equal(clock.now(), 15);
  while (clock.step(100));
  assert.deepEqual([calls, clock.now(), clock.timers], [["a", "b", "c"], 100, 0]);
});

test("MachineClock differs by its skew, and sets no timer after it has stopped", () => {
  const world = new SimClock(1000);
  const clock = new MachineClock(world, new SeededRandom(1), -300);
  assert.equal(clock.now(), 700);
  let calls = 0;
  clock.after(5, () => calls++);
  assert.equal(clock.timers, 1);
  clock.stop();
  clock.after(5, () => calls++);
  while (world.step(2000));
  assert.deepEqual([calls, clock.timers, world.timers], [0, 0, 0]);
});

test("holdCrypto() draws the same values from the same seed, and restores the runtime's own", async () => {
  const draw = async () => {
    const held = holdCrypto(new SeededRandom("seed"), false);
    try {
      const key = await crypto.subtle.importKey(
        "raw",
        new Uint8Array(32),
        { name: "HMAC", hash: "SHA-256" },
        false,
        [
          "sign",
        ],
      );
      const signed = crypto.subtle.sign("HMAC", key, new Uint8Array(3));
      assert.equal(held.pending, 1);
      await signed;
      assert.equal(held.pending, 0);
      return [...crypto.getRandomValues(new Uint8Array(16)), Math.random()];
    } finally {
      held.restore();
    }
  };
  const own = crypto.subtle;
  assert.deepEqual(await draw(), await draw());
  assert.equal(crypto.subtle, own);
  assert.notDeepEqual([...crypto.getRandomValues(new Uint8Array(16))], [
    ...crypto.getRandomValues(new Uint8Array(16)),
  ]);
});
