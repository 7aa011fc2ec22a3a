/**
 * The kit: a storage takes in what others wrote, each node only in the place of the one it was judged against.
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
  deletionOf,
  keysOf,
  type Kit,
  metaOf,
  there,
  write,
} from "./kit.ts";
import {
  byKey,
  dotOfMeta,
  foreign,
  fresh,
  highest,
  keysOfAll,
  LAST_EPOCH,
  MANY,
  meshKit,
  metaIn,
  ownNode,
  ownSeen,
  readPages,
  stampedOf,
  stampedOfAll,
  take,
} from "./mesh_kit.ts";

/** Registers these tests. */
export function testTakes(kit: Kit): void {
  testTaking(kit);
  testAbsence(kit);
  testOwnTakes(kit);
}

function testTaking(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { supports } = kit;

  checkMesh("takeNodes() keeps a node as it is, with version and dotVersion", async (storage) => {
    const { version: top } = await write(storage, "own");
    const merges = [
      foreign("a", top + 10),
      { ...foreign("b", top + 20), deleted: true as const },
      { ...foreign("c", top + 30, "third"), dotVersion: top + 99 },
      { ...foreign("d", top + 40), hash: "\u0001abc~DEF_012", updatedAt: 0 },
      { ...foreign("e", top + 50), hash: "\u0001", deleted: true as const },
      { ...foreign("😀 '\"\\%", top + 60), hash: "😀 '\"\\%\u0001" },
    ];
    const written = await storage.mergeNodes(merges.map(fresh));
    assertEquals(written, merges.map(metaIn), "what it gives");
    const keys = keysOf(merges);
    assertEquals(
      await storage.readReplicated(keys),
      new Map(merges.map((node) => [node.key, node])),
      "the nodes",
    );
    const live = merges.filter(({ deleted }) => !deleted).map(metaIn);
    assertEquals(await storage.getNodes(keys), new Map(live.map((meta) => [meta.key, meta])), "getNodes()");
    assertEquals(await storage.listChangedSince(top), merges.map(metaIn), "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), top + 60, "getMaxVersion()");
  });

  checkMesh("takeNodes() lifts the counter above versions and stamps", async (storage) => {
    const top = (await write(storage, "a")).version;
    await storage.mergeNodes([fresh(foreign("b", top + 1000)), fresh(foreign("c", top + 500))]);
    const next = await storage.incrementVersion("x");
    assert(next > top + 1000, `Expected a version above ${top + 1000}, got ${next}`);
    await storage.mergeNodes([fresh({ ...foreign("d", next + 10), dotVersion: next + 5000 })]);
    const [meta] = await apply(storage, changeOf("a"));
    assert(there(meta).version > next + 5000, `Expected a version above ${next + 5000}`);
  });

  checkMesh("takeNodes() counts nothing as seen: neither of the others nor of its own", async (storage) => {
    const { version: top } = await write(storage, "a");
    const before = await storage.readReplicaState();
    await storage.mergeNodes([
      fresh(foreign("b", top + 1000)),
      take(foreign("a", top + 9), dotOfMeta(before, top)),
    ]);
    const after = await storage.readReplicaState();
    assertEquals(highest(after.vector), highest(before.vector), "seen");
    // Its own newest node is gone, but it was told as seen.
    assertEquals(await ownSeen(storage), top, "the own entry in seen");
  });

  checkMesh("takeNodes() of nothing changes nothing", async (storage) => {
    assertEquals(await storage.mergeNodes([]), [], "what it gives");
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
  });

  checkMesh(
    "takeNodes() writes only where the node is still the one it was judged against",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [a, b, gone] = await apply(storage, changeOf("a"), changeOf("b"), deletionOf("gone"));
      const at = (meta: RealityNodeMeta | undefined, by = 0): Dot => ({
        version: there(meta).version + by,
        replicaId,
      });
      const top = there(gone).version;
      const misses: [string, Dot | null][] = [
        ["a", null],
        ["a", at(a, 1)],
        ["a", at(b)],
        ["a", { version: there(a).version, replicaId: "other" }],
        ["gone", null],
        ["gone", at(gone, -1)],
        ["nobody", at(a)],
        ["nobody", { version: top, replicaId: "other" }],
      ];
      const before = await storage.readReplicated(["a", "b", "gone", "nobody"]);
      for (const [key, replaces] of misses) {
        for (const node of [foreign(key, top + 10), changeOf(key, "own"), deletionOf(key)]) {
          const written = await storage.mergeNodes([{ node, replaces }]);
          assertEquals(written, [null], `${key} in the place of ${JSON.stringify(replaces)}`);
        }
      }
      assertEquals(await storage.readReplicated(["a", "b", "gone", "nobody"]), before, "the nodes");
      const x = foreign("a", top + 50);
      const y = foreign("gone", top + 51);
      assertEquals(
        await storage.mergeNodes([take(x, at(a)), take(y, at(gone)), take(foreign("b", top + 52), at(a))]),
        [metaIn(x), metaIn(y), null],
        "two that are right and one that is not",
      );
      assertEquals(await storage.getNode("gone"), metaIn(y), "a node in the place of a tombstone");
      const again = foreign("a", top + 60, "third");
      assertEquals(
        await storage.mergeNodes([take(again, at(a))]),
        [null],
        "in the place of what was replaced",
      );
      assertEquals(
        await storage.mergeNodes([take(again, dotOf(x))]),
        [metaIn(again)],
        "in the place of what is",
      );
      assertEquals(await storage.readReplicated(["a"]), new Map([["a", again]]), "readStamped()");
    },
  );

  checkMesh("takeNodes() looks at the dotVersion, not the version, of what it replaces", async (storage) => {
    const { replicaId } = await storage.getIdentity();
    const reserved = await storage.incrementVersion("late");
    await write(storage, "next");
    await storage.setNode("late", metaOf("late", reserved));
    const node = await stampedOf(storage, "late");
    const newer = foreign("late", node.dotVersion + 10);
    assertEquals(
      await storage.mergeNodes([take(newer, { version: reserved, replicaId })]),
      [null],
      "by version",
    );
    assertEquals(await storage.mergeNodes([take(newer, dotOf(node))]), [metaIn(newer)], "by dotVersion");
  });

  checkMesh(
    "a node that is taken below the counter is told to whoever follows the history",
    async (storage) => {
      await apply(storage, changeOf("a"), changeOf("b"), changeOf("c"));
      const before = await storage.readReplicaState();
      const late = await storage.readChanges?.(0, MANY);
      const reading = await storage.readNodes?.([]);
      const node = foreign("old", 1);
      assertEquals(await storage.mergeNodes([fresh(node)]), [metaIn(node)], "what takeNodes() gives");
      const history = await storage.listChangedSince(0);
      assertEquals(history.find(({ key }) => key === "old"), metaIn(node), "the node in the history");
      assertHistory(history, "listChangedSince()");
      assertEquals(await storage.getMaxVersion(), before.maxVersion, "getMaxVersion()");
      if (late) {
        const now = there(await storage.readChanges?.(0, MANY));
        assert(now.late > late.late, `Expected late above ${late.late}, got ${now.late}`);
      }
      if (reading) {
        const now = there(await storage.readNodes?.(["old"]));
        assert(now.late > reading.late, `Expected late above ${reading.late}, got ${now.late}`);
      }
      const lower = foreign("c", 2);
      const c = await stampedOf(storage, "c");
      assertEquals(await storage.mergeNodes([take(lower, dotOf(c))]), [metaIn(lower)], "a lower version");
      assertEquals(
        await storage.getMaxVersion(),
        before.maxVersion,
        "getMaxVersion() without its newest node",
      );
      assertEquals(await ownSeen(storage), before.vector.get(before.replicaId), "the own entry in seen");
    },
  );

  checkMesh("a change of its own makes a taken node the storage's own again", async (storage) => {
    const { replicaId } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const keys = ["a", "b", "c", "d"];
    const merges = keys.map((key, i) => fresh({ ...foreign(key, top + 10 + i), dotVersion: top + 100 + i }));
    await storage.mergeNodes(merges);
    const [a, b] = await apply(storage, changeOf("a", "2"), deletionOf("b"));
    const c = await write(storage, "c");
    await storage.deleteNode("d");
    const nodes = await storage.readReplicated(keys);
    assertEquals(nodes.get("a"), ownNode(there(a), replicaId), "after applyChanges()");
    assertEquals(nodes.get("b"), ownNode(there(b), replicaId), "after applyChanges() of a deletion");
    assertEquals(nodes.get("c"), ownNode(c, replicaId), "after setNode()");
    assertEquals(
      [nodes.get("d")?.replicaId, nodes.get("d")?.dotVersion],
      [replicaId, nodes.get("d")?.version],
      "after deleteNode()",
    );
  });

  checkMesh("setNode() with an older node leaves a taken one as it is", async (storage) => {
    const { version: top } = await write(storage, "x");
    const node = foreign("a", top + 10);
    await storage.mergeNodes([fresh(node)]);
    await storage.setNode("a", metaOf("a", top + 9));
    await storage.setNode("a", metaIn(node));
    assertEquals(await stampedOf(storage, "a"), node, "readStamped()");
  });

  checkMesh("its own node that comes back is its own", async (storage) => {
    // As from another storage, to one that was set back to an earlier state.
    const { replicaId } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const node = foreign("a", top + 10, replicaId);
    await storage.mergeNodes([fresh(node)]);
    assertEquals(await stampedOf(storage, "a"), node, "readStamped()");
    assertEquals(await storage.mergeNodes([take(foreign("a", top + 20), dotOf(node))]).then(keysOfAll), [
      "a",
    ], "taking");
    assert(await storage.incrementVersion("x") > top + 20, "Expected the counter to have moved");
  });

  checkMesh("takeNodes() takes as many nodes as applyChanges() takes changes", async (storage) => {
    const count = Math.min(storage.features?.maxChanges ?? MANY, 10_000);
    const { version: top } = await write(storage, "x");
    const nodes = [...Array(count).keys()].map((i) =>
      foreign(`key "${i}" 😀`, top + 1 + i, `replicaId-${i % 3}`)
    );
    const written = await storage.mergeNodes(nodes.map(fresh));
    assertEquals(written, nodes.map(metaIn), "what it gives");
    const told = (await readPages(storage, new Map(), MANY)).flatMap((page) => page.nodes);
    assertEquals(byKey(told.filter(({ key }) => key !== "x")), byKey(nodes), "all pages of a delta");
  });

  checkMesh("takeNodes() that is refused changes nothing at all", async (storage) => {
    const { maxChanges = MANY } = storage.features ?? {};
    const meta = await write(storage, "a");
    const bad: [string, NodeMerge[]][] = [
      ["version 0", [fresh(foreign("b", 10)), fresh(foreign("c", 0))]],
      ["a version past 2^53", [fresh(foreign("b", 10)), fresh(foreign("c", 2 ** 53))]],
      ["dotVersion 0", [fresh(foreign("b", 10)), fresh({ ...foreign("c", 10), dotVersion: 0 })]],
      ["an empty key", [fresh(foreign("b", 10)), fresh(foreign("", 10))]],
      ["a key named twice", [fresh(foreign("b", 10)), fresh(foreign("c", 11)), fresh(foreign("b", 12))]],
    ];
    if (maxChanges <= 10_000) {
      const tooMany = [...Array(maxChanges + 1).keys()].map((i) => fresh(foreign(`key:${i}`, i + 10)));
      bad.push(["more than maxChanges", tooMany]);
    }
    for (const [what, merges] of bad) await assertRejects(() => storage.mergeNodes(merges), what);
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), meta.version, "getMaxVersion()");
  });

  if (!supports.edgeSpaces) return;
  checkMesh("takeNodes() and readDelta() keep apart keys that look alike", async (storage) => {
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
    const nodes = keys.map((key, i) => ({ ...foreign(key, i + 10), hash: `\u0001${key}` }));
    assertEquals(await storage.mergeNodes(nodes.map(fresh)), nodes.map(metaIn), "what takeNodes() gives");
    assertEquals(
      await storage.readReplicated(keys),
      new Map(nodes.map((node) => [node.key, node])),
      "readStamped()",
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
    "takeNodes() adds no node once a tombstone was swept that its judge did not know of",
    async (storage) => {
      const { version: top } = await write(storage, "there");
      const { collected: before } = await storage.readReplicaState();
      const replaces = dotOfMeta(await storage.readReplicaState(), top);
      // As a full copy tells it: what was swept elsewhere may have been the deletion of any key.
      await storage.adoptVector(new Map(), LAST_EPOCH, new Map([["ox", 700]]));
      const { collected: after } = await storage.readReplicaState();
      for (const node of [foreign("a", top + 10), changeOf("a", "own"), deletionOf("a")]) {
        assertEquals(await storage.mergeNodes([{ node, replaces: null }], before), [null], "judged before");
      }
      assertEquals(await storage.readReplicated(["a"]), new Map(), "the node");
      const mixed = [fresh(foreign("a", top + 20)), take(foreign("there", top + 30), replaces)];
      const written = await storage.mergeNodes(mixed, before);
      assertEquals(written.map((meta) => meta?.key), [undefined, "there"], "beside one that replaces a node");
      const known = new Map([...after, ["oy", 9]]);
      const [meta] = await storage.mergeNodes([fresh(foreign("a", top + 40))], known);
      assertEquals(meta?.version, top + 40, "judged after");
      const [own] = await storage.mergeNodes([{ node: changeOf("b", "own"), replaces: null }]);
      assertEquals(own?.key, "b", "where no sweep matters");
    },
  );
}

function testOwnTakes(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "takeNodes() gives its own changes new versions, above all and above what is asked",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [a, gone] = await apply(storage, changeOf("a"), deletionOf("gone"));
      const top = there(gone).version;
      const x = { ...foreign("x", top + 300), dotVersion: top + 400 };
      const high = top + 5_000_000;
      const [one, taken, two, three] = await storage.mergeNodes([
        {
          node: { ...changeOf("a"), hash: "\u0001joined" },
          replaces: dotOfMeta({ replicaId: replicaId }, there(a).version),
        },
        fresh(x),
        { node: changeOf("new"), above: high, replaces: null },
        {
          node: { ...deletionOf("gone"), hash: "\u0001gone" },
          replaces: dotOfMeta({ replicaId: replicaId }, top),
        },
      ]);
      assertEquals(taken, metaIn(x), "the node from elsewhere");
      const versions = [one, two, three].map((meta) => there(meta).version);
      assertEquals(new Set(versions).size, 3, "how many versions");
      assert(Math.min(...versions) > x.dotVersion, "Expected versions above the counter as it was lifted");
      assert(there(two).version > high, `Expected a version above ${high}`);
      assertEquals([one?.hash, two?.hash, three?.hash], ["\u0001joined", "h", "\u0001gone"], "the hashes");
      assertEquals(three?.deleted, true, "deleted");
      const expected = [one, two, three].map((meta) => ownNode(there(meta), replicaId));
      assertEquals(byKey(await stampedOfAll(storage, "a", "new", "gone")), byKey(expected), "the nodes");
      assertEquals(await storage.getNode("gone"), null, "getNode() of the tombstone");
      assertEquals(await storage.getMaxVersion(), Math.max(...versions), "getMaxVersion()");
      assertEquals(await ownSeen(storage), Math.max(...versions), "the own entry in seen");
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
      fresh({ ...foreign("d", top + 2000), hash, deleted: true }),
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
  checkMesh("tombstones that were taken are swept when their time is over", async (storage) => {
    const { version: top } = await write(storage, "x");
    await storage.mergeNodes([
      { node: deletionOf("own"), replaces: null },
      fresh({ ...foreign("a", top + 2000), updatedAt: 1, deleted: true }),
      fresh(foreign("b", top + 3000)),
    ]);
    await write(storage, "x");
    assertEquals((await storage.readReplicated(["own", "a", "b"])).size, 3, "how many before");
    await elapse(storage);
    await write(storage, "x");
    await awaitSweep(async () => (await storage.readReplicated(["own", "a"])).size === 0);
    assertEquals([...(await storage.readReplicated(["own", "a", "b"])).keys()], ["b"], "what is left");
    const [meta] = await storage.mergeNodes([fresh(foreign("a", top + 4000))]);
    assert(meta, "Expected a node where a tombstone was swept");
  });
}
