import { deepEqual, equal, rejects } from "node:assert/strict";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import type { StorageError } from "../../../src/errors.ts";
import type { NodeChange } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { FakeClock, settle } from "../../clock.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { setUp } from "./batcher_kit.ts";

test("write() sends a single change at once, and later ones together", async () => {
  const { storage, update } = setUp();
  const release = storage.hold();
  const changes = [update("a", "1")];
  await settle();
  equal(storage.commits.length, 1);
  changes.push(update("b", "1"), update("c", "1"));
  await settle();
  changes.push(update("d", "1"));
  release();
  const metas = await Promise.all(changes);
  deepEqual(storage.commits.map((commit) => commit.map((change) => change.key)), [["a"], ["b", "c", "d"]]);
  deepEqual(metas.map((meta) => meta.version), [1, 2, 3, 4]);
});

test("write() merges changes of one key into the last, and settles all of them", async () => {
  const { storage, update, writer } = setUp();
  const metas = await Promise.all([
    update("a", "1"),
    update("b", "1"),
    writer.write({ key: "a", hash: "", updatedAt: 1, deleted: true }),
    update("a", "3"),
  ]);
  deepEqual(metas.map((meta) => [meta.key, meta.version, meta.hash]), [
    ["a", 2, "3"],
    ["b", 1, "1"],
    ["a", 2, "3"],
    ["a", 2, "3"],
  ]);
  equal((await storage.getNode("a"))?.hash, "3");
});

test("write() never sends more changes at once than the storage accepts", async () => {
  const { storage, update } = setUp();
  const most = storage.features.maxChanges ?? 0;
  const metas = await Promise.all(Array.from({ length: most + 5 }, (_, i) => update(`k${i}`, "1")));
  deepEqual(storage.commits.map((commit) => commit.length), [most, 5]);
  equal(metas.at(-1)?.version, most + 5);
});

test("write() rejects with a StorageError that keeps the cause, and wakes waiters", async () => {
  const { storage, update, woken, outcomes } = setUp();
  storage.failure = new Error("disk full");
  await rejects(update("a", "1"), {
    name: "StorageError",
    code: "ERR_REALITY_STORAGE",
    operation: "applyChanges",
    cause: storage.failure,
    message: "Storage failed at applyChanges: disk full",
  });
  deepEqual(woken, [["a"]]);
  storage.failure = undefined;
  equal((await update("a", "1")).version, 1);
  deepEqual(outcomes, ["Storage failed at applyChanges: disk full", undefined]);
});

test("each of 10,000 changes of a storage that hangs is refused in time, and the next one is made at once", async () => {
  const { clock, storage, update } = setUp();
  Object.assign(storage.features, { maxChanges: 1000 });
  storage.hold();
  let refused = 0;
  const count = (error: StorageError) => {
    equal(error.message, "Storage failed at applyChanges: no answer within storageTimeout (1000 ms)");
    refused++;
  };
  const changes = Array.from({ length: 5_000 }, (_, i) => update(`k${i}`, "1").catch(count));
  await clock.advance(500);
  changes.push(...Array.from({ length: 5_000 }, (_, i) => update(`l${i}`, "1").catch(count)));
  await clock.advance(750);
  equal(refused, 5_000);
  await clock.advance(500);
  equal(refused, 10_000);
  await Promise.all(changes);
  storage.pass();
  let isMade = false;
  const next = update("next", "1").then(() => isMade = true);
  await clock.advance(500);
  equal(isMade, true);
  await next;
  await clock.advance(1000);
  equal(clock.timers, 0);
});

