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
  const fence = new CachedReader(storage, new ReadBatcher(storage, options), options);
  const versions = async (...keys: string[]) => {
    const nodes = nodesOf(await fence.read(keys), keys);
    return Object.fromEntries([...nodes].map(([key, meta]) => [key, meta.version]));
  };
  return { storage, fence, versions, clock };
}

test("a fence reads rows once, then only asks what came after", async () => {
  const { storage, fence, versions } = setUp();
  await storage.changeElsewhere({ key: "a" }, { key: "b" });
  deepEqual(await versions("a", "b", "none"), { a: 1, b: 2 });
  deepEqual(await versions("a", "b", "none"), { a: 1, b: 2 });
  deepEqual(await versions("b"), { b: 2 });
  equal(storage.reads.length, 1);
  equal(storage.questions.length, 3);
  equal(fence.sent, 4);
});

test("a fence shares one question among all who ask in a moment", async () => {
  const { storage, versions } = setUp();
  await versions("a");
  storage.questions = [];
  await Promise.all(Array.from({ length: 100 }, () => versions("a")));
  equal(storage.questions.length, 1);
});

test("a fence tells changes, new nodes and deletions that another process makes", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a", "b"), { a: 1 });
  await storage.changeElsewhere({ key: "b" }, { key: "a" });
  deepEqual(await versions("a", "b"), { b: 2, a: 3 });
  await storage.changeElsewhere({ key: "a", hash: "", deleted: true });
  deepEqual(await versions("a", "b"), { b: 2 });
  equal(storage.reads.length, 1);
});

test("a fence never answers from a question that was sent before it was asked", async () => {
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

test("a fence does not remember rows that are older than what it has heard since", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("other");
  // The rows of "a" are on their way while it changes, and a question goes past that change.
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

test("a fence forgets no more than the rows that are newer than an answer which comes after them", async () => {
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

test("a fence forgets everything in a flood, in another epoch, and when history has a hole", async () => {
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

test("a fence forgets everything when another storage has come under the same epoch", async () => {
  const { storage, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a"), { a: 1 });
  // Lost with what nobody else had, and filled again by one that has the epoch: no longer behind by its counter.
  const { epoch } = await storage.getIdentity();
  const other = new MemoryStorage();
  await other.setNode("b", { key: "b", version: 7, hash: "1", updatedAt: 1 });
  storage.readChanges = async () => ({ ...await other.readNodes([]), epoch, nodes: [] });
  storage.readNodes = async (keys) => ({ ...await other.readNodes(keys), epoch });
  deepEqual(await versions("a"), {});
});

test("a fence falls back to reading when its question fails, and rejects when that fails as well", async () => {
  const { storage, fence, versions } = setUp();
  await storage.changeElsewhere({ key: "a" });
  await versions("a");
  const { readChanges } = storage;
  storage.readChanges = () => Promise.reject(new Error("no"));
  await storage.changeElsewhere({ key: "a" });
  deepEqual(await versions("a"), { a: 2 });
  storage.readChanges = readChanges;
  deepEqual(await versions("a"), { a: 2 });
  storage.failure = new Error("away");
  await rejects(fence.read(["a"]), { code: "ERR_REALITY_STORAGE" });
});

test("a question that is lost holds nobody for longer than a part of storageTimeout", async () => {
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

test("an answer that arrives after that of a later question does not set memory back", async () => {
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

test("canFence() asks for an ordered history with deletions, shared with others", () => {
  equal(canCache(new HistoryStorage()), true);
  equal(canCache(new MemoryStorage()), false);
  equal(canCache(new NaiveStorage()), false);
});

test("a fence is never older than what was acknowledged before it was asked, whatever is held back", async () => {
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
      const { storage, fence, clock } = setUp();
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
            fence.read(step.keys).then(({ nodes }) => {
              for (const key of step.keys) {
                // The last change before the question, or any later one, is what the answer may show.
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
      // Whatever is remembered is right in the end: nothing stale has stayed.
      const { nodes } = await fence.read(["a", "b", "c"]);
      deepEqual(nodes, await storage.getNodes(["a", "b", "c"]));
    }),
    { numRuns: 500 },
  );
});
