/**
 * The kit: the counter never gives a number twice and never goes back.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { defined, type Kit, metaOf, write } from "./kit.ts";

/** Registers these tests. */
export function testVersions({ check, checkShared, supports }: Kit): void {
  check("getMaxVersion() is 0 for a new storage", async (storage) => {
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
    assertEquals(await storage.listChangedSince(0), [], "listChangedSince()");
  });

  check("incrementVersion() returns increasing integers, whatever the key", async (storage) => {
    let last = 0;
    for (const key of ["a", "b", "a", "a", "c", "b"]) {
      const version = await storage.incrementVersion(key);
      assert(Number.isSafeInteger(version), `Expected an integer, got ${version}`);
      assert(version > last, `Expected a version above ${last}, got ${version}`);
      last = version;
    }
  });

  check("incrementVersion() changes nothing that a reader can see", async (storage) => {
    const meta = await write(storage, "a");
    for (const key of ["a", "b"]) await storage.incrementVersion(key);
    assertEquals(await storage.getNodes(["a", "b"]), new Map([["a", meta]]), "getNodes()");
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
  });

  check("setNode() raises the counter to its version", async (storage) => {
    await storage.setNode("a", metaOf("a", 1_000_000));
    assertEquals(await storage.getMaxVersion(), 1_000_000, "getMaxVersion()");
    assert(await storage.incrementVersion("b") > 1_000_000, "Expected a version above 1000000");
  });

  check("setNode() accepts versions up to nearly 2^53 and returns them exactly", async (storage) => {
    const version = Number.MAX_SAFE_INTEGER - 100_000;
    await storage.setNode("a", metaOf("a", version));
    assertEquals(await storage.getNode("a"), metaOf("a", version), "getNode()");
    assertEquals(await storage.getMaxVersion(), version, "getMaxVersion()");
    assertEquals(await storage.listChangedSince(version - 1), [metaOf("a", version)], "listChangedSince()");
    assertEquals(await storage.listChangedSince(version), [], "listChangedSince() of its own version");
    assert(await storage.incrementVersion("a") > version, `Expected a version above ${version}`);
  });

  check(
    "setNode() never replaces a newer node by an older one, in any order",
    async (storage) => {
      const orders = permutations([1, 2, 3, 4]);
      for (const [i, order] of orders.entries()) {
        const key = `key:${i}`;
        for (const version of order) await storage.setNode(key, metaOf(key, version));
        assertEquals(await storage.getNode(key), metaOf(key, 4), `after versions ${order}`);
      }
      assertEquals(await storage.getMaxVersion(), 4, "getMaxVersion()");
    },
  );

  check("setNode() twice with the same meta is setNode() once", async (storage) => {
    const meta = await write(storage, "a");
    await storage.setNode("a", meta);
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
  });

  check("of two nodes with one version, one is stored completely", async (storage) => {
    const pairs = [["low", "middle"], ["Z", "a"], ["a", "a "], ["z", "é"], ["\uffee", "😀"], ["", "0"]];
    for (const [low = "", high = ""] of pairs) {
      for (const order of [[low, high], [high, low]]) {
        const key = `key:${order}`;
        for (const hash of order) await storage.setNode(key, { ...metaOf(key, 5), hash });
        const kept = defined(await storage.getNode(key));
        // Servers that compare the same two must keep the same; only storages with a name of their own meet so.
        const allowed = supports.getIdentity ? [high] : [low, high];
        assert(allowed.includes(kept.hash), `Expected ${allowed.join(" or ")}, got ${kept.hash}`);
        assertEquals(kept, { ...metaOf(key, 5), hash: kept.hash }, "getNode()");
      }
    }
  });

  check(
    "a node with a version below the counter is published",
    async (storage) => {
      const reserved = await storage.incrementVersion("late");
      const next = await write(storage, "next");
      await storage.setNode("late", metaOf("late", reserved));
      assertEquals(await storage.getNode("late"), metaOf("late", reserved), "getNode()");
      assertEquals(await storage.listChangedSince(0), [metaOf("late", reserved), next], "listChangedSince()");
      assertEquals(await storage.getMaxVersion(), next.version, "getMaxVersion()");
    },
  );

  check("deleting the newest node and writing again never gives a version twice", async (storage) => {
    const given = new Set<number>();
    for (let i = 0; i < 5; i++) {
      const { version } = await write(storage, "a");
      assert(!given.has(version), `Version ${version} was given twice`);
      given.add(version);
      const before = await storage.getMaxVersion();
      await storage.deleteNode("a");
      assert(await storage.getMaxVersion() >= before, "getMaxVersion() went back");
      const [node] = await storage.listChangedSince(version);
      if (node) given.add(node.version);
    }
    const largest = Math.max(...given);
    assert(await storage.incrementVersion("b") > largest, `Expected a version above ${largest}`);
  });

  // One wrong number from another storage would otherwise move the counter for good.
  if (supports.getIdentity) {
    check(
      "setNode() refuses what is no version, or another node's meta, and changes nothing",
      async (storage) => {
        const meta = await write(storage, "a");
        const bad: [string, number][] = [["a", 0], ["a", -1], ["a", 1.5], ["a", NaN], ["a", 2 ** 53], [
          "b",
          9,
        ]];
        for (const [key, version] of bad) {
          await assertRejects(
            () => storage.setNode("a", metaOf(key, version)),
            `setNode() of ${key} at ${version}`,
          );
        }
        assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
        assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
      },
    );
  }

  checkShared("two processes have one counter and one history", async (one, other) => {
    const first = await write(one, "a");
    assertEquals(await other.getNode("a"), first, "getNode() of the other");
    assertEquals(await other.getMaxVersion(), first.version, "getMaxVersion() of the other");
    const reserved = await other.incrementVersion("a");
    assert(reserved > first.version, `Expected a version above ${first.version}, got ${reserved}`);
    const second = await write(one, "b");
    assert(second.version > reserved, `Expected a version above ${reserved}, got ${second.version}`);
    assertEquals(await other.listChangedSince(0), [first, second], "listChangedSince() of the other");
    await other.deleteNode("a");
    assertEquals(await one.getNode("a"), null, "getNode() after the other's deleteNode()");
  });
}

function permutations(values: readonly number[]): number[][] {
  if (values.length < 2) return [[...values]];
  return values.flatMap((first) =>
    permutations(values.filter((value) => value !== first)).map((rest) => [first, ...rest])
  );
}
