/**
 * The kit: a storage merges nodes of other storages, each only if the stored node is the one that it was merged with.
 *
 * @module
 */
import { type Dot, dotOf, type NodeMerge } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { apply } from "./batch.ts";
import {
  assertHistory,
  awaitSweep,
  changeOf,
  defined,
  deletionOf,
  keysOf,
  type Kit,
  metaOf,
  write,
} from "./kit.ts";
import {
  byKey,
  dotOfMeta,
  highest,
  keysOfAll,
  LAST_EPOCH,
  MANY,
  mergeNew,
  mergeOf,
  meshKit,
  ownDotVersion,
  ownNode,
  readPages,
  replicaNode,
  replicatedOf,
  stampedOfAll,
  toMeta,
} from "./mesh_kit.ts";

/** Registers these tests. */
export function testMerges(kit: Kit): void {
  testTaking(kit);
  testAbsence(kit);
  testOwnTakes(kit);
}

function testTaking(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { supports } = kit;

  checkMesh("mergeNodes() stores a node unchanged, with version and dotVersion", async (storage) => {
    const { version: top } = await write(storage, "own");
    const merges = [
      replicaNode("a", top + 10),
      { ...replicaNode("b", top + 20), deleted: true as const },
      { ...replicaNode("c", top + 30, "third"), dotVersion: top + 99 },
      { ...replicaNode("d", top + 40), hash: "\u0001abc~DEF_012", updatedAt: 0 },
      { ...replicaNode("e", top + 50), hash: "\u0001", deleted: true as const },
      { ...replicaNode("😀 '\"\\%", top + 60), hash: "😀 '\"\\%\u0001" },
    ];
    const written = await storage.mergeNodes(merges.map(mergeNew));
    assertEquals(written, merges.map(toMeta), "what it gives");
    const keys = keysOf(merges);
    assertEquals(
      await storage.readReplicated(keys),
      new Map(merges.map((node) => [node.key, node])),
      "the nodes",
    );
    const live = merges.filter(({ deleted }) => !deleted).map(toMeta);
    assertEquals(await storage.getNodes(keys), new Map(live.map((meta) => [meta.key, meta])), "getNodes()");
    assertEquals(await storage.listChangedSince(top), merges.map(toMeta), "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), top + 60, "getMaxVersion()");
  });

  checkMesh("mergeNodes() raises the counter above versions and dots", async (storage) => {
    const top = (await write(storage, "a")).version;
    await storage.mergeNodes([mergeNew(replicaNode("b", top + 1000)), mergeNew(replicaNode("c", top + 500))]);
    const next = await storage.incrementVersion("x");
    assert(next > top + 1000, `Expected a version above ${top + 1000}, got ${next}`);
    await storage.mergeNodes([mergeNew({ ...replicaNode("d", next + 10), dotVersion: next + 5000 })]);
    const [meta] = await apply(storage, changeOf("a"));
    assert(defined(meta).version > next + 5000, `Expected a version above ${next + 5000}`);
  });

  checkMesh("mergeNodes() does not change the version vector", async (storage) => {
    const { version: top } = await write(storage, "a");
    const before = await storage.readReplicaState();
    await storage.mergeNodes([
      mergeNew(replicaNode("b", top + 1000)),
      mergeOf(replicaNode("a", top + 9), dotOfMeta(before, top)),
    ]);
    const after = await storage.readReplicaState();
    assertEquals(highest(after.vector), highest(before.vector), "seen");
    // Its own newest node was replaced, but the version vector still includes it.
    assertEquals(await ownDotVersion(storage), top, "the own entry in seen");
  });

  checkMesh("mergeNodes() without merges changes nothing", async (storage) => {
    assertEquals(await storage.mergeNodes([]), [], "what it gives");
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
  });

  checkMesh(
    "mergeNodes() writes only where the stored node is still the one it was merged with",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [a, b, gone] = await apply(storage, changeOf("a"), changeOf("b"), deletionOf("gone"));
      const at = (meta: RealityNodeMeta | undefined, by = 0): Dot => ({
        version: defined(meta).version + by,
        replicaId,
      });
      const top = defined(gone).version;
      const misses: [string, Dot | null][] = [
        ["a", null],
        ["a", at(a, 1)],
        ["a", at(b)],
        ["a", { version: defined(a).version, replicaId: "other" }],
        ["gone", null],
        ["gone", at(gone, -1)],
        ["nobody", at(a)],
        ["nobody", { version: top, replicaId: "other" }],
      ];
      const before = await storage.readReplicated(["a", "b", "gone", "nobody"]);
      for (const [key, replaces] of misses) {
        for (const node of [replicaNode(key, top + 10), changeOf(key, "own"), deletionOf(key)]) {
          const written = await storage.mergeNodes([{ node, replaces }]);
          assertEquals(written, [null], `${key} in the place of ${JSON.stringify(replaces)}`);
        }
      }
      assertEquals(await storage.readReplicated(["a", "b", "gone", "nobody"]), before, "the nodes");
      const x = replicaNode("a", top + 50);
      const y = replicaNode("gone", top + 51);
      assertEquals(
        await storage.mergeNodes([
          mergeOf(x, at(a)),
          mergeOf(y, at(gone)),
          mergeOf(replicaNode("b", top + 52), at(a)),
        ]),
        [toMeta(x), toMeta(y), null],
        "two that are right and one that is not",
      );
      assertEquals(await storage.getNode("gone"), toMeta(y), "a node in the place of a tombstone");
      const again = replicaNode("a", top + 60, "third");
      assertEquals(
        await storage.mergeNodes([mergeOf(again, at(a))]),
        [null],
        "in the place of what was replaced",
      );
      assertEquals(
        await storage.mergeNodes([mergeOf(again, dotOf(x))]),
        [toMeta(again)],
        "in the place of what is",
      );
      assertEquals(await storage.readReplicated(["a"]), new Map([["a", again]]), "readReplicated()");
    },
  );

  checkMesh(
    "mergeNodes() compares the dotVersion, not the version, of the node that it replaces",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const reserved = await storage.incrementVersion("late");
      await write(storage, "next");
      await storage.setNode("late", metaOf("late", reserved));
      const node = await replicatedOf(storage, "late");
      const newer = replicaNode("late", node.dotVersion + 10);
      assertEquals(
        await storage.mergeNodes([mergeOf(newer, { version: reserved, replicaId })]),
        [null],
        "by version",
      );
      assertEquals(await storage.mergeNodes([mergeOf(newer, dotOf(node))]), [toMeta(newer)], "by dotVersion");
    },
  );

  checkMesh(
    "a node that is merged below the counter is reported to readers of the history",
    async (storage) => {
      await apply(storage, changeOf("a"), changeOf("b"), changeOf("c"));
      const before = await storage.readReplicaState();
      const late = await storage.readChanges?.(0, MANY);
      const reading = await storage.readNodes?.([]);
      const node = replicaNode("old", 1);
      assertEquals(await storage.mergeNodes([mergeNew(node)]), [toMeta(node)], "what mergeNodes() gives");
      const history = await storage.listChangedSince(0);
      assertEquals(history.find(({ key }) => key === "old"), toMeta(node), "the node in the history");
      assertHistory(history, "listChangedSince()");
      assertEquals(await storage.getMaxVersion(), before.maxVersion, "getMaxVersion()");
      if (late) {
        const now = defined(await storage.readChanges?.(0, MANY));
        assert(now.late > late.late, `Expected late above ${late.late}, got ${now.late}`);
      }
      if (reading) {
        const now = defined(await storage.readNodes?.(["old"]));
        assert(now.late > reading.late, `Expected late above ${reading.late}, got ${now.late}`);
      }
      const lower = replicaNode("c", 2);
      const c = await replicatedOf(storage, "c");
      assertEquals(await storage.mergeNodes([mergeOf(lower, dotOf(c))]), [toMeta(lower)], "a lower version");
      assertEquals(
        await storage.getMaxVersion(),
        before.maxVersion,
        "getMaxVersion() without its newest node",
      );
      assertEquals(
        await ownDotVersion(storage),
        before.vector.get(before.replicaId),
        "the own entry in seen",
      );
    },
  );

  checkMesh("a change makes a merged node the storage's own again", async (storage) => {
    const { replicaId } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const keys = ["a", "b", "c", "d"];
    const merges = keys.map((key, i) =>
      mergeNew({ ...replicaNode(key, top + 10 + i), dotVersion: top + 100 + i })
    );
    await storage.mergeNodes(merges);
    const [a, b] = await apply(storage, changeOf("a", "2"), deletionOf("b"));
    const c = await write(storage, "c");
    await storage.deleteNode("d");
    const nodes = await storage.readReplicated(keys);
    assertEquals(nodes.get("a"), ownNode(defined(a), replicaId), "after applyChanges()");
    assertEquals(nodes.get("b"), ownNode(defined(b), replicaId), "after applyChanges() of a deletion");
    assertEquals(nodes.get("c"), ownNode(c, replicaId), "after setNode()");
    assertEquals(
      [nodes.get("d")?.replicaId, nodes.get("d")?.dotVersion],
      [replicaId, nodes.get("d")?.version],
      "after deleteNode()",
    );
  });

  checkMesh("setNode() with an older node leaves a merged one as it is", async (storage) => {
    const { version: top } = await write(storage, "x");
    const node = replicaNode("a", top + 10);
    await storage.mergeNodes([mergeNew(node)]);
    await storage.setNode("a", metaOf("a", top + 9));
    await storage.setNode("a", toMeta(node));
    assertEquals(await replicatedOf(storage, "a"), node, "readReplicated()");
  });

  checkMesh("an own node that is merged back is the storage's own", async (storage) => {
    // As from another storage, to one that was set back to an earlier state.
    const { replicaId } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const node = replicaNode("a", top + 10, replicaId);
    await storage.mergeNodes([mergeNew(node)]);
    assertEquals(await replicatedOf(storage, "a"), node, "readReplicated()");
    assertEquals(
      await storage.mergeNodes([mergeOf(replicaNode("a", top + 20), dotOf(node))]).then(keysOfAll),
      [
        "a",
      ],
      "taking",
    );
    assert(await storage.incrementVersion("x") > top + 20, "Expected the counter to have moved");
  });

  checkMesh("mergeNodes() accepts as many nodes as applyChanges() accepts changes", async (storage) => {
    const count = Math.min(storage.features?.maxChanges ?? MANY, 10_000);
    const { version: top } = await write(storage, "x");
    const nodes = [...Array(count).keys()].map((i) =>
      replicaNode(`key "${i}" 😀`, top + 1 + i, `replicaId-${i % 3}`)
    );
    const written = await storage.mergeNodes(nodes.map(mergeNew));
    assertEquals(written, nodes.map(toMeta), "what it gives");
    const told = (await readPages(storage, new Map(), MANY)).flatMap((page) => page.nodes);
    assertEquals(byKey(told.filter(({ key }) => key !== "x")), byKey(nodes), "all pages of a delta");
  });

  checkMesh("mergeNodes() that rejects changes nothing", async (storage) => {
    const { maxChanges = MANY } = storage.features ?? {};
    const meta = await write(storage, "a");
    const bad: [string, NodeMerge[]][] = [
      ["version 0", [mergeNew(replicaNode("b", 10)), mergeNew(replicaNode("c", 0))]],
      ["a version past 2^53", [mergeNew(replicaNode("b", 10)), mergeNew(replicaNode("c", 2 ** 53))]],
      ["dotVersion 0", [
        mergeNew(replicaNode("b", 10)),
        mergeNew({ ...replicaNode("c", 10), dotVersion: 0 }),
      ]],
      ["an empty key", [mergeNew(replicaNode("b", 10)), mergeNew(replicaNode("", 10))]],
      ["a key named twice", [
        mergeNew(replicaNode("b", 10)),
        mergeNew(replicaNode("c", 11)),
        mergeNew(replicaNode("b", 12)),
      ]],
    ];
    if (maxChanges <= 10_000) {
      const tooMany = [...Array(maxChanges + 1).keys()].map((i) => mergeNew(replicaNode(`key:${i}`, i + 10)));
      bad.push(["more than maxChanges", tooMany]);
    }
    for (const [what, merges] of bad) await assertRejects(() => storage.mergeNodes(merges), what);
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
  });

  if (!supports.edgeSpaces) return;
  checkMesh("mergeNodes() and readDelta() distinguish similar keys", async (storage) => {
    const keys = [
      "a",
      "A",
      "á",
      "a\u0301",
      " a",
      "a ",
      "a  ",
      "\u0001",
      "%",
      "'",
      "__proto__",
      "\u{10ffff}",
      "日本語",
    ];
    const nodes = keys.map((key, i) => ({ ...replicaNode(key, i + 10), hash: `\u0001${key}` }));
    assertEquals(await storage.mergeNodes(nodes.map(mergeNew)), nodes.map(toMeta), "what mergeNodes() gives");
    assertEquals(
      await storage.readReplicated(keys),
      new Map(nodes.map((node) => [node.key, node])),
      "readReplicated()",
    );
    await storage.adoptVector(new Map([["other", 100]]), LAST_EPOCH);
    for (const limit of [1, 4, MANY]) {
      const told = (await readPages(storage, new Map(), limit)).flatMap((page) => page.nodes);
      assertEquals(byKey(told), byKey(nodes), `all pages of ${limit}`);
    }
  });
}

