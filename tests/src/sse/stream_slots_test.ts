/**
 * Streams without a free slot, and streams whose client does not read.
 *
 * @module
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { RealityServer } from "../../../src/server.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";

function setUp(limits = {}) {
  const clock = new FakeClock();
  clock.randomValue = 0.5;
  const server = new RealityServer({ storage: new HeldStorage(), clock, limits });
  const open = async () => {
    const options = { keys: ["a"], heartbeatInterval: 1_000 };
    const { body } = await server.handleSSECompat(new Request("http://localhost/events"), options);
    const reader = body!.getReader();
    const read = async () => {
      const { done, value } = await reader.read();
      return done ? null : new TextDecoder().decode(value);
    };
    return { read, cancel: () => reader.cancel() };
  };
  const held = async () => {
    const { streams, waiters } = await server.getStats();
    return { streams, waiters, timers: clock.timers };
  };
  return { clock, server, open, held };
}

test("a stream over maxStreams sends the current state and ends", async () => {
  const { server, open, held } = setUp({ maxStreams: 2 });
  await server.updateNode("a", "1");
  const [first, second] = [await open(), await open()];
  await first.read();
  await second.read();
  const third = await open();
  match((await third.read())!, /"hash":"1"/);
  equal(await third.read(), "retry: 1750\n\n");
  equal(await third.read(), null);
  equal((await held()).waiters, 2);
  await first.cancel();
  const fourth = await open();
  await fourth.read();
  await server.updateNode("a", "2");
  match((await fourth.read())!, /"hash":"2"/);
  await second.cancel();
  await fourth.cancel();
  deepEqual(await held(), { streams: 0, waiters: 0, timers: 0 });
});

test("with maxStreams 0 every stream sends the current state and ends, and syncs still wait", async () => {
  const { clock, server, open } = setUp({ maxStreams: 0 });
  await server.updateNode("a", "1");
  const stream = await open();
  match((await stream.read())!, /"hash":"1"/);
  equal(await stream.read(), "retry: 1750\n\n");
  const waiting = server.handleSync({ known: { b: 0 }, wait: 1_000 });
  await settle();
  equal((await server.getStats()).waiters, 1);
  await clock.advance(1_000);
  await waiting;
});

test("a stream whose client reads nothing ends after stallTimeout and frees its slot", async () => {
  const { clock, open, held } = setUp({ stallTimeout: 5_000 });
  const stream = await open();
  await stream.read();
  await clock.advance(4_999);
  deepEqual(await held(), { streams: 1, waiters: 1, timers: 1 });
  await clock.advance(1);
  deepEqual(await held(), { streams: 0, waiters: 0, timers: 0 });
  equal(await stream.read(), null);
});

test("a stream whose client reads slowly but in time stays open", async () => {
  const { clock, server, open, held } = setUp({ stallTimeout: 5_000 });
  const stream = await open();
  await stream.read();
  for (let i = 0; i < 5; i++) {
    await clock.advance(4_000);
    await server.updateNode("a", `${i}`);
    match((await stream.read())!, /update/);
  }
  equal((await held()).streams, 1);
  await stream.cancel();
  deepEqual(await held(), { streams: 0, waiters: 0, timers: 0 });
});

test("a client that waits for a change does not stall", async () => {
  const { clock, open, held } = setUp({ stallTimeout: 100 });
  const stream = await open();
  await stream.read();
  const next = stream.read();
  await clock.advance(999);
  equal((await held()).streams, 1);
  await clock.advance(1);
  equal(await next, ": heartbeat\n\n");
  await stream.cancel();
});

test("a stream that was never read does not stall", async () => {
  const { clock, open, held } = setUp({ stallTimeout: 100 });
  const stream = await open();
  await clock.advance(1_000);
  deepEqual(await held(), { streams: 0, waiters: 0, timers: 0 });
  match((await stream.read())!, /retry/);
  await stream.cancel();
});

test("close() leaves no timer of a stream that is not read, and sends it a retry delay", async () => {
  const { server, open, held } = setUp({ stallTimeout: 5_000 });
  const stream = await open();
  await stream.read();
  await server.close();
  deepEqual(await held(), { streams: 0, waiters: 0, timers: 0 });
  equal(await stream.read(), "retry: 1750\n\n");
  equal(await stream.read(), null);
  // Nor of a stream that is opened later.
  const late = await open();
  await late.read();
  equal((await held()).timers, 0);
  await late.cancel();
});
