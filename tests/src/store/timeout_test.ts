import { deepEqual, equal, rejects } from "node:assert/strict";
import { withTimeout } from "../../../src/store/timeout.ts";
import { ReadBatcher } from "../../../src/store/read_batcher.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import type { StorageError } from "../../../src/errors.ts";
import { FakeClock, settle } from "../../clock.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { setUp } from "./batcher_kit.ts";

test("read() and write() reject if the storage takes longer than storageTimeout, and work afterwards", async () => {
  const { clock, storage, reader, update } = setUp();
  const release = storage.hold();
  const pending = [
    rejects(async () => await reader.read(["a"]), /within storageTimeout \(1000 ms\)/),
    rejects(update("a", "1"), /1000 ms/),
  ];
  await clock.advance(1000);
  await Promise.all(pending);
  release();
  equal((await update("b", "1")).version, 2);
  equal((await reader.read(["b"])).nodes.get("b")?.hash, "1");
  equal(clock.timers, 0);
});

test("read() and write() set a timer only if the storage does not answer at once", async () => {
  const { clock, reader, update, storage } = setUp();
  const options = { clock, timeout: 1000, onOutcome: () => {} };
  const memory = new MemoryStorage();
  let timers = 0;
  const after = clock.after.bind(clock);
  clock.after = (ms, callback) => {
    timers++;
    return after(ms, callback);
  };
  await new WriteBatcher(memory, options, () => {}).write({ key: "a", hash: "1", updatedAt: 1 });
  await new ReadBatcher(memory, options).read(["a"]);
  equal(timers, 0);
  const release = storage.hold();
  const held = [reader.read(["a"]), update("a", "1")];
  await settle();
  equal(clock.timers, 2);
  release();
  await Promise.all(held);
  equal(clock.timers, 0);
});

test("the duration of a call includes its synchronous part, also if that throws", async () => {
  const clock = new FakeClock();
  let ms = 0;
  const elapsed = clock.elapsed.bind(clock);
  clock.elapsed = () => elapsed() + ms;
  const outcomes: [operation: string, isFailure: boolean, ms: number][] = [];
  const options = {
    clock,
    timeout: 1000,
    onOutcome: (operation: string, error: StorageError | undefined, ms: number) =>
      void outcomes.push([operation, error !== undefined, ms]),
  };
  // Like SQLite: everything is done, or has failed, when the call returns.
  const busy = (value: () => Promise<number>) => () => {
    ms += 40;
    return value();
  };
  equal(await withTimeout("good", busy(() => Promise.resolve(7)), options), 7);
  await rejects(withTimeout("bad", busy(() => Promise.reject(new Error("no"))), options), {
    operation: "bad",
  });
  const throwing = busy(() => {
    throw new Error("no");
  });
  await rejects(withTimeout("worse", throwing, options), { operation: "worse" });
  deepEqual(outcomes, [["good", false, 40], ["bad", true, 40], ["worse", true, 40]]);
  equal(clock.timers, 0);
});
