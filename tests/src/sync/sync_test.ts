import { deepEqual, equal, rejects } from "node:assert/strict";
import { RealityServer } from "../../../src/server.ts";
import type { SyncRequest, SyncResponse } from "../../../src/types.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { HeldStorage } from "../../storages.ts";

function setUp(limits = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const server = new RealityServer({ storage, clock, limits });
  return { clock, storage, server };
}

/** A running sync: whether it has been answered, and its answer. */
function begin(server: RealityServer, request: SyncRequest, signal?: AbortSignal) {
  const sync = {
    answered: false,
    answer: server.handleSync(request, signal ? { signal } : {}).finally(() => sync.answered = true),
  };
  sync.answer.catch(() => {});
  return sync;
}

function versions({ changed }: SyncResponse): Record<string, number> {
  return Object.fromEntries(Object.values(changed).map((meta) => [meta.key, meta.version]));
}

test("handleSync() returns changes, the highest version, the epoch and the time", async () => {
  const { clock, storage, server } = setUp();
  await server.updateNode("a", "ha");
  await server.updateNode("b", "hb");
  const response = await server.handleSync({ known: { a: 1, b: 1, c: 0 } });
  const { epoch } = await storage.getIdentity();
  deepEqual({ ...response, changed: { ...response.changed } }, {
    changed: { b: { key: "b", version: 2, hash: "hb", updatedAt: clock.now() } },
    mesh: { peers: [], serverVersion: 2 },
    epoch,
    serverTime: clock.now(),
  });
});

test("handleSync() answers clients of the 1.x line with peers as an object", async () => {
  const { server } = setUp();
  const legacy = { known: {}, clientId: "6e9b8b4c", mode: "native", hint: "focus" };
  deepEqual((await server.handleSync(legacy)).mesh.peers, {});
  deepEqual((await server.handleSync({ known: {}, clientId: "6e9b8b4c" })).mesh.peers, []);
});

test("handleSync() reports everything to a client from another epoch", async () => {
  const { server } = setUp();
  await server.updateNode("a", "ha");
  deepEqual(versions(await server.handleSync({ known: { a: 1, gone: 3, never: 0 }, epoch: "older" })), {
    a: 1,
    gone: 0,
  });
  const { epoch } = await server.handleSync({ known: {} });
  deepEqual(versions(await server.handleSync({ known: { a: 1 }, epoch })), {});
});

test("handleSync() with wait answers at once if there is a change", async () => {
  const { server } = setUp();
  await server.updateNode("a", "1");
  deepEqual(versions(await server.handleSync({ known: { a: 0 }, wait: 20_000 })), { a: 1 });
  equal((await server.getStats()).waiters, 0);
});

test("handleSync() with wait and no keys answers at once", async () => {
  const { server } = setUp();
  deepEqual(versions(await server.handleSync({ known: {}, wait: 20_000 })), {});
});

test("handleSync() with wait is answered by a change of one of its keys, and by no other", async () => {
  const { clock, server } = setUp();
  const sync = begin(server, { known: { a: 0, b: 0 }, wait: 20_000 });
  await server.updateNode("c", "1");
  await settle();
  equal(sync.answered, false);
  await server.updateNode("b", "1");
  deepEqual(versions(await sync.answer), { b: 2 });
  equal(clock.timers, 0);
});

for (
  const [what, change] of [
    ["updateNode()", (server: RealityServer) => server.updateNode("a", "2")],
    [
      "updateMany()",
      (server: RealityServer) => server.updateMany([{ key: "b", hash: "1" }, { key: "a", hash: "2" }]),
    ],
    ["invalidate()", (server: RealityServer) => server.invalidate("a")],
    ["invalidateMany()", (server: RealityServer) => server.invalidateMany(["a"])],
    ["deleteNode()", (server: RealityServer) => server.deleteNode("a")],
  ] as const
) {
  test(`handleSync() with wait is answered by ${what}`, async () => {
    const { server } = setUp();
    await server.updateNode("a", "1");
    const sync = begin(server, { known: { a: 1 }, wait: 20_000 });
    await settle();
    equal(sync.answered, false);
    await change(server);
    equal(Object.hasOwn((await sync.answer).changed, "a"), true);
  });
}

test("handleSync() misses no change that is made while it reads, before it waits", async () => {
  const { storage, server } = setUp();
  const release = storage.hold();
  const sync = begin(server, { known: { a: 0 }, wait: 20_000 });
  await settle();
  // The read has seen the storage without "a" and has not returned yet.
  equal(storage.reads.length, 1);
  const update = server.updateNode("a", "1");
  await settle();
  release();
  await update;
  deepEqual(versions(await sync.answer), { a: 1 });
});

test("handleSync() with wait ends without changes at its deadline", async () => {
  const { clock, server } = setUp();
  const sync = begin(server, { known: { a: 0 }, wait: 3_000 });
  await clock.advance(2_999);
  equal(sync.answered, false);
  await clock.advance(1);
  deepEqual(versions(await sync.answer), {});
  equal((await server.getStats()).waiters, 0);
});

