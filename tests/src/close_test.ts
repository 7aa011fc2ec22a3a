import { deepEqual, equal, match } from "node:assert/strict";
import type { RealityError } from "../../src/errors.ts";
import { RealityServer, type RealityServerOptions } from "../../mod.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { HeldStorage } from "../storages.ts";

function setUp(options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const reports: RealityError[] = [];
  const onError = (error: RealityError) => void reports.push(error);
  const server = new RealityServer({ storage, clock, onError, ...options });
  return { clock, storage, server, reports };
}

/** Observes a promise without waiting for it. */
function watch<T>(promise: Promise<T>): { settled: boolean; readonly promise: Promise<T> } {
  const watched = { settled: false, promise };
  promise.finally(() => watched.settled = true).catch(() => {});
  return watched;
}

function post(path: string, body: unknown, headers: Record<string, string> = {}): Request {
  return new Request(`http://localhost${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

test("close() answers all waiting requests at once, and settles after these answers", async () => {
  const { clock, storage, server } = setUp();
  const handle = server.getFetchHandler();
  const waits = Array.from(
    { length: 3 },
    (_, i) => handle(post("/reality/sync", { known: { [`k${i}`]: 0 }, wait: 20_000 })),
  );
  await settle();
  const release = storage.hold();
  const close = watch(server.close());
  await settle();
  // The answer contains all changes until this moment, so the requests read once more.
  equal(close.settled, false);
  release();
  await close.promise;
  for (const wait of waits) {
    const response = await wait;
    equal(response.status, 200);
    // The client has to connect again, to another server.
    equal(response.headers.get("connection"), "close");
    deepEqual((await response.json()).changed, {});
  }
  equal((await server.getStats()).waiters, 0);
  equal(clock.timers, 0);
});

test("close() ends streams with a random retry delay", async () => {
  const pauses: number[] = [];
  for (const chance of [0, 0.5, 0.99]) {
    const { clock, server } = setUp();
    clock.randomValue = chance;
    const response = await server.handleSSECompat(new Request("http://localhost/"), { keys: ["a"] });
    const reader = response.body!.getReader();
    await reader.read();
    const rest = reader.read();
    await settle();
    await server.close();
    const { value } = await rest;
    const [, pause] = /^retry: (\d+)\n\n$/.exec(new TextDecoder().decode(value)) ?? [];
    pauses.push(Number(pause));
    equal((await reader.read()).done, true);
    equal(clock.timers, 0);
  }
  deepEqual(pauses, [500, 1750, 2975]);
});

test("close() also ends a stream that is not read", async () => {
  const { clock, server } = setUp();
  const response = await server.handleSSECompat(new Request("http://localhost/"), { keys: ["a"] });
  const reader = response.body!.getReader();
  await reader.read();
  equal((await server.getStats()).streams, 1);
  await server.close();
  equal((await server.getStats()).streams, 0);
  equal(clock.timers, 0);
  match(new TextDecoder().decode((await reader.read()).value), /^retry: 500\n\n$/);
  equal((await reader.read()).done, true);
});

test("close() settles after running requests are answered, and refuses bodies that still arrive", async () => {
  const { clock, storage, server } = setUp();
  const handle = server.getFetchHandler();
  const release = storage.hold();
  const reading = handle(post("/reality/sync", { known: { a: 0 } }));
  const { readable } = new TransformStream<Uint8Array>();
  const slow = handle(
    new Request("http://localhost/reality/sync", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: readable,
      duplex: "half",
    } as RequestInit),
  );
  await settle();
  const close = watch(server.close());
  equal((await slow).status, 503);
  await settle();
  equal(close.settled, false);
  release();
  await close.promise;
  equal((await reading).status, 200);
  equal(clock.timers, 0);
});

test("close() gives up after closeTimeout on a storage that does not answer, and reports it", async () => {
  const { clock, storage, server, reports } = setUp({ closeTimeout: 700 });
  const release = storage.hold();
  const update = server.updateNode("a", "1");
  await settle();
  const close = watch(server.close());
  await clock.advance(699);
  equal(close.settled, false);
  await clock.advance(1);
  await close.promise;
  equal(reports.length, 1);
  match(reports[0]!.message, /still under way after closeTimeout \(700 ms\)/);
  release();
  await update;
});

test("a request after close() is refused before its body is read, with Connection: close", async () => {
  const { server, clock } = setUp({ writeTokens: ["0123456789abcdef"] });
  const handle = server.getFetchHandler();
  await server.close();
  clock.randomValue = 0.9;
  const requests = [
    new Request("http://localhost/reality/sync", { method: "POST", body: "no JSON" }),
    post("/reality/update", { key: "a", hash: "1" }),
    post("/reality/invalidate", { keys: ["a"] }, { authorization: "Bearer 0123456789abcdef" }),
    new Request("http://localhost/reality/nodes/a", { method: "DELETE" }),
  ];
  for (const request of requests) {
    const response = await handle(request);
    equal(response.status, 503);
    equal(response.headers.get("connection"), "close");
    equal(response.headers.get("retry-after"), "5");
    equal((await response.json()).error.code, "ERR_REALITY_CLOSED");
  }
  const alive = await handle(new Request("http://localhost/reality/health"));
  equal(alive.status, 200);
  const events = await handle(new Request("http://localhost/reality/events?keys=a"));
  // An EventSource does not reconnect after a 503, but it does after the end of a stream.
  equal(events.status, 200);
  equal(events.headers.get("connection"), "close");
  match(await events.text(), /retry: \d+\n\n$/);
});
