import { deepEqual, equal } from "node:assert/strict";
import { ReadBatcher } from "../../../src/store/read_batcher.ts";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import { Waiters } from "../../../src/sync/waiters.ts";
import { ChangePoller } from "../../../src/sync/change_poller.ts";
import type { ChangeListener, RealityStorage } from "../../../src/store/contract.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { HistoryStorage } from "../../storages.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { setUp, SharedStorage } from "./change_poller_kit.ts";

/** The same with announcements. */
class AnnouncingStorage extends SharedStorage {
  listeners = new Set<ChangeListener>();

  subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    this.listeners.add(listener);
    return Promise.resolve(() => {
      this.listeners.delete(listener);
      return Promise.resolve();
    });
  }
}

/** A custom storage with a history, but without the optional methods to read it. */
class ListingStorage extends SharedStorage {
  override readNodes = undefined as never;

  override getMaxVersion(): Promise<number> {
    this.reads.push([]);
    return super.getMaxVersion();
  }
}

test("ChangePoller finds what another process changed and wakes its waiters", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const [a, b] = [wait({ a: 0 }), wait({ b: 0 })];
  await settle();
  await storage.changeElsewhere("a");
  await clock.advance(600);
  deepEqual(a.answer, { a: 1 });
  equal(b.answer, undefined);
  await server.close();
  equal(clock.timers, 0);
});

test("ChangePoller does not poll while no client waits", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  await server.updateNode("a", "1");
  await clock.advance(60_000);
  equal(storage.reads.length, 0);
  const client = new AbortController();
  wait({ b: 0 }, client.signal);
  await clock.advance(5_000);
  equal(storage.reads.length > 5, true);
  client.abort();
  await clock.advance(1_000);
  const before = storage.reads.length;
  await clock.advance(60_000);
  equal(storage.reads.length, before);
  equal(clock.timers, 0);
});

test("ChangePoller polls less often while nothing changes, at most twice a second in the long run", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  wait({ a: 0 });
  await clock.advance(4_000);
  const before = storage.reads.length;
  await clock.advance(10_000);
  equal(storage.reads.length - before, 20);
  await server.close();
});

test("ChangePoller wakes all waiters at too many changes and at another epoch", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const sync = wait({ a: 0 });
  await settle();
  await storage.changeElsewhere(...Array.from({ length: 1_500 }, (_, i) => `k${i}`), "a");
  await clock.advance(600);
  deepEqual(sync.answer, { a: 1_501 });
  await server.close();
});

test("ChangePoller polls from the oldest reading that a client waits on", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const release = storage.hold();
  const slow = wait({ a: 0 });
  await settle();
  storage.pass();
  // The slow client is reading version 0 when "a" changes in another process and a quick client waits on version 1.
  await storage.changeElsewhere("a");
  const quick = wait({ b: 0 });
  await settle();
  release();
  await clock.advance(600);
  deepEqual(slow.answer, { a: 1 });
  equal(quick.answer, undefined);
  await server.close();
});

test("ChangePoller wakes at once on an announcement, and otherwise polls only every few seconds", async () => {
  const { clock, server, storage, wait } = setUp(new AnnouncingStorage());
  const sync = wait({ a: 0 });
  await settle();
  equal(storage.listeners.size, 1);
  await storage.changeElsewhere("a");
  for (const listener of storage.listeners) listener(["a"]);
  await settle();
  deepEqual(sync.answer, { a: 1 });

  wait({ b: 0 });
  await clock.advance(15_000);
  const before = storage.reads.length;
  await clock.advance(9_000);
  // A storage without announcements is polled 18 times in the same time.
  equal(storage.reads.length - before <= 3, true);
  await server.close();
  equal(storage.listeners.size, 0);
  equal(clock.timers, 0);
});

test("ChangePoller survives a storage that fails for a while", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const sync = wait({ a: 0 });
  await settle();
  storage.failure = new Error("away");
  await clock.advance(2_000);
  equal(sync.answer, undefined);
  storage.failure = undefined;
  await storage.changeElsewhere("a");
  await clock.advance(1_000);
  deepEqual(sync.answer, { a: 1 });
  await server.close();
});

test("ChangePoller wakes all waiters on a storage without an ordered history", async () => {
  const { clock, server, storage, wait } = setUp(new NaiveStorage());
  const sync = wait({ a: 0 });
  await settle();
  await storage.setNode("a", {
    key: "a",
    version: await storage.incrementVersion("a"),
    hash: "1",
    updatedAt: 1,
  });
  await clock.advance(1_100);
  deepEqual(sync.answer, { a: 1 });
  await server.close();
});

