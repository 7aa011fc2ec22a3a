/**
 * The kit: changes that are not written if nodes are stored with given hashes.
 *
 * @module
 */
import { isMeshStorage, type NodeChange, type RealityStorage } from "../../src/store/contract.ts";
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { apply } from "./batch.ts";
import { allSettle, changeOf, defined, deletionOf, type Kit } from "./kit.ts";

/** Registers these tests. */
export function testConditions(kit: Kit): void {
  if (!kit.supports.conditions) return;
  testOneChange(kit);
  testSeveralChanges(kit);
  testRaces(kit);
}

/** A change that is not written if its node has the hash already. */
function ifChanged(key: string, hash: string): NodeChange {
  return { ...changeOf(key, hash), unless: [{ key, hash }] };
}

/** All that a change may move: history and counter. */
async function stateOf(storage: RealityStorage): Promise<unknown> {
  const { nodes: _, ...moment } = { nodes: [], ...await storage.readNodes?.([]) };
  return [await storage.listChangedSince(0), await storage.getMaxVersion(), moment];
}

function testOneChange({ check, supports }: Kit): void {
  check(
    "applyChanges() writes nothing if all of `unless` are stored, and returns the stored meta",
    async (storage) => {
      const [stored] = await apply(storage, changeOf("a", "1"));
      const before = await stateOf(storage);
      const metas = await apply(storage, { ...ifChanged("a", "1"), updatedAt: 1_800_000_000_000 });
      assertEquals(metas, [{ ...defined(stored), unchanged: true }], "the metas");
      assertEquals(await stateOf(storage), before, "the state of the storage");
    },
  );

  check(
    "applyChanges() writes a change whose `unless` is stored with another hash, deleted or missing",
    async (storage) => {
      for (const hash of ["2", "1", "x", "X", "x ", "\uffee", ""]) {
        const [meta] = await apply(storage, ifChanged("a", hash));
        assertEquals([meta?.unchanged, meta?.hash], [undefined, hash], "the meta");
        assertEquals(await storage.getNode("a"), meta, "getNode()");
      }
      if (!supports.tombstones) return;
      await apply(storage, deletionOf("a"));
      const [meta] = await apply(storage, ifChanged("a", ""));
      assertEquals(await storage.getNode("a"), meta, "getNode() after a deletion");
    },
  );

  check("applyChanges() that found all of `unless` leaves the next change its version", async (storage) => {
    await apply(storage, changeOf("a", "1"));
    await apply(storage, ifChanged("a", "1"));
    const [meta] = await apply(storage, changeOf("a", "2"));
    assertEquals(await storage.getNode("a"), meta, "getNode()");
    assertEquals(await storage.getMaxVersion(), meta?.version, "getMaxVersion()");
  });

  check(
    "applyChanges() at the end of all numbers returns what is unchanged, and rejects the rest",
    async (storage) => {
      const [meta] = await apply(storage, changeOf("a", "1"));
      await storage.setNode("b", { ...changeOf("b"), version: Number.MAX_SAFE_INTEGER });
      await assertRejects(() => apply(storage, ifChanged("a", "2")), "a change");
      assertEquals(await storage.getNode("a"), meta, "getNode()");
    },
  );

  check("applyChanges() rejects a condition without a key", async (storage) => {
    await assertRejects(
      () => apply(storage, { ...changeOf("a"), unless: [{ key: "", hash: "1" }] }),
      "an empty key",
    );
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
  });
}