test("a lost commit lets changes of other keys pass, and those of its own keys once it is given up", async () => {
  const { clock, storage, writer, update } = setUp();
  const release = storage.hold();
  const outcomes: string[] = [];
  const record = (name: string) => [() => outcomes.push(name), () => outcomes.push(`not ${name}`)] as const;
  void update("a", "1").then(...record("a=1"));
  await clock.advance(1);
  void update("a", "2").then(...record("a=2"));
  void update("b", "1").then(...record("b"));
  storage.pass();
  await clock.advance(499);
  deepEqual(outcomes, ["b"]);
  deepEqual(storage.commits.map((commit) => commit.map(({ key, hash }) => `${key}=${hash}`)), [["a=1"], [
    "b=1",
  ]]);
  void update("c", "1").then(...record("c"));
  await settle();
  deepEqual(outcomes, ["b", "c"]);
  await clock.advance(500);
  deepEqual(outcomes, ["b", "c", "not a=1", "a=2"]);
  release();
  await writer.flush();
  equal((await storage.getNode("a"))?.hash, "2");
  equal(clock.timers, 0);
});

test("a commit that was given up wakes waiters again when it reaches the storage", async () => {
  const { clock, storage, update, woken, outcomes } = setUp();
  const release = storage.hold();
  const pending = rejects(update("a", "1"), /1000 ms/);
  await clock.advance(1000);
  await pending;
  deepEqual(woken, [["a"]]);
  release();
  await settle();
  deepEqual(woken, [["a"], ["a"]]);
  equal(outcomes.length, 1);
});

test("a repeated change of a key in a storage that hangs is refused at its own time limit, not at that of the first", async () => {
  const { clock, storage, update } = setUp();
  storage.hold();
  const outcomes: string[] = [];
  const record = (name: string) => [() => outcomes.push(name), () => outcomes.push(`not ${name}`)] as const;
  void update("x", "1").then(...record("x"));
  await clock.advance(1);
  void update("x", "2").then(...record("x=2"));
  await clock.advance(900);
  void update("x", "3").then(...record("x=3"));
  await clock.advance(399);
  deepEqual(outcomes, ["not x", "not x=2"]);
  storage.pass();
  await clock.advance(851);
  deepEqual(outcomes, ["not x", "not x=2", "not x=3"]);
  await clock.advance(1000);
  void update("x", "4").then(...record("x=4"));
  await settle();
  deepEqual(outcomes.at(-1), "x=4");
  equal(storage.commits.at(-1)?.[0]?.hash, "4");
});

test("a change in a storage without applyChanges is not delayed by a lost one", async () => {
  class Lossy extends NaiveStorage {
    override setNode(key: string, meta: RealityNodeMeta): Promise<void> {
      return key === "lost" ? new Promise(() => {}) : super.setNode(key, meta);
    }
  }
  const clock = new FakeClock();
  const writer = new WriteBatcher(new Lossy(), { clock, timeout: 1000, onOutcome: () => {} }, () => {});
  const lost = rejects(async () => await writer.write({ key: "lost", hash: "1", updatedAt: 1 }), {
    operation: "setNode",
  });
  const good = writer.write({ key: "good", hash: "1", updatedAt: 1 });
  equal((await good).hash, "1");
  const next = writer.write({ key: "next", hash: "1", updatedAt: 1 });
  await clock.advance(500);
  equal((await next).hash, "1");
  await clock.advance(500);
  await lost;
});

test("flush() waits for commits that later ones have passed", async () => {
  const { clock, storage, update, writer } = setUp();
  const release = storage.hold();
  void update("a", "1");
  await clock.advance(1);
  void update("b", "1");
  storage.pass();
  await clock.advance(500);
  let isFlushed = false;
  const flush = writer.flush().then(() => isFlushed = true);
  await settle();
  equal(isFlushed, false);
  release();
  await flush;
});

test("flush() resolves when all changes are in the storage", async () => {
  const { storage, writer, update } = setUp();
  await writer.flush();
  const release = storage.hold();
  let flushed = false;
  void update("a", "1");
  await settle();
  void update("b", "1");
  const flush = writer.flush().then(() => flushed = true);
  await settle();
  equal(flushed, false);
  release();
  await flush;
  equal((await storage.getNode("b"))?.version, 2);
});