/** Whether a key that is missing is still missing for the same reason. */
function testAbsence(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "mergeNodes() adds no node after a tombstone was collected that the caller did not know of",
    async (storage) => {
      const { version: top } = await write(storage, "there");
      const { collected: before } = await storage.readReplicaState();
      const replaces = dotOfMeta(await storage.readReplicaState(), top);
      // As after a full copy: a tombstone that was collected elsewhere may have been the deletion of any key.
      await storage.adoptVector(new Map(), LAST_EPOCH, new Map([["ox", 700]]));
      const { collected: after } = await storage.readReplicaState();
      for (const node of [replicaNode("a", top + 10), changeOf("a", "own"), deletionOf("a")]) {
        assertEquals(await storage.mergeNodes([{ node, replaces: null }], before), [null], "judged before");
      }
      assertEquals(await storage.readReplicated(["a"]), new Map(), "the node");
      const mixed = [mergeNew(replicaNode("a", top + 20)), mergeOf(replicaNode("there", top + 30), replaces)];
      const written = await storage.mergeNodes(mixed, before);
      assertEquals(written.map((meta) => meta?.key), [undefined, "there"], "beside one that replaces a node");
      const known = new Map([...after, ["oy", 9]]);
      const [meta] = await storage.mergeNodes([mergeNew(replicaNode("a", top + 40))], known);
      assertEquals(meta?.version, top + 40, "judged after");
      const [own] = await storage.mergeNodes([{ node: changeOf("b", "own"), replaces: null }]);
      assertEquals(own?.key, "b", "where no sweep matters");
    },
  );
}