function testSeveralChanges({ check, supports }: Kit): void {
  check("applyChanges() decides each change by the nodes before the commit", async (storage) => {
    const [a, b] = await apply(storage, changeOf("a", "1"), changeOf("b", "1"));
    const metas = await apply(
      storage,
      ifChanged("a", "1"),
      ifChanged("b", "2"),
      changeOf("c", "1"),
      // "b" has the hash 2 after this commit, not before.
      { ...changeOf("d", "1"), unless: [{ key: "b", hash: "2" }] },
      { ...changeOf("e", "1"), unless: [{ key: "b", hash: "1" }] },
    );
    assertEquals(metas.map(({ key, unchanged = false }) => [key, unchanged]), [
      ...[["a", true], ["b", false], ["c", false], ["d", false], ["e", true]],
    ], "unchanged");
    assertEquals([metas[0]?.version, metas[4]?.version], [a?.version, 0], "versions of what was not written");
    const written = [metas[1], metas[2], metas[3]];
    const versions = [defined(b).version, ...written.map((meta) => defined(meta).version)];
    assertEquals(versions, [...new Set(versions)].sort((one, other) => one - other), "versions, ever larger");
    assertEquals(await storage.listChangedSince(0), [a, ...written], "listChangedSince()");
    assertEquals(await storage.getNode("e"), null, "getNode()");
  });

  check("applyChanges() writes a change if one of several in `unless` is not stored", async (storage) => {
    await apply(storage, changeOf("a", "1"), changeOf("b", "1"));
    const group = (a: string, b: string): NodeChange => ({
      ...changeOf("all", "g"),
      unless: [{ key: "a", hash: a }, { key: "b", hash: b }],
    });
    const both = await apply(storage, ifChanged("a", "1"), ifChanged("b", "1"), group("1", "1"));
    assertEquals(both.map(({ unchanged }) => unchanged), [true, true, true], "both stored");
    const first = await apply(storage, ifChanged("a", "2"), ifChanged("b", "1"), group("2", "1"));
    assertEquals(
      first.map(({ unchanged }) => unchanged),
      [undefined, true, undefined],
      "the first not stored",
    );
    const second = await apply(storage, ifChanged("a", "2"), ifChanged("b", "2"), group("2", "2"));
    assertEquals(
      second.map(({ unchanged }) => unchanged),
      [true, undefined, undefined],
      "the second not stored",
    );
    assertEquals(await storage.getNode("all"), second[2], "getNode()");
    const none = await apply(storage, ifChanged("a", "3"), ifChanged("b", "3"), group("3", "3"));
    assertEquals(none.map(({ unchanged }) => unchanged), [undefined, undefined, undefined], "none stored");
    assertEquals(
      await storage.getNodes(["a", "b", "all"]),
      new Map(none.map((meta) => [meta.key, meta])),
      "getNodes()",
    );
  });

  check("applyChanges() accepts features.maxChanges changes with conditions", async (storage) => {
    const count = Math.min(storage.features?.maxChanges ?? 1000, 1000);
    const changes = (hash: (i: number) => string) =>
      [...Array(count).keys()].map((i) => ifChanged(`key "${i}" 😀`, hash(i)));
    const before = await apply(storage, ...changes((i) => `hash-${i}`));
    const metas = await apply(storage, ...changes((i) => i % 2 === 0 ? `hash-${i}` : "other"));
    metas.forEach(({ unchanged, version }, i) => {
      assertEquals(unchanged, i % 2 === 0 ? true : undefined, `unchanged of ${i}`);
      assertEquals(version === before[i]?.version, i % 2 === 0, `the version of ${i}`);
    });
  });

  if (!supports.mesh) return;
  check(
    "applyChanges() ignores `unless` after another storage was merged, whose changes may be on the way",
    async (storage) => {
      assert(isMeshStorage(storage), "Expected a storage that can be merged");
      await apply(storage, changeOf("a", "1"));
      await storage.adoptVector(new Map([["other", 1]]), (await storage.getIdentity()).epoch);
      const [meta] = await apply(storage, ifChanged("a", "1"));
      assertEquals(meta?.unchanged, undefined, "unchanged");
      assertEquals(await storage.getNode("a"), meta, "getNode()");
    },
  );
}

function testRaces({ checkShared }: Kit): void {
  checkShared(
    "applyChanges() with `unless` sees each change that another process was told of",
    async (one, other) => {
      for (let round = 0; round < 10; round++) {
        const [a, b] = [`a${round}`, `b${round}`];
        await apply(one, changeOf("k", a));
        const [meta] = await apply(other, ifChanged("k", b));
        assertEquals(meta?.unchanged, undefined, "another hash");
        const [back] = await apply(one, ifChanged("k", a));
        assertEquals(back?.unchanged, undefined, "the earlier hash");
        const [same] = await apply(other, ifChanged("k", a));
        assertEquals(same, { ...defined(back), unchanged: true }, "the same hash");
      }
    },
  );

  checkShared(
    "applyChanges() with `unless`, at once with other changes, never loses a hash",
    async (one, other) => {
      for (let round = 0; round < 10; round++) {
        await apply(one, changeOf("k", "1"), changeOf("all", `${round}`));
        const [plain, conditional] = await allSettle([
          apply(one, changeOf("k", "2")),
          apply(other, ifChanged("k", "1"), { ...changeOf("all", "g"), unless: [{ key: "k", hash: "1" }] }),
        ]);
        const stored = defined(await one.getNode("k"));
        const meta = defined(conditional?.[0]);
        if (meta.unchanged) assertEquals(stored, plain?.[0], "the node after a change that found its hash");
        else {assertEquals(
            stored.version,
            Math.max(defined(plain?.[0]).version, meta.version),
            "the last version",
          );}
        assertEquals(
          (await one.getNode("all"))?.hash === "g",
          !meta.unchanged,
          "whether the second was written",
        );
      }
    },
  );
}
