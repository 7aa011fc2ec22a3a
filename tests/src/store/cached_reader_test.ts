import { deepEqual, equal, rejects } from "node:assert/strict";
import fc from "fast-check";
import { ReadBatcher } from "../../../src/store/read_batcher.ts";
import { CachedReader, canCache } from "../../../src/store/cached_reader.ts";
import { nodesOf } from "../../../storage/conformance/kit.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { HeldStorage, HistoryStorage } from "../../storages.ts";

function setUp() {
  const storage = new HistoryStorage();
  const clock = new FakeClock();
  const options = { clock, timeout: 1000, onOutcome: () => {} };
  const reader = new CachedReader(storage, new ReadBatcher(storage, options), options);
  const versions = async (...keys: string[]) => {
    const nodes = nodesOf(await reader.read(keys), keys);
    return Object.fromEntries([...nodes].map(([key, meta]) => [key, meta.version]));
  };
  return { storage, fence: reader, versions, clock };
}

test("a cached reader reads rows once, and afterwards only changes", async () => {
  const { storage, fence: reader, versions } = setUp();
  await storage.changeElsewhere({ key: "a" }, { key: "b" });
  deepEqual(await versions("a", "b", "none"), { a: 1, b: 2 });
  deepEqual(await versions("a", "b", "none"), { a: 1, b: 2 });
  deepEqual(await versions("b"), { b: 2 });
  equal(storage.reads.length, 1);
  equal(storage.questions.length, 3);
  equal(reader.sent, 4);
});

test("a cached reader revalidates once for all requests of a moment", async () => {
  const { storage, versions } = setUp();
  await versions("a");
  storage.questions = [];
  await Promise.all(Array.from({ length: 100 }, () => versions("a")));
  equal(storage.questions.length, 1);
});

test("a cached reader finds changes, new nodes and deletions of another process", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a", "b"), { a: 1 });
  await storage.changeElsewhere({ key: "b" }, { key: "a" });
  deepEqual(await versions("a", "b"), { b: 2, a: 3 });
  await storage.changeElsewhere({ key: "a", hash: "", deleted: true });
  deepEqual(await versions("a", "b"), { b: 2 });
  equal(storage.reads.length, 1);
});

test("a cached reader never answers from a revalidation that was sent before the request", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("a");
  const release = storage.hold();
  const before = versions("a");
  await settle();
  storage.pass();
  await storage.changeElsewhere({ key: "a" });
  const after = versions("a");
  await settle();
  release();
  deepEqual(await before, { a: 1 });
  deepEqual(await after, { a: 2 });
});

test("a cached reader does not cache rows that are older than its position", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("other");
  // The rows of "a" are being read while it changes, and a revalidation finds that change first.
  const { promise: arrival, resolve: arrive } = Promise.withResolvers<void>();
  storage.readNodes = async (keys) => {
    const reading = await HeldStorage.prototype.readNodes.call(storage, keys);
    await arrival;
    return reading;
  };
  const slow = versions("a");
  await settle();
  await storage.changeElsewhere({ key: "a" });
  await versions("other");
  arrive();
  deepEqual(await slow, { a: 1 });
  deepEqual(await versions("a"), { a: 2 });
});

test("a cached reader evicts only the rows that are newer than a revalidation that arrives after them", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  for (let i = 0; i < 2; i++) await versions("a");
  const { promise: start, resolve: begin } = Promise.withResolvers<void>();
  storage.readNodes = async (keys) => {
    await start;
    return await HeldStorage.prototype.readNodes.call(storage, keys);
  };
  const rows = versions("b");
  await settle();
  const release = storage.hold();
  const asked = versions("a");
  await settle();
  storage.pass();
  await storage.changeElsewhere({ key: "b" });
  begin();
  deepEqual(await rows, { b: 2 });
  release();
  deepEqual(await asked, { a: 1 });
  deepEqual(await versions("a", "b"), { a: 1, b: 2 });
  deepEqual(storage.reads.at(-1), ["b"]);
  equal(storage.reads.length, 3);
});

test("a cached reader clears its cache at too many changes, another epoch, or a gap in the history", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("a");
  await storage.changeElsewhere(...Array.from({ length: 600 }, (_, i) => ({ key: `k${i}` })), { key: "a" });
  deepEqual(await versions("a", "late"), { a: 602 });
  equal(storage.reads.length, 2);
  await storage.publishLate("late", 5);
  deepEqual(await versions("a", "late"), { a: 602, late: 5 });
  equal(storage.reads.length, 3);
});

test("a cached reader clears its cache when another storage has the same epoch", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a"), { a: 1 });
  // A restored storage lost its last changes and was filled again by one with the same epoch, so its counter is not
  // behind.
  const { epoch } = await storage.getIdentity();
  const other = new MemoryStorage();
  await other.setNode("b", { key: "b", version: 7, hash: "1", updatedAt: 1 });
  storage.readChanges = async () => ({ ...await other.readNodes([]), epoch, nodes: [] });
  storage.readNodes = async (keys) => ({ ...await other.readNodes(keys), epoch });
  deepEqual(await versions("a"), {});
});