test("WriteBatcher settles each change separately in a storage without applyChanges", async () => {
  class Picky extends NaiveStorage {
    override incrementVersion(): Promise<number> {
      return Promise.resolve(1);
    }
    override setNode(key: string): Promise<void> {
      return key === "bad" ? Promise.reject(new Error("no")) : Promise.resolve();
    }
  }
  const writer = new WriteBatcher(
    new Picky(),
    { clock: new FakeClock(), timeout: 1, onOutcome: () => {} },
    () => {},
  );
  const good = writer.write({ key: "good", hash: "1", updatedAt: 1 });
  await rejects(async () => await writer.write({ key: "bad", hash: "1", updatedAt: 1 }), {
    operation: "setNode",
  });
  equal((await good).version, 1);
});

/** A storage in memory whose commits take a while. */
class SlowStorage extends MemoryStorage {
  gate: Promise<void> = Promise.resolve();
  commits: string[][] = [];

  constructor() {
    super({ counter: "sequential" });
  }

  override async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    this.commits.push(changes.map(({ key, hash }) => `${key}=${hash}`));
    await this.gate;
    return await super.applyChanges(changes);
  }
}

function setUpLive(storage: MemoryStorage) {
  const outcomes: unknown[] = [];
  const woken: [readonly string[], number][] = [];
  const writer = new WriteBatcher(
    storage,
    { clock: new FakeClock(), timeout: 1000, onOutcome: (_, error) => outcomes.push(error?.message) },
    (keys, version) => woken.push([keys, version]),
  );
  return { writer, woken, outcomes };
}

test("write() to a live storage is stored, and wakes waiters, before it returns", async () => {
  const storage = new MemoryStorage({ counter: "sequential" });
  const { writer, woken, outcomes } = setUpLive(storage);
  const meta = writer.write({ key: "a", hash: "1", updatedAt: 5 });
  deepEqual(meta, { key: "a", version: 1, hash: "1", updatedAt: 5 });
  deepEqual(woken, [[["a"], 1]]);
  deepEqual(outcomes, [undefined]);
  equal(writer.sent, 1);
  await writer.flush();
});

test("write() to a live storage does not overtake earlier changes", async () => {
  const storage = new MemoryStorage();
  const { writer, woken } = setUpLive(storage);
  const many = Promise.all(writer.writeMany([{ key: "a", hash: "1", updatedAt: 1 }]));
  const last = writer.write({ key: "a", hash: "2", updatedAt: 2 });
  await Promise.all([many, last]);
  equal((await storage.getNode("a"))?.hash, "2");
  deepEqual(woken.flatMap(([keys]) => keys), ["a"]);
});

test("write() to a live storage that is slow continues in groups, in order, and flush() waits for it", async () => {
  const storage = new SlowStorage();
  let open = () => {};
  storage.gate = new Promise((resolve) => open = resolve);
  const { writer, woken } = setUpLive(storage);
  const metas = ["1", "2", "3"].map((hash) => writer.write({ key: "a", hash, updatedAt: 1 }));
  metas.push(writer.write({ key: "b", hash: "4", updatedAt: 1 }));
  let flushed = false;
  const flush = writer.flush().then(() => flushed = true);
  await settle();
  deepEqual(storage.commits, [["a=1"]]);
  equal(flushed, false);
  open();
  await Promise.all(metas);
  await flush;
  deepEqual(storage.commits, [["a=1"], ["a=3", "b=4"]]);
  deepEqual(woken, [[["a"], 1], [["a", "b"], 3]]);
});

test("write() to a live storage that fails rejects, reports the error and wakes waiters", async () => {
  const storage = new MemoryStorage({ counter: "sequential" });
  const { writer, woken, outcomes } = setUpLive(storage);
  const wrong = { key: "a", hash: 5 as unknown as string, updatedAt: 1 };
  await rejects(async () => await writer.write(wrong), { name: "StorageError", operation: "applyChanges" });
  deepEqual(woken, [[["a"], 0]]);
  equal(outcomes.length, 1);
  equal((await writer.write({ key: "a", hash: "1", updatedAt: 1 })).version, 1);
});
