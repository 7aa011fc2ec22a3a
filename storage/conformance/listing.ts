/**
 * The kit: the history after a version is complete and in order, and deletions are part of it.
 *
 * @module
 */
import { assert, assertEquals } from "./assert.ts";
import { assertHistory, awaitSweep, defined, deletionOf, keysOf, type Kit, metaOf, write } from "./kit.ts";

/** Registers these tests. */
export function testListing(kit: Kit): void {
  const { check, supports } = kit;

  check("listChangedSince() returns nodes above a version, in order, each key once", async (storage) => {
    for (const key of ["c", "a", "b", "a", "d"]) await write(storage, key);
    const all = await storage.listChangedSince(0);
    assertEquals(keysOf(all), ["c", "b", "a", "d"], "the keys");
    assertHistory(all, "listChangedSince()");
    for (const [i, { version }] of all.entries()) {
      assertEquals(await storage.listChangedSince(version), all.slice(i + 1), `after version ${version}`);
      assertEquals(await storage.listChangedSince(version - 1), all.slice(i), `after version ${version - 1}`);
    }
    assertEquals(await storage.listChangedSince(Number.MAX_SAFE_INTEGER), [], "after all versions");
  });

  check("listChangedSince() in pages misses nothing, also where nodes share a version", async (storage) => {
    // As nodes do that came from different storages, each with a counter of its own.
    const alike = ["b", "a", "A", "a ", "\u00e1", "B", "ss", "\u00df", "c", "d", "D", "d "];
    const versions = [1, 2, 2, 2, 2, 3, 4, 4, 5, 9, 9, 9];
    const metas = versions.map((version, i) => metaOf(alike[i]!, version));
    for (const meta of [...metas].reverse()) await storage.setNode(meta.key, meta);
    for (const limit of [1, 2, 3, 5, 100]) {
      const vector: string[] = [];
      let last = 0;
      for (let pages = 0; pages <= metas.length; pages++) {
        const page = await storage.listChangedSince(last, limit);
        assertHistory(page, `a page of ${limit}`);
        assert(page.every(({ version }) => version > last), `A page of ${limit} goes back`);
        if (page.length === 0) break;
        vector.push(...keysOf(page));
        last = defined(page.at(-1)).version;
      }
      assertEquals(vector.sort(), keysOf(metas).sort(), `all pages of ${limit}`);
    }
  });

  check("listChangedSince() keeps its order when nodes come in any order", async (storage) => {
    const versions = [...Array(200).keys()].map((i) => (i * 73) % 200 + 1);
    for (const version of versions) {
      await storage.setNode(`key:${version}`, metaOf(`key:${version}`, version));
    }
    for (const version of versions.filter((version) => version % 3 === 0)) {
      await storage.setNode(`key:${version}`, metaOf(`key:${version}`, version + 200));
    }
    const all = await storage.listChangedSince(0);
    assertHistory(all, "listChangedSince()");
    assertEquals(all.length, 200, "how many");
    const late = await storage.listChangedSince(200);
    assertEquals(
      late.map(({ version }) => version),
      all.slice(-66).map(({ version }) => version),
      "after 200",
    );
    assertEquals((await storage.listChangedSince(100, 1))[0]?.key, "key:101", "the first after 100");
  });

  if (supports.tombstones) testTombstones(kit);
  else {
    check("listChangedSince() does not return a deleted node as an existing one", async (storage) => {
      await write(storage, "a");
      const other = await write(storage, "b");
      await storage.deleteNode("a");
      assertEquals(await storage.listChangedSince(0), [other], "listChangedSince()");
    });
  }
}

function testTombstones({ check, options: { elapse }, supports }: Kit): void {
  check("a deletion has a version of its own in the history", async (storage) => {
    const { version } = await write(storage, "a");
    const other = await write(storage, "b");
    await storage.deleteNode("a");
    const [kept, tombstone, ...more] = await storage.listChangedSince(0);
    assertEquals(kept, other, "the node beside it");
    assertEquals(more, [], "nothing more");
    assertEquals([tombstone?.key, tombstone?.deleted], ["a", true], "the tombstone");
    assert(defined(tombstone).version > version + 1, "Expected a version of its own");
    assertEquals(await storage.getMaxVersion(), tombstone?.version, "getMaxVersion()");
    assertEquals(await storage.listChangedSince(other.version), [tombstone], "listChangedSince()");
    assert(
      await storage.incrementVersion("a") > defined(tombstone).version,
      "Expected the counter to have moved",
    );
  });

  check("setNode() publishes a tombstone, and an older node does not undo it", async (storage) => {
    await storage.setNode("a", metaOf("a", 3));
    const tombstone = { ...metaOf("a", 5), hash: "joined", deleted: true as const };
    await storage.setNode("a", tombstone);
    await storage.setNode("a", metaOf("a", 4));
    assertEquals(await storage.getNode("a"), null, "getNode()");
    assertEquals(await storage.listChangedSince(0), [tombstone], "listChangedSince()");
    await storage.setNode("a", metaOf("a", 6));
    assertEquals(await storage.getNode("a"), metaOf("a", 6), "getNode() after a newer node");
    assertEquals(
      await storage.listChangedSince(0),
      [metaOf("a", 6)],
      "listChangedSince() after a newer node",
    );
  });

  check("setNode() publishes a tombstone of a key never written", async (storage) => {
    const tombstone = { ...metaOf("a", 5), hash: "", deleted: true as const };
    await storage.setNode("a", tombstone);
    assertEquals(await storage.getNode("a"), null, "getNode()");
    assertEquals(await storage.listChangedSince(0), [tombstone], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), 5, "getMaxVersion()");
  });

  if (!elapse) return;
  check("a tombstone is collected after its time, and the counter stays as it was", async (storage) => {
    const live = await write(storage, "live");
    for (const key of ["gone", "back"]) {
      await write(storage, key);
      await storage.deleteNode(key);
    }
    const back = await write(storage, "back");
    await storage.deleteNode("newest");
    const before = await storage.getMaxVersion();
    await elapse(storage);
    if (supports.readNodes) {
      assertEquals((await storage.readNodes?.([]))?.collectedVersion, 0, "sweptVersion before a write");
    }
    await storage.setNode("late", metaOf("late", live.version));
    await awaitSweep(async () => (await storage.listChangedSince(0)).length === 3);
    const [first, second, ...rest] = await storage.listChangedSince(0);
    assertEquals(keysOf([defined(first), defined(second)]).sort(), ["late", "live"], "the first two");
    assertEquals(rest, [back], "the rest of the history");
    assertEquals(await storage.getMaxVersion(), before, "getMaxVersion()");
    if (supports.readNodes) {
      assertEquals((await storage.readNodes?.([]))?.collectedVersion, before, "sweptVersion");
    }
    assert(await storage.incrementVersion("newest") > before, `Expected a version above ${before}`);
    const again = await write(storage, "gone");
    assertEquals(await storage.getNode("gone"), again, "getNode() of a key that was swept");
  });

  check("a tombstone is not collected before its time", async (storage) => {
    await storage.deleteNode("old");
    await elapse(storage);
    await storage.deleteNode("young");
    await write(storage, "a");
    await awaitSweep(async () => (await storage.listChangedSince(0)).length === 2);
    assertEquals(keysOf(await storage.listChangedSince(0)), ["young", "a"], "listChangedSince()");
    if (storage.applyChanges) await storage.applyChanges([deletionOf("a")]);
    assertEquals((await storage.listChangedSince(0))[0]?.key, "young", "the oldest tombstone");
  });
}
