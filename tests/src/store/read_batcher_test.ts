import { deepEqual, equal, rejects } from "node:assert/strict";
import { ReadBatcher } from "../../../src/store/read_batcher.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import type { StorageReading } from "../../../src/store/contract.ts";
import { FakeClock, settle } from "../../clock.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import type { HeldStorage } from "../../storages.ts";
import { setUp } from "./batcher_kit.ts";

test("read() sends the requests of one moment as one read without duplicate keys", async () => {
  const { storage, reader, update } = setUp();
  await update("a", "1");
  const readings = await Promise.all([reader.read(["a", "b"]), reader.read(["b", "c"]), reader.read([])]);
  deepEqual(storage.reads, [["a", "b", "c"]]);
  equal(readings[2]?.nodes.get("a")?.hash, "1");
});

test("read() of a live storage is shared within one moment, and not with the next", async () => {
  const { reader, update } = setUp(new MemoryStorage({ counter: "sequential" }) as unknown as HeldStorage);
  for (let version = 1; version < 5; version++) {
    await update("a", `${version}`);
    const readings = await Promise.all([reader.read(["a"]), reader.read(["b"])]);
    deepEqual(readings.map(({ maxVersion }) => maxVersion), [version, version]);
    equal(reader.sent, version);
  }
});

test("read() never answers from a read that was sent before the request", async () => {
  const { storage, reader, update } = setUp();
  const release = storage.hold();
  const before = reader.read(["a"]);
  await settle();
  const change = update("a", "new");
  await settle();
  const after = reader.read(["a"]);
  release();
  equal((await before).nodes.get("a"), undefined);
  equal((await change).version, 1);
  equal((await after).nodes.get("a")?.hash, "new");
});

test("read() merges requests that arrive while two reads are running", async () => {
  const { storage, reader } = setUp();
  const release = storage.hold();
  const reads: unknown[] = [];
  for (const key of ["a", "b", "c", "d", "e"]) {
    reads.push(reader.read([key]));
    await settle();
  }
  deepEqual(storage.reads, [["a"], ["b"]]);
  release();
  await Promise.all(reads);
  deepEqual(storage.reads, [["a"], ["b"], ["c", "d", "e"]]);
});

test("lost reads delay later reads by a tenth of storageTimeout", async () => {
  const { clock, storage, reader, update } = setUp();
  await update("c", "1");
  storage.hold();
  const lost: unknown[] = [];
  for (const key of ["a", "b"]) {
    lost.push(rejects(async () => await reader.read([key])));
    await settle();
  }
  storage.pass();
  const next = reader.read(["c"]);
  await clock.advance(100);
  equal((await next).nodes.get("c")?.hash, "1");
  await clock.advance(1000);
  await Promise.all(lost);
  equal(clock.timers, 0);
});

test("ReadBatcher and WriteBatcher work with a storage that has only the eight methods", async () => {
  const clock = new FakeClock();
  const options = { clock, timeout: 1000, onOutcome: () => {} };
  const storage = new NaiveStorage();
  const writer = new WriteBatcher(storage, options, () => {});
  const reader = new ReadBatcher(storage, options);
  const metas = await Promise.all(
    Array.from({ length: 40 }, (_, i) => writer.write({ key: `k${i}`, hash: "1", updatedAt: 1 })),
  );
  equal(new Set(metas.map((meta) => meta.version)).size, 40);
  const deleted = await writer.write({ key: "k0", hash: "", updatedAt: 2, deleted: true });
  deepEqual(deleted, { key: "k0", version: 0, hash: "", updatedAt: 2, deleted: true });
  const reading = await reader.read(["k0", "k1"]);
  equal(reading.nodes.get("k0"), undefined);
  equal(reading.nodes.get("k1")?.hash, "1");
  deepEqual([reading.maxVersion, reading.epoch], [40, ""]);
});

test("read() after a change is not shared with a read before it in the same moment", () => {
  const storage = new MemoryStorage({ counter: "sequential" });
  const options = { clock: new FakeClock(), timeout: 1000, onOutcome: () => {} };
  const reader = new ReadBatcher(storage, options);
  const writer = new WriteBatcher(storage, options, () => reader.expire());
  const versions = [1, 2, 3].map((n) => {
    void writer.write({ key: "a", hash: `${n}`, updatedAt: n });
    return (reader.read(["a"]) as StorageReading).maxVersion;
  });
  deepEqual(versions, [1, 2, 3]);
});
