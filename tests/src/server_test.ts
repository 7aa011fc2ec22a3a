import "../loaded_mesh.ts";
import { deepEqual, equal, notEqual, rejects } from "node:assert/strict";
import type { RealityError } from "../../src/errors.ts";
import { RealityServer } from "../../src/server.ts";
import type { SyncResponse } from "../../src/types.ts";
import { VERSION } from "../../src/version.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { HeldStorage } from "../storages.ts";
import { FakeIORedis, FakeRedis } from "./redis/fake_redis.ts";

function setUp() {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const reports: RealityError[] = [];
  const server = new RealityServer({
    storage,
    clock,
    serverId: "server-1",
    onError(error) {
      reports.push(error);
      throw new Error("an observer's mistake");
    },
  });
  return { clock, storage, server, reports };
}

test("updateNode() settles when the storage has the node, and accepts a promise of a hash", async () => {
  const { clock, storage, server } = setUp();
  await server.updateNode("a", "1");
  deepEqual(await storage.getNode("a"), { key: "a", version: 1, hash: "1", updatedAt: clock.now() });
  await server.updateNode("a", Promise.resolve("2"));
  equal((await server.getNode("a"))?.hash, "2");
});

test("updateNode() with the same hash is a change, because a state can return", async () => {
  const { server } = setUp();
  await server.updateNode("a", "1");
  await server.updateNode("a", "1");
  equal((await server.getNode("a"))?.version, 2);
});

test("updateNode() names a wrong key or hash and writes nothing", async () => {
  const { storage, server } = setUp();
  await rejects(server.updateNode(7 as unknown as string, "1"), {
    name: "TypeError",
    message: /this key: expected a string/,
  });
  await rejects(server.updateNode("", "1"), { name: "RangeError", message: /this key/ });
  await rejects(server.updateNode("a", undefined as unknown as string), {
    name: "TypeError",
    message: /this hash/,
  });
  await rejects(server.updateNode("a", "x".repeat(257)), {
    name: "RangeError",
    message: /maxHashBytes \(256\)/,
  });
  await rejects(server.updateNode("a", Promise.reject(new Error("no hash"))), /no hash/);
  await rejects(server.updateMany([{ key: "a", hash: "1" }, { key: "", hash: "1" }]), { name: "RangeError" });
  equal(storage.commits.length, 0);
});

test("updateMany() writes in one commit and returns the metas in order", async () => {
  const { storage, server } = setUp();
  const metas = await server.updateMany([{ key: "b", hash: "1" }, { key: "a", hash: "2" }]);
  deepEqual(metas.map((meta) => [meta.key, meta.version, meta.hash]), [["b", 1, "1"], ["a", 2, "2"]]);
  equal(storage.commits.length, 1);
  deepEqual(await server.updateMany([]), []);
});

test("invalidate() writes a hash that was never used before", async () => {
  const { server } = setUp();
  await server.invalidate("a");
  const first = await server.getNode("a");
  const [second] = await server.invalidateMany(["a"]);
  equal(second?.version, 2);
  notEqual(second?.hash, first?.hash);
});

test("deleteNode() deletes a node, and its version is never assigned again", async () => {
  const { server } = setUp();
  await server.updateNode("a", "1");
  await server.deleteNode("a");
  equal(await server.getNode("a"), null);
  await server.updateNode("a", "2");
  equal((await server.getNode("a"))?.version, 3);
});

test("getStats() counts past and running requests", async () => {
  const { clock, server } = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  void server.handleSync({ known: { c: 0 }, wait: 1000 });
  await settle();
  await clock.advance(500);
  const { epoch, storageReads, ...stats } = await server.getStats();
  deepEqual(stats, {
    serverId: "server-1",
    version: VERSION,
    uptime: 500,
    healthy: true,
    closing: false,
    maxVersion: 2,
    requests: 0,
    refusals: {},
    syncs: 1,
    changedKeys: 0,
    waits: 1,
    wakes: 0,
    changes: 2,
    waiters: 1,
    streams: 0,
    streamsBegun: 0,
    pendingResponses: 0,
    storageWrites: 1,
    storageFailures: 0,
    mesh: null,
    redis: null,
  });
  equal(epoch.length > 0, true);
  equal(storageReads, 2);
  await server.close();
});

test("getStats() answers also when the storage does not", async () => {
  const { storage, server } = setUp();
  storage.failure = new Error("away");
  const { healthy, maxVersion, epoch } = await server.getStats();
  deepEqual({ healthy, maxVersion, epoch }, { healthy: false, maxVersion: 0, epoch: "" });
});

