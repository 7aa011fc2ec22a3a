/**
 * The kit: many changes in one step, many readings of one moment, and the storage's lasting names.
 *
 * @module
 */
import type { AppliedMeta, NodeChange, RealityStorage } from "../../src/store/contract.ts";
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { assertHistory, changeOf, defined, deletionOf, type Kit, metaOf, nodesOf, write } from "./kit.ts";

/** Registers these tests. */
export function testBatch(kit: Kit): void {
  if (kit.supports.applyChanges) testChanges(kit);
  if (kit.supports.readNodes) testReading(kit);
  if (kit.supports.readChanges) testFollowing(kit);
  if (kit.supports.getIdentity) testIdentity(kit);
}

/** `applyChanges` of a storage that has it. */
export async function apply(storage: RealityStorage, ...changes: NodeChange[]): Promise<AppliedMeta[]> {
  return await defined(storage.applyChanges?.(changes));
}

function testChanges({ check, supports }: Kit): void {
  check("applyChanges() gives each change its own version, in the order given", async (storage) => {
    const before = await write(storage, "b");
    const metas = await apply(storage, changeOf("c", "1"), changeOf("a", "2"), changeOf("b", "3"));
    assertEquals(
      metas.map(({ key, hash }) => [key, hash]),
      [["c", "1"], ["a", "2"], ["b", "3"]],
      "the metas",
    );
    assertEquals(
      metas.map(({ updatedAt }) => updatedAt),
      Array(3).fill(changeOf("a").updatedAt),
      "updatedAt",
    );
    const versions = [before.version, ...metas.map(({ version }) => version)];
    assertEquals(versions, [...new Set(versions)].sort((a, b) => a - b), "versions, ever larger");
    assertEquals(await storage.listChangedSince(0), metas, "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), metas[2]?.version, "getMaxVersion()");
    assert(await storage.incrementVersion("a") > Math.max(...versions), "Expected the counter to have moved");
  });

  check("applyChanges() without changes changes nothing", async (storage) => {
    assertEquals(await apply(storage), [], "the metas");
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
  });

  check("applyChanges() deletes nodes, also missing ones, with a version of its own", async (storage) => {
    await apply(storage, changeOf("a"), changeOf("b"));
    const metas = await apply(storage, deletionOf("a"), changeOf("b", "2"), deletionOf("nobody"));
    assertEquals(metas.map(({ deleted }) => deleted ?? false), [true, false, true], "deleted");
    assertHistory(metas, "the metas");
    assertEquals(await storage.getNodes(["a", "b", "nobody"]), new Map([["b", metas[1]]]), "getNodes()");
    if (supports.tombstones) assertEquals(await storage.listChangedSince(2), metas, "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), metas[2]?.version, "getMaxVersion()");
  });

  check("applyChanges() accepts features.maxChanges changes", async (storage) => {
    const { maxChanges = 1000 } = storage.features ?? {};
    const count = Math.min(maxChanges, 10_000);
    const changes = [...Array(count).keys()].map((i) => changeOf(`key "${i}" 😀`, `hash-${i}`));
    const metas = await apply(storage, ...changes);
    assertHistory(metas, "the metas");
    assertEquals(
      metas.map(({ key, hash }) => [key, hash]),
      changes.map(({ key, hash }) => [key, hash]),
      "metas",
    );
    assertEquals(await storage.listChangedSince(0), metas, "listChangedSince()");
  });

  check("applyChanges() that rejects changes nothing", async (storage) => {
    const { maxChanges = 1000 } = storage.features ?? {};
    const meta = await write(storage, "a");
    await assertRejects(
      () => apply(storage, changeOf("b"), changeOf("a"), changeOf("b")),
      "a key named twice",
    );
    if (maxChanges <= 10_000) {
      const tooMany = [...Array(maxChanges + 1).keys()].map((i) => changeOf(`key:${i}`));
      await assertRejects(() => apply(storage, ...tooMany), "more than maxChanges");
    }
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
  });

  check("applyChanges() at the end of all numbers rejects, and stored nodes stay", async (storage) => {
    const meta = metaOf("a", Number.MAX_SAFE_INTEGER - 1);
    await storage.setNode("a", meta);
    await assertRejects(() => apply(storage, changeOf("a"), changeOf("b"), changeOf("c")), "applyChanges()");
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
  });
}

function testReading({ check }: Kit): void {
  check("readNodes() agrees with getNodes() and getMaxVersion()", async (storage) => {
    const empty = defined(await storage.readNodes?.([]));
    assertEquals([empty.maxVersion, empty.collectedVersion], [0, 0], "a new storage");
    await write(storage, "a");
    await write(storage, "b");
    await storage.deleteNode("b");
    await storage.incrementVersion("c");
    const reading = defined(await storage.readNodes?.(["a", "b", "c", "a", ""]));
    const keys = ["a", "b", "c"];
    assertEquals(nodesOf(reading, keys), await storage.getNodes(keys), "nodes");
    assertEquals(reading.maxVersion, await storage.getMaxVersion(), "maxVersion");
    const identity = await storage.getIdentity?.();
    if (identity) assertEquals({ epoch: reading.epoch, replicaId: reading.replicaId }, identity, "the names");
  });

  check(
    "readNodes() reports by `late`, together with the node, that a node was published below the counter",
    async (storage) => {
      const reserved = await storage.incrementVersion("late");
      await write(storage, "next");
      const before = defined(await storage.readNodes?.(["late"]));
      assert(Number.isSafeInteger(before.late) && before.late >= 0, `Expected a count, got ${before.late}`);
      await write(storage, "new");
      await storage.incrementVersion("reserved");
      const between = defined(await storage.readNodes?.(["late"]));
      assertEquals(between.late, before.late, "late after what came in order");
      await storage.setNode("late", metaOf("late", reserved));
      const after = defined(await storage.readNodes?.(["late"]));
      assertEquals(after.nodes.get("late")?.version, reserved, "the node");
      assert(after.late > between.late, `Expected late above ${between.late}, got ${after.late}`);
      const changes = await storage.readChanges?.(0, 10);
      if (changes) assertEquals(changes.late, after.late, "late of readChanges()");
    },
  );

  check("readNodes() accepts more keys than fit into one statement", async (storage) => {
    const metas = [metaOf("first", 1), metaOf("last", 2)];
    for (const meta of metas) await storage.setNode(meta.key, meta);
    const keys = ["first", ...[...Array(3000).keys()].map((i) => `${i}:`.padEnd(400, "x")), "last"];
    const reading = defined(await storage.readNodes?.(keys));
    assertEquals(nodesOf(reading, keys), new Map(metas.map((meta) => [meta.key, meta])), "nodes");
    assertEquals(reading.maxVersion, 2, "maxVersion");
  });
}

function testFollowing({ check, checkShared }: Kit): void {
  check("readChanges() agrees with listChangedSince() and readNodes()", async (storage) => {
    const empty = defined(await storage.readChanges?.(0, 10));
    const { nodes: _, ...moment } = defined(await storage.readNodes?.([]));
    assertEquals(empty, { ...moment, nodes: [] }, "a new storage");
    for (const key of ["a", "b", "a", "c"]) await write(storage, key);
    await storage.deleteNode("b");
    await storage.incrementVersion("d");
    const all = await storage.listChangedSince(0);
    for (const { version } of all) {
      for (const limit of [1, 2, 10]) {
        const changes = defined(await storage.readChanges?.(version - 1, limit));
        const expected = all.filter((meta) => meta.version >= version).slice(0, limit);
        assertEquals(changes.nodes, expected, `${limit} from version ${version} on`);
        assertEquals(changes.maxVersion, await storage.getMaxVersion(), "maxVersion");
        const { epoch, replicaId, late } = changes;
        assertEquals([epoch, replicaId, late], [empty.epoch, empty.replicaId, empty.late], "names and late");
      }
    }
    assertEquals((await storage.readChanges?.(Number.MAX_SAFE_INTEGER, 10))?.nodes, [], "after all versions");
  });

  checkShared(
    "readChanges() reports by `late` that a node was published below the counter",
    async (one, other) => {
      const reserved = await other.incrementVersion("late");
      await write(other, "next");
      const before = defined(await one.readChanges?.(0, 10));
      await write(other, "new");
      const between = defined(await one.readChanges?.(0, 10));
      assertEquals(between.late, before.late, "late after a node in order");
      await other.setNode("late", metaOf("late", reserved));
      const after = defined(await one.readChanges?.(0, 10));
      assert(after.late > between.late, `Expected late above ${between.late}, got ${after.late}`);
    },
  );
}

function testIdentity({ check, checkShared, options: { create, destroy } }: Kit): void {
  check("getIdentity() returns lasting names, different for each storage", async (storage) => {
    const identity = defined(await storage.getIdentity?.());
    assert(/^[0-9a-z]{9}-[0-9a-z]+$/.test(identity.epoch), `Expected an epoch, got ${identity.epoch}`);
    assert(identity.replicaId.length >= 8, `Expected a random name, got ${identity.replicaId}`);
    await write(storage, "a");
    assertEquals(await storage.getIdentity?.(), identity, "getIdentity() after a write");
    const second = await create();
    try {
      const other = defined(await second.getIdentity?.());
      assert(other.epoch !== identity.epoch, "Two storages have the same epoch");
      assert(other.replicaId !== identity.replicaId, "Two storages have the same origin");
    } finally {
      await destroy?.(second);
    }
  });

  checkShared("getIdentity() is the same in all processes on one storage", async (one, other) => {
    const [first, second] = await Promise.all([one.getIdentity?.(), other.getIdentity?.()]);
    assertEquals(second, first, "getIdentity() of the other");
  });
}