test("a cached reader reads rows when its revalidation fails, and rejects when that fails as well", async () => {
  const { storage, fence: reader, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("a");
  const { readChanges } = storage;
  storage.readChanges = () => Promise.reject(new Error("no"));
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a"), { a: 2 });
  storage.readChanges = readChanges;
  deepEqual(await versions("a"), { a: 2 });
  storage.failure = new Error("away");
  await rejects(reader.read(["a"]), { code: "ERR_REALITY_STORAGE" });
});

test("a lost revalidation delays requests by no more than a part of storageTimeout", async () => {
  const { storage, versions, clock } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("a");
  storage.hold();
  const reads = [versions("a")];
  await settle();
  storage.pass();
  await storage.changeElsewhere({ key: "a" });
  for (let i = 0; i < 20; i++) {
    reads.push(versions("a"));
    await settle();
  }
  await clock.advance(100);
  deepEqual(await Promise.all(reads), Array.from({ length: 21 }, () => ({ a: 2 })));
  deepEqual(await versions("a"), { a: 2 });
  await clock.advance(1000);
  equal(clock.timers, 0);
});

test("an answer that arrives after that of a later revalidation does not set the cache back", async () => {
  const { storage, versions, clock } = setUp();
  await storage.changeElsewhere({ key: "a" }, { key: "b" });
  await versions("a", "b");
  const release = storage.hold();
  const slow = versions("a");
  await settle();
  storage.pass();
  await clock.advance(100);
  deepEqual(await slow, { a: 1 });
  await storage.changeElsewhere({ key: "a" }, { key: "b", hash: "", deleted: true });
  deepEqual(await versions("a", "b"), { a: 3 });
  const { length } = storage.reads;
  release();
  await settle();
  deepEqual(await versions("a", "b"), { a: 3 });
  equal(storage.questions.at(-1), 4);
  equal(storage.reads.length, length);
});

test("canCache() requires an ordered history with deletions that other processes can change", () => {
  equal(canCache(new HistoryStorage()), true);
  equal(canCache(new MemoryStorage()), false);
  equal(canCache(new NaiveStorage()), false);
});

test("a cached reader is never older than what was acknowledged before the request, whatever is delayed", async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant("change" as const),
      key: fc.constantFrom("a", "b", "c"),
      deleted: fc.boolean(),
    }),
    fc.record({ do: fc.constant("read" as const), keys: fc.subarray(["a", "b", "c"], { minLength: 1 }) }),
    fc.record({
      do: fc.constantFrom(
        "hold" as const,
        "pass" as const,
        "release" as const,
        "release last" as const,
        "wait" as const,
        "settle" as const,
      ),
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { storage, fence: reader, clock } = setUp();
      const history: { key: string; version: number; deleted: boolean }[] = [];
      const held: (() => void)[] = [];
      const reads: Promise<void>[] = [];
      for (const step of steps) {
        if (step.do === "change") {
          const change = step.deleted
            ? { key: step.key, hash: "", deleted: true as const }
            : { key: step.key };
          const [meta] = await storage.changeElsewhere(change);
          history.push({ key: step.key, version: meta?.version ?? 0, deleted: step.deleted });
        } else if (step.do === "read") {
          const least = history.length;
          reads.push(
            reader.read(step.keys).then(({ nodes }) => {
              for (const key of step.keys) {
                // The answer may show the last change before the request, or any later one.
                const seen = history.findLastIndex((change, i) => i < least && change.key === key);
                const allowed = history.slice(Math.max(seen, 0)).filter((change) => change.key === key)
                  .map(({ version, deleted }) => deleted ? 0 : version);
                if (seen === -1) allowed.push(0);
                const found = nodes.get(key)?.version ?? 0;
                if (!allowed.includes(found)) {
                  throw new Error(`read ${found} of ${key}, expected one of ${allowed}`);
                }
              }
            }),
          );
          reads.at(-1)?.catch(() => {});
        } else if (step.do === "hold") held.push(storage.hold());
        else if (step.do === "pass") storage.pass();
        else if (step.do === "release") held.shift()?.();
        else if (step.do === "release last") held.pop()?.();
        else if (step.do === "wait") await clock.advance(100);
        else await settle();
      }
      storage.pass();
      for (const release of held) release();
      await Promise.all(reads);
      // In the end, everything in the cache is correct.
      const { nodes } = await reader.read(["a", "b", "c"]);
      deepEqual(nodes, await storage.getNodes(["a", "b", "c"]));
    }),
    { numRuns: 500 },
  );
});