test("onError is called once when the storage fails and once when it recovers, and may throw", async () => {
  const { storage, server, reports } = setUp();
  storage.failure = new Error("away");
  await rejects(server.updateNode("a", "1"), { name: "StorageError" });
  await rejects(server.handleSync({ known: {} }), { name: "StorageError" });
  equal(reports.length, 1);
  equal(reports[0]?.cause, storage.failure);
  storage.failure = undefined;
  await server.updateNode("a", "1");
  await server.updateNode("a", "2");
  deepEqual(reports.map((report) => (report as { recovered?: boolean }).recovered), [false, true]);
});

test("close() waits for running changes, refuses new ones, and does not close the storage", async () => {
  const { clock, storage, server } = setUp();
  const release = storage.hold();
  const update = server.updateNode("a", "1");
  await settle();
  let closed = false;
  const close = server.close().then(() => closed = true);
  await settle();
  equal(closed, false);
  release();
  await Promise.all([update, close, server.close()]);
  equal(clock.timers, 0);
  for (
    const call of [
      () => server.updateNode("a", "2"),
      () => server.invalidate("a"),
      () => server.deleteNode("a"),
      () => server.getNode("a"),
      () => server.handleSync({ known: {} }),
    ]
  ) await rejects(call(), { name: "ClosedError", code: "ERR_REALITY_CLOSED" });
  equal((await storage.getNode("a"))?.hash, "1");
});

test("a server is closed at the end of its block by await using", async () => {
  const { server } = setUp();
  await server[Symbol.asyncDispose]();
  await rejects(server.getNode("a"), { name: "ClosedError" });
});

test("getMeshPeers() is empty for a server without peers", async () => {
  deepEqual(await setUp().server.getMeshPeers(), []);
});

test("a change by updateNode() in memory is in every later answer, counter included, at once", async () => {
  const server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  const answers: Promise<SyncResponse>[] = [];
  for (let version = 1; version <= 3; version++) {
    answers.push(server.handleSync({ known: { a: version - 1 } }));
    void server.updateNode("a", `${version}`);
    answers.push(server.handleSync({ known: { a: version - 1 } }));
  }
  const found = (await Promise.all(answers)).map(({ changed, mesh }) =>
    `${changed.a?.version ?? "-"} of ${mesh.serverVersion}`
  );
  deepEqual(found, ["- of 0", "1 of 1", "- of 1", "2 of 2", "- of 2", "3 of 3"]);
  await server.close();
});

test("a change through one server wakes a client that waits at another one on the same MemoryStorage", async () => {
  const storage = new MemoryStorage();
  const clock = new FakeClock();
  const [a, b] = [new RealityServer({ storage, clock }), new RealityServer({ storage, clock })];
  let answer: SyncResponse | undefined;
  const wait = async (version: number) => {
    answer = undefined;
    void b.handleSync({ known: { k: version }, wait: 20_000 }).then((found) => answer = found);
    await settle();
    equal(answer, undefined, "it waits");
  };
  await wait(0);
  await a.updateNode("k", "1");
  await settle();
  equal(answer?.changed.k?.hash, "1");
  await wait(answer!.changed.k!.version);
  await a.deleteNode("k");
  await settle();
  equal(answer?.changed.k?.deleted, true);
  await Promise.all([a.close(), b.close()]);
});

test("a Redis that is down from the start is reported before the first request", async () => {
  const clock = new FakeClock();
  const redis = new FakeRedis();
  const [publisher, subscriber] = [new FakeIORedis(redis, false), new FakeIORedis(redis, false)];
  const reports: RealityError[] = [];
  const server = new RealityServer({
    storage: new MemoryStorage(),
    clock,
    redis: { publisher, subscriber },
    onError: (error) => reports.push(error),
  });
  publisher.lose(new Error("connect ECONNREFUSED"));
  deepEqual(reports.map(({ message }) => message), ["Redis failed: connect ECONNREFUSED"]);
  // A connection that falls silent is reported as well.
  const silent: RealityError[] = [];
  const other = new RealityServer({
    storage: new MemoryStorage(),
    clock,
    redis: { publisher: new FakeIORedis(redis, false), subscriber: new FakeIORedis(redis, false) },
    onError: (error) => silent.push(error),
  });
  await clock.advance(5_000);
  deepEqual(silent.map(({ message }) => message), [
    "Redis failed: the subscriber has not connected in 5000 ms",
  ]);
  await Promise.all([server.close(), other.close()]);
});
