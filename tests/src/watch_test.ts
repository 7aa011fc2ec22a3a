import { deepEqual, equal } from "node:assert/strict";
import { RealityServer } from "../../src/server.ts";
import type { ChangeListener, RealityStorage, StorageFeatures } from "../../src/storage.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { NaiveStorage } from "../storage/naive_storage.ts";
import { HeldStorage, HistoryStorage } from "../storages.ts";
import { MemoryStorage } from "../../storage/memory.ts";

/** A storage that another process can change, too. */
class SharedStorage extends HeldStorage {
  override readonly features: StorageFeatures = { ordered: true, tombstones: true };
  lists: number[] = [];

  override listChangedSince(version: number, limit?: number) {
    this.lists.push(version);
    return super.listChangedSince(version, limit);
  }

  /** What another process does: this server hears nothing of it. */
  async changeElsewhere(...keys: string[]): Promise<void> {
    const changes = keys.map((key) => ({ key, hash: "elsewhere", updatedAt: 1 }));
    await MemoryStorage.prototype.applyChanges.call(this, changes);
  }
}

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

function setUp<S extends RealityStorage>(storage: S) {
  const clock = new FakeClock();
  const server = new RealityServer({ storage, clock });
  const wait = (known: Record<string, number>, signal?: AbortSignal) => {
    const sync = { answer: undefined as Record<string, number> | undefined };
    void server.handleSync({ known, wait: 25_000 }, signal ? { signal } : {}).then(({ changed }) => {
      sync.answer = Object.fromEntries(Object.values(changed).map((meta) => [meta.key, meta.version]));
    }, () => {});
    return sync;
  };
  return { clock, server, storage, wait };
}

test("Watch finds what another process changed, and wakes who waits for it", async () => {
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

test("Watch asks nothing while nobody waits", async () => {
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

test("Watch asks more seldom the longer nothing comes, at most twice a second in the long run", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  wait({ a: 0 });
  await clock.advance(4_000);
  const before = storage.reads.length;
  await clock.advance(10_000);
  equal(storage.reads.length - before, 20);
  await server.close();
});

test("Watch wakes everybody when too much has changed to name it, and when the epoch is another", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const sync = wait({ a: 0 });
  await settle();
  await storage.changeElsewhere(...Array.from({ length: 1_500 }, (_, i) => `k${i}`), "a");
  await clock.advance(600);
  deepEqual(sync.answer, { a: 1_501 });
  await server.close();
});

test("Watch goes back as far as the oldest reading that anybody waits on", async () => {
  const { clock, server, storage, wait } = setUp(new SharedStorage());
  const release = storage.hold();
  const slow = wait({ a: 0 });
  await settle();
  storage.pass();
  // The slow one's read of version 0 is on its way; "a" changes elsewhere, and a quick one waits on version 1.
  await storage.changeElsewhere("a");
  const quick = wait({ b: 0 });
  await settle();
  release();
  await clock.advance(600);
  deepEqual(slow.answer, { a: 1 });
  equal(quick.answer, undefined);
  await server.close();
});

test("Watch lets an announcing storage wake at once, and then looks only every few seconds", async () => {
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
  // A storage that announces nothing is asked 18 times in as long.
  equal(storage.reads.length - before <= 3, true);
  await server.close();
  equal(storage.listeners.size, 0);
  equal(clock.timers, 0);
});

test("Watch outlives a storage that fails for a while", async () => {
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

test("Watch makes everybody look again on a storage without an ordered history", async () => {
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

test("Watch asks one question a look where the storage tells changes and counter together", async () => {
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

test("Watch finds a node that another process published below the counter", async () => {
  const { clock, server, storage, wait } = setUp(new HistoryStorage());
  await storage.changeElsewhere({ key: "x" }, { key: "y" });
  const sync = wait({ a: 0 });
  await settle();
  await storage.publishLate("a", 1);
  await clock.advance(600);
  deepEqual(sync.answer, { a: 1 });
  await server.close();
});
