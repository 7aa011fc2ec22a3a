/**
 * MemoryStorage: the kit, and what it promises beyond it.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { RealityServer } from "../../../src/server.ts";
import type { RealityStorage } from "../../../src/store/contract.ts";
import { testStorage } from "../../../storage/conformance/mod.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { DEFAULT_TOMBSTONE_TIMEOUT } from "../../../storage/options.ts";
import { test } from "../../harness.ts";
import { Child, RUN_WITH_GC } from "../../runtimes/child.ts";

const supports = {
  applyChanges: true,
  conditions: true,
  readNodes: true,
  getIdentity: true,
  newEpoch: true,
  mesh: true,
  ordered: true,
  tombstones: true,
};
const clocks = new WeakMap<RealityStorage, { now: number }>();

for (const counter of ["sequential", "clock"] as const) {
  testStorage({
    name: `MemoryStorage, ${counter} counter`,
    create: () => {
      const clock = { now: Date.UTC(2026, 0, 1) };
      const storage = new MemoryStorage({ counter, now: () => clock.now });
      clocks.set(storage, clock);
      return storage;
    },
    test,
    supports,
    elapse: (storage) => {
      const clock = clocks.get(storage);
      if (clock) clock.now += DEFAULT_TOMBSTONE_TIMEOUT;
    },
  });
}

test("MemoryStorage is exclusive", () => {
  assert.equal(new MemoryStorage().features.exclusive, true);
});

test("MemoryStorage gives metas of the caller's own", async () => {
  const storage = new MemoryStorage({ counter: "sequential" });
  const given = { key: "a", version: 1, hash: "x", updatedAt: 1 };
  await storage.setNode("a", given);
  given.hash = "changed by the caller";
  const [applied] = await storage.applyChanges([{ key: "b", hash: "y", updatedAt: 2 }]);
  const metas = [
    applied,
    await storage.getNode("a"),
    (await storage.getNodes(["a"])).get("a"),
    (await storage.readNodes(["a"])).nodes.get("a"),
    ...await storage.listChangedSince(0),
  ];
  for (const meta of metas) {
    assert.ok(meta);
    meta.hash = "changed by a reader";
    meta.version = 1_000_000;
    meta.deleted = true;
  }
  assert.deepEqual(await storage.listChangedSince(0), [
    { key: "a", version: 1, hash: "x", updatedAt: 1 },
    { key: "b", version: 2, hash: "y", updatedAt: 2 },
  ]);
  assert.equal(await storage.getMaxVersion(), 2);
});

test("a client that sends no epoch is told of a change after a restart, though as many were made as before", async () => {
  let now = Date.UTC(2026, 0, 1);
  const start = () => new RealityServer({ storage: new MemoryStorage({ now: () => now }) });
  const known: Record<string, number> = {};
  {
    await using server = start();
    for (const hash of ["a1", "a2", "a3"]) await server.updateNode("a", hash);
    known.a = (await server.getNode("a"))?.version ?? 0;
  }
  now += 1;
  await using server = start();
  for (const hash of ["b1", "b2", "b3"]) await server.updateNode("a", hash);
  const { changed } = await server.handleSync({ known });
  assert.equal(changed.a?.hash, "b3");
});

test("MemoryStorage starts above any earlier life", async () => {
  let now = Date.UTC(2026, 0, 1);
  const first = new MemoryStorage({ now: () => now });
  let last = 0;
  for (let i = 0; i < 100; i++) last = await first.incrementVersion("a");
  now += 1000;
  const second = new MemoryStorage({ now: () => now });
  const version = await second.incrementVersion("a");
  assert.ok(version > last, `${version} is not above ${last}`);
  assert.ok(version < 2 ** 50);
  now -= 1_000_000;
  assert.ok(await second.incrementVersion("a") > version, "a clock that goes back moves nothing back");
});

test("MemoryStorage keeps a tombstone for as long as tombstoneTimeout says", async () => {
  for (
    const [tombstoneTimeout, elapsed, kept] of [[1000, 999, 1], [1000, 1000, 0], [0, 0, 0], [
      Infinity,
      1e15,
      1,
    ]]
  ) {
    let now = 1_700_000_000_000;
    const storage = new MemoryStorage({ tombstoneTimeout: tombstoneTimeout ?? 0, now: () => now });
    await storage.deleteNode("a");
    const version = await storage.getMaxVersion();
    now += elapsed ?? 0;
    await storage.setNode("b", { key: "b", version: 2, hash: "", updatedAt: 1 });
    const tombstones = (await storage.listChangedSince(0)).filter((meta) => meta.deleted);
    assert.equal(tombstones.length, kept, `after ${elapsed} of ${tombstoneTimeout}`);
    assert.equal((await storage.readNodes([])).collectedVersion, kept ? 0 : version);
  }
});

test("MemoryStorage forgets what it swept: keys that come and go take no room", async () => {
  const storage = new MemoryStorage({ tombstoneTimeout: 0 });
  for (let i = 0; i < 5000; i++) {
    await storage.applyChanges([{ key: `key:${i}`, hash: "x", updatedAt: 1 }]);
    await storage.deleteNode(`key:${i}`);
    if (i % 1000 === 0) await storage.applyChanges([{ key: `kept:${i}`, hash: "x", updatedAt: 1 }]);
  }
  await storage.applyChanges([{ key: "last", hash: "x", updatedAt: 1 }]);
  const keys = (await storage.listChangedSince(0)).map(({ key }) => key);
  assert.deepEqual(keys, ["kept:0", "kept:1000", "kept:2000", "kept:3000", "kept:4000", "last"]);
});

test("MemoryStorage keeps nothing of the deletions of a key that came back", async () => {
  const child = new Child([...RUN_WITH_GC, "tests/storage/toggle.ts"], {}, process.cwd());
  try {
    const [, grown] = await child.printed(/^grown by (-?\d+)$/m, 60_000);
    assert.ok(Number(grown) < 4_000_000, `${grown} bytes for 400,000 deletions of one key`);
  } finally {
    await child.kill();
  }
});

test("MemoryStorage with deletions at a steady rate keeps those of tombstoneTimeout", async () => {
  let now = 0;
  const storage = new MemoryStorage({ tombstoneTimeout: 10_000, now: () => now });
  // 200 in a second, each on its own.
  for (let i = 0; i < 20_000; i++) {
    now += 5;
    await storage.deleteNode(`key:${i}`);
  }
  assert.equal((await storage.listChangedSince(0)).length, 2000);
});

test("MemoryStorage sweeps a backlog in pieces, and all of it", async () => {
  let now = 0;
  const storage = new MemoryStorage({ tombstoneTimeout: 1000, now: () => now });
  const count = 20_000;
  const changes = Array.from({ length: count }, (_, i) => ({ key: `key:${i}`, hash: "", updatedAt: 1 }));
  for (let from = 0; from < count; from += 10_000) {
    await storage.applyChanges(
      changes.slice(from, from + 10_000).map((node) => ({ ...node, deleted: true })),
    );
  }
  now += 1000;
  let left = count;
  for (let writes = 0; left > 0; writes++) {
    await storage.setNode("other", { key: "other", version: 1, hash: "", updatedAt: writes });
    const { collectedVersion } = await storage.readNodes([]);
    const history = await storage.listChangedSince(1);
    assert.ok(left - history.length <= 1100, `${left - history.length} in one write`);
    // All that is missing is told as swept.
    assert.ok((history[0]?.version ?? Infinity) > collectedVersion);
    assert.ok(left > history.length);
    left = history.length;
  }
  assert.equal((await storage.readNodes([])).collectedVersion, await storage.getMaxVersion());
});

test("MemoryStorage sweeps nothing early where the wall clock is set forward", async () => {
  const { now } = Date;
  let ahead = 0;
  Date.now = () => now() + ahead;
  try {
    const storage = new MemoryStorage();
    await storage.deleteNode("a");
    ahead = 10 * DEFAULT_TOMBSTONE_TIMEOUT;
    await storage.deleteNode("b");
    assert.equal((await storage.listChangedSince(0)).length, 2);
    assert.equal((await storage.readNodes([])).collectedVersion, 0);
  } finally {
    Date.now = now;
  }
});

test("MemoryStorage refuses options it does not know, or of the wrong kind, by name", () => {
  const wrong: [unknown, RegExp][] = [
    [
      { counters: "clock" },
      /Unknown option "counters" of MemoryStorage: known are counter, tombstoneTimeout, now/,
    ],
    [{ counter: "random" }, /Option "counter" is wrong: expected "sequential" or "clock", got "random"/],
    [{ tombstoneTimeout: -1 }, /Option "tombstoneTimeout" is wrong: .*got the number -1/],
    [{ tombstoneTimeout: NaN }, /Option "tombstoneTimeout" is wrong/],
    [{ now: 5 }, /Option "now" is wrong: expected a function, got the number 5/],
    [null, /Cannot read the options of MemoryStorage: expected an object, got null/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(() => new MemoryStorage(options as Record<string, never>), { name: "TypeError", message });
  }
});