test("ChangePoller makes one call per poll if the storage returns changes and counter together", async () => {
  const { clock, server, storage, wait } = setUp(new HistoryStorage());
  const sync = wait({ a: 0 });
  await settle();
  storage.questions = [];
  await clock.advance(50);
  equal(storage.questions.length, 1);
  await storage.changeElsewhere({ key: "a" });
  await clock.advance(600);
  deepEqual(sync.answer, { a: 1 });
  await server.close();
});

test("ChangePoller finds a node that another process published below the counter", async () => {
  const { clock, server, storage, wait } = setUp(new HistoryStorage());
  await storage.changeElsewhere({ key: "x" }, { key: "y" });
  const sync = wait({ a: 0 });
  await settle();
  await storage.publishLate("a", 1);
  await clock.advance(600);
  deepEqual(sync.answer, { a: 1 });
  await server.close();
});

test("ChangePoller continues after a poll whose answer is lost", async () => {
  const storages = [new HistoryStorage(), new ListingStorage()];
  for (const storage of storages) {
    const { clock, server, wait } = setUp(storage as HistoryStorage & ListingStorage);
    const sync = wait({ a: 0 });
    await settle();
    await MemoryStorage.prototype.applyChanges.call(storage, [{ key: "b", hash: "1", updatedAt: 1 }]);
    const lost = "readChanges" in storage ? "readChanges" : "listChangedSince";
    let isLost = false;
    const call = storage[lost as "listChangedSince"];
    storage[lost as "listChangedSince"] = () => {
      storage[lost as "listChangedSince"] = call;
      isLost = true;
      return new Promise(() => {});
    };
    await clock.advance(600);
    equal(isLost, true);
    await MemoryStorage.prototype.applyChanges.call(storage, [{ key: "a", hash: "1", updatedAt: 1 }]);
    // A tenth of storageTimeout, and an interval.
    await clock.advance(1_000);
    deepEqual(sync.answer, { a: 2 });
    await server.close();
    await clock.advance(10_000);
    equal(clock.timers, 0);
  }
});

test("ChangePoller wakes all waiters if a tombstone was collected before the poll", async () => {
  class Sweeping extends HistoryStorage {
    override async readChanges(version: number, limit: number) {
      const changes = await super.readChanges(version, limit);
      return {
        ...changes,
        collectedVersion: changes.maxVersion > 2 ? 2 : 0,
        nodes: changes.nodes.filter((node) => !node.deleted),
      };
    }
  }
  class SweepingList extends ListingStorage {
    override async listChangedSince(version: number, limit?: number) {
      return (await super.listChangedSince(version, limit)).filter((node) => !node.deleted);
    }
  }
  for (const storage of [new Sweeping(), new SweepingList()]) {
    await MemoryStorage.prototype.applyChanges.call(storage, [{ key: "a", hash: "1", updatedAt: 1 }]);
    const { clock, server, wait } = setUp(storage as RealityStorage);
    const sync = wait({ a: 1 });
    await settle();
    const deletion = { key: "a", hash: "", updatedAt: 1, deleted: true } as const;
    await MemoryStorage.prototype.applyChanges.call(storage, [deletion]);
    await MemoryStorage.prototype.applyChanges.call(storage, [{ key: "b", hash: "1", updatedAt: 1 }]);
    await clock.advance(600);
    deepEqual(sync.answer, { a: 0 });
    await server.close();
  }
});

test("a client that waits on a lost history, after a poll has read the new one, is woken", async () => {
  const clock = new FakeClock();
  const storage = new HistoryStorage();
  const batch = { clock, timeout: 1000, onOutcome: () => {} };
  const waiters = new Waiters(clock, { ...DEFAULT_LIMITS, maxWaiters: 10 });
  const poller = new ChangePoller(
    {
      storage,
      reader: new ReadBatcher(storage, batch),
      waiters,
      clock,
      calls: batch,
    } as unknown as ConstructorParameters<typeof ChangePoller>[0],
  );
  const moment = { epoch: "e", replicaId: "o", late: 0, collectedVersion: 0 };
  storage.readChanges = () =>
    Promise.resolve({ ...moment, maxVersion: 150, recent: ",10,40,100", nodes: [] });
  const waiting = { ...moment, nodes: new Map() };
  const [one, other] = [waiters.add(["a"])!, waiters.add(["b"])!];
  poller.register({ ...waiting, maxVersion: 150, recent: ",10,40,100" });
  const woken = [one.next(10_000), other.next(10_000)];
  // 50 and 10 were not lost; 100 was.
  poller.register({ ...waiting, maxVersion: 50, recent: ",10,40" });
  await clock.advance(500);
  poller.register({ ...waiting, maxVersion: 100, recent: ",10,40,50" });
  await clock.advance(500);
  deepEqual(await Promise.all(woken), ["wake", "wake"]);
  await poller.close();
});