function testOwnTakes(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "mergeNodes() gives its own changes new versions, above all others and above the requested one",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [a, gone] = await apply(storage, changeOf("a"), deletionOf("gone"));
      const top = defined(gone).version;
      const x = { ...replicaNode("x", top + 300), dotVersion: top + 400 };
      const high = top + 5_000_000;
      const [one, taken, two, three] = await storage.mergeNodes([
        {
          node: { ...changeOf("a"), hash: "\u0001joined" },
          replaces: dotOfMeta({ replicaId: replicaId }, defined(a).version),
        },
        mergeNew(x),
        { node: changeOf("new"), above: high, replaces: null },
        {
          node: { ...deletionOf("gone"), hash: "\u0001gone" },
          replaces: dotOfMeta({ replicaId: replicaId }, top),
        },
      ]);
      assertEquals(taken, toMeta(x), "the node from elsewhere");
      const versions = [one, two, three].map((meta) => defined(meta).version);
      assertEquals(new Set(versions).size, 3, "how many versions");
      assert(Math.min(...versions) > x.dotVersion, "Expected versions above the counter as it was lifted");
      assert(defined(two).version > high, `Expected a version above ${high}`);
      assertEquals([one?.hash, two?.hash, three?.hash], ["\u0001joined", "h", "\u0001gone"], "the hashes");
      assertEquals(three?.deleted, true, "deleted");
      const expected = [one, two, three].map((meta) => ownNode(defined(meta), replicaId));
      assertEquals(byKey(await stampedOfAll(storage, "a", "new", "gone")), byKey(expected), "the nodes");
      assertEquals(await storage.getNode("gone"), null, "getNode() of the tombstone");
      assertEquals(await storage.getMaxVersion(), Math.max(...versions), "getMaxVersion()");
      assertEquals(await ownDotVersion(storage), Math.max(...versions), "the own entry in seen");
      assert(
        await storage.incrementVersion("a") > Math.max(...versions),
        "Expected the counter to have moved",
      );
    },
  );

  checkMesh("a tombstone's hash is kept, however it was written", async (storage) => {
    const { version: top } = await write(storage, "x");
    const hash = "\u0001joined";
    await apply(storage, { ...deletionOf("a"), hash });
    await storage.setNode("b", { ...metaOf("b", top + 1000), hash, deleted: true });
    await storage.mergeNodes([
      { node: { ...deletionOf("c"), hash }, replaces: null },
      mergeNew({ ...replicaNode("d", top + 2000), hash, deleted: true }),
    ]);
    const nodes = await stampedOfAll(storage, "a", "b", "c", "d");
    assertEquals(
      nodes.map((node) => [node.hash, node.deleted]),
      Array(4).fill([hash, true]),
      "hash and deleted",
    );
    assertEquals(
      byKey((await storage.readDelta(new Map(), MANY)).nodes).slice(0, 4),
      byKey(nodes),
      "a delta",
    );
  });

  const { elapse } = kit.options;
  if (!elapse) return;
  checkMesh("merged tombstones are collected after their time", async (storage) => {
    const { version: top } = await write(storage, "x");
    await storage.mergeNodes([
      { node: deletionOf("own"), replaces: null },
      mergeNew({ ...replicaNode("a", top + 2000), updatedAt: 1, deleted: true }),
      mergeNew(replicaNode("b", top + 3000)),
    ]);
    await write(storage, "x");
    assertEquals((await storage.readReplicated(["own", "a", "b"])).size, 3, "how many before");
    await elapse(storage);
    await write(storage, "x");
    await awaitSweep(async () => (await storage.readReplicated(["own", "a"])).size === 0);
    assertEquals([...(await storage.readReplicated(["own", "a", "b"])).keys()], ["b"], "what is left");
    const [meta] = await storage.mergeNodes([mergeNew(replicaNode("a", top + 4000))]);
    assert(meta, "Expected a node where a tombstone was swept");
  });
}