test("handleSync() shortens a wait over maxWait, and each by at most a sixteenth at random", async () => {
  const { clock, server } = setUp({ maxWait: 1_600 });
  const long = begin(server, { known: { a: 0 }, wait: 1e15 });
  clock.randomValue = 0.999;
  const spread = begin(server, { known: { a: 0 }, wait: 1_600 });
  await clock.advance(1_500);
  equal(spread.answered, false);
  await clock.advance(1);
  equal(spread.answered, true);
  equal(long.answered, false);
  await clock.advance(99);
  equal(long.answered, true);
});

test("handleSync() does not wait if maxWait is 0 or no slot is free", async () => {
  deepEqual(versions(await setUp({ maxWait: 0 }).server.handleSync({ known: { a: 0 }, wait: 1000 })), {});
  const { server } = setUp({ maxWaiters: 1 });
  const first = begin(server, { known: { a: 0 }, wait: 1000 });
  await settle();
  deepEqual(versions(await server.handleSync({ known: { a: 0 }, wait: 1000 })), {});
  equal(first.answered, false);
  await server.close();
});

test("a response that is earlier than requested and has no changes contains a pause", async () => {
  const pauseOf = async (server: RealityServer, request: SyncRequest) =>
    (await server.handleSync(request)).pause;
  const none = setUp({ maxWait: 0 }).server;
  const { clock, server } = setUp({ maxWaiters: 1 });
  clock.randomValue = 0.5;
  // Without keys there is nothing to wait for.
  equal(await pauseOf(server, { known: {}, wait: 1000 }), 1_750);
  equal(await pauseOf(none, { known: { a: 0 }, wait: 1000 }), 500);
  // A client that did not want to wait chooses itself when to send the next request.
  equal(await pauseOf(none, { known: { a: 0 } }), undefined);
  equal(await pauseOf(none, { known: { a: 0 }, wait: 0 }), undefined);
  const first = begin(server, { known: { a: 0 }, wait: 1000 });
  await settle();
  equal(await pauseOf(server, { known: { a: 0 }, wait: 1000 }), 1_750);
  // There is a change.
  equal(await pauseOf(server, { known: { gone: 7 }, wait: 1000 }), undefined);
  await clock.advance(1_000);
  equal((await first.answer).pause, undefined);
  const last = begin(server, { known: { a: 0 }, wait: 1000 });
  await settle();
  await server.close();
  equal((await last.answer).pause, 1_750);
});

test("handleSync() rejects with the signal's reason and frees its slot when the client disconnects", async () => {
  const { clock, server } = setUp();
  const client = new AbortController();
  const sync = begin(server, { known: { a: 0 }, wait: 20_000 }, client.signal);
  await settle();
  equal((await server.getStats()).waiters, 1);
  client.abort(new Error("gone"));
  await rejects(sync.answer, /gone/);
  equal((await server.getStats()).waiters, 0);
  equal(clock.timers, 0);
  await rejects(server.handleSync({ known: { a: 0 }, wait: 1 }, { signal: client.signal }), /gone/);
});

test("handleSync() answers all waiting clients of a key from one read", async () => {
  const { storage, server } = setUp();
  const syncs = Array.from({ length: 1_000 }, () => begin(server, { known: { a: 0 }, wait: 20_000 }));
  await settle();
  equal((await server.getStats()).waiters, 1_000);
  const before = storage.reads.length;
  await server.updateNode("a", "1");
  const answers = await Promise.all(syncs.map((sync) => sync.answer));
  equal(answers.every((answer) => answer.changed.a?.version === 1), true);
  equal(storage.reads.length - before, 1);
});

test("handleSync() answers a waiting client at once when the server closes", async () => {
  const { clock, server } = setUp();
  const sync = begin(server, { known: { a: 0 }, wait: 20_000 });
  await settle();
  await server.close();
  deepEqual(versions(await sync.answer), {});
  equal(clock.timers, 0);
  await rejects(server.handleSync({ known: {} }), { name: "ClosedError", code: "ERR_REALITY_CLOSED" });
});

test("handleSync() rejects with a StorageError when the storage fails at the start and after a wake", async () => {
  const { storage, server } = setUp();
  const sync = begin(server, { known: { a: 0 }, wait: 20_000 });
  await settle();
  storage.failure = new Error("away");
  await rejects(server.handleSync({ known: { a: 0 } }), { code: "ERR_REALITY_STORAGE" });
  await rejects(server.updateNode("a", "1"), { code: "ERR_REALITY_STORAGE" });
  await rejects(sync.answer, { code: "ERR_REALITY_STORAGE" });
  storage.failure = undefined;
  deepEqual(versions(await server.handleSync({ known: { a: 0 } })), {});
  equal((await server.getStats()).waiters, 0);
});

test("handleSync() works with a storage that has only the eight methods", async () => {
  const server = new RealityServer({ storage: new NaiveStorage(), clock: new FakeClock() });
  const sync = begin(server, { known: { a: 0 }, wait: 20_000 });
  await settle();
  await server.updateNode("a", "1");
  deepEqual(versions(await sync.answer), { a: 1 });
  await server.deleteNode("a");
  equal((await server.handleSync({ known: { a: 1 }, epoch: "" })).changed.a?.deleted, true);
  await server.updateNode("a", "2");
  deepEqual(versions(await server.handleSync({ known: { a: 1 } })), { a: 2 });
  await server.close();
});
