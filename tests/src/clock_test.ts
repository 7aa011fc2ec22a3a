/**
 * The date is set forward and back by an hour while something is running. All durations, intervals and delays stay
 * the same.
 */
import "../loaded_mesh.ts";
import { deepEqual, equal, ok } from "node:assert/strict";
import { systemClock } from "../../src/clock.ts";
import { RealityServer } from "../../src/server.ts";
import { HEARTBEAT } from "../../src/sse/frame.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { HeldStorage, HistoryStorage } from "../storages.ts";

const HOUR = 3_600_000;

test("elapsed() never goes back, and now() is the date of the runtime", async () => {
  const { now } = Date;
  const before = systemClock.elapsed();
  try {
    Date.now = () => now() - HOUR;
    ok(systemClock.now() < now() - HOUR / 2);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const passed = systemClock.elapsed() - before;
    ok(passed >= 15 && passed < HOUR / 2, `${passed} ms have passed`);
  } finally {
    Date.now = now;
  }
});

for (const by of [-HOUR, HOUR]) {
  const direction = by < 0 ? "back" : "forward";

  test(`a wait keeps its duration when the date is set ${direction}`, async () => {
    const clock = new FakeClock();
    const server = new RealityServer({ storage: new HistoryStorage(), clock });
    const answers: number[] = [];
    void server.handleSync({ known: { b: 0 }, wait: 2_000 }).then(({ serverTime }) =>
      answers.push(serverTime)
    );
    await clock.advance(1_000);
    clock.jump(by);
    await clock.advance(999);
    equal(answers.length, 0);
    await clock.advance(1);
    equal(answers[0], clock.now());
    // A client that is woken without a change waits for the rest of its time.
    void server.handleSync({ known: { b: 0 }, wait: 2_000 }).then(({ serverTime }) =>
      answers.push(serverTime)
    );
    await clock.advance(1_000);
    clock.jump(-by);
    await server.updateNode("b", "1");
    await server.deleteNode("b");
    await clock.advance(999);
    equal(answers.length, 1);
    await clock.advance(1);
    equal(answers.length, 2);
    await server.close();
    equal(clock.timers, 0);
  });

  test(`heartbeats are sent and a stream ends on time when the date is set ${direction}`, async () => {
    const clock = new FakeClock();
    const server = new RealityServer({ storage: new MemoryStorage(), clock });
    const response = await server.handleSSECompat(new Request("http://localhost/"), {
      keys: ["a"],
      heartbeatInterval: 1_000,
      lifetime: 2_500,
    });
    const reader = response.body!.getReader();
    const texts: string[] = [];
    const read = async () => {
      for await (const chunk of readAll(reader)) texts.push(new TextDecoder().decode(chunk));
    };
    const reading = read();
    await clock.advance(100);
    equal(texts.length, 1);
    clock.jump(by);
    await clock.advance(900);
    deepEqual(texts.slice(1), [HEARTBEAT]);
    clock.jump(-by);
    await clock.advance(1_500);
    await reading;
    equal(texts.filter((text) => text === HEARTBEAT).length, 2);
    await server.close();
  });

  test(`storageTimeout and reported durations stay correct when the date is set ${direction}`, async () => {
    const clock = new FakeClock();
    const storage = new HeldStorage();
    const events: { type: string; ms?: number }[] = [];
    const server = new RealityServer({
      storage,
      clock,
      storageTimeout: 1_000,
      onEvent: (event) => events.push(event as { type: string; ms?: number }),
    });
    storage.hold();
    let refused = false;
    server.updateNode("a", "1").catch(() => refused = true);
    await clock.advance(400);
    clock.jump(by);
    await clock.advance(599);
    equal(refused, false);
    await clock.advance(1);
    equal(refused, true);
    deepEqual(events.filter(({ type }) => type === "change").map(({ ms }) => ms), [1_000]);
    storage.pass();
    equal((await server.getStats()).uptime, 1_000);
    await server.close();
  });

  test(`a rate limit stays the same when the date is set ${direction}`, async () => {
    const clock = new FakeClock();
    const server = new RealityServer({
      storage: new MemoryStorage(),
      clock,
      rateLimit: { limit: 2, window: 10_000, key: () => "one" },
    });
    const handler = server.getFetchHandler();
    const ask = async () => {
      const body = JSON.stringify({ known: {} });
      const headers = { "content-type": "application/json" };
      return (await handler(
        new Request("http://localhost/reality/sync", { method: "POST", headers, body }),
      )).status;
    };
    deepEqual([await ask(), await ask(), await ask()], [200, 200, 429]);
    clock.jump(by);
    equal(await ask(), 429);
    await clock.advance(5_000);
    deepEqual([await ask(), await ask()], [200, 429]);
    await server.close();
  });

  test(`a failed peer is tried again after the same delay when the date is set ${direction}`, async () => {
    const clock = new FakeClock();
    let tries = 0;
    const server = new RealityServer({
      storage: new MemoryStorage(),
      clock,
      meshPeers: ["http://peer"],
      meshSecret: "nobody else knows this one",
      mesh: {
        fetch() {
          tries++;
          return Promise.reject(new Error("away"));
        },
      },
    });
    await server.updateNode("a", "1");
    await settle();
    equal(tries, 1);
    clock.jump(by);
    await clock.advance(100);
    equal(tries, 1);
    await clock.advance(900);
    ok(tries > 1 && tries < 6, `${tries} tries`);
    equal((await server.getStats()).mesh?.peers[0]?.lag, 1_000);
    await server.close();
  });
}

async function* readAll(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}
