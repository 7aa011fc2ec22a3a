/**
 * The kit: a storage that stands beside others keeps where each change comes from, what it has taken in, and
 * tells all of it to whoever asks.
 *
 * @module
 */
import {
  hasSeen,
  isMeshStorage,
  joinSeen,
  type MeshStorage,
  type NodeChange,
  type NodeTake,
  type RealityStorage,
  type Seen,
  type Stamp,
  type StampedNode,
  stampOf,
} from "../../src/storage.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { apply } from "./batch.ts";
import { assertHistory, changeOf, deletionOf, keysOf, type Kit, metaOf, there, write } from "./kit.ts";

const METHODS = ["readSeen", "readDelta", "readStamped", "takeNodes", "adoptSeen", "countByClock"] as const;
/** Sorts before every epoch that a storage makes, and after. */
const FIRST_EPOCH = "000000000-first";
const LAST_EPOCH = "zzzzzzzzz-last";
/** Where the clock counter begins. */
const CLOCK_START_MS = Date.UTC(2020, 0, 1);
const MANY = 1000;

/** Registers these tests. */
export function testMesh(kit: Kit): void {
  const { check, supports } = kit;
  check("has all the methods of a storage beside others, or none of them", async (storage) => {
    for (const method of METHODS) {
      const found = typeof (storage as Partial<MeshStorage>)[method] === "function";
      assertEquals(found, supports.mesh, `supports.mesh, as for ${method}()`);
    }
    assertEquals(isMeshStorage(storage), supports.mesh, "supports.mesh");
    await storage.isHealthy();
  });
  if (!supports.mesh) return;
  testSeen(kit);
  testDelta(kit);
  testPages(kit);
  if (kit.options.elapse) testSweptPages(kit, kit.options.elapse);
  testTaking(kit);
  testOwnTakes(kit);
  testAdopting(kit);
  testSharing(kit);
}

/** As `kit`, for storages that stand beside others. */
function meshKit({ check, checkShared }: Kit): {
  checkMesh: (name: string, fn: (storage: MeshStorage) => Promise<void>) => void;
  checkBoth: (name: string, fn: (one: MeshStorage, other: MeshStorage) => Promise<void>) => void;
} {
  return {
    checkMesh: (name, fn) => check(name, async (storage) => await fn(asMesh(storage))),
    checkBoth: (name, fn) => checkShared(name, async (one, other) => await fn(asMesh(one), asMesh(other))),
  };
}

function testSeen(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh("readSeen() of a new storage tells its names and that it has seen nothing", async (storage) => {
    const { seen, swept, maxVersion, ...identity } = await storage.readSeen();
    assertEquals(identity, await storage.getIdentity(), "its names");
    assertEquals([...seen.values()].filter((stamp) => stamp !== 0), [], "seen");
    assertEquals([...swept.values()].filter((stamp) => stamp !== 0), [], "swept");
    assertEquals(maxVersion, 0, "maxVersion");
  });

  checkMesh("readSeen() counts every change of its own, as soon as it is made", async (storage) => {
    const makes: [string, () => Promise<unknown>][] = [
      ["applyChanges()", () => apply(storage, changeOf("a"), changeOf("b"), deletionOf("c"))],
      ["setNode()", () => write(storage, "a")],
      ["deleteNode()", () => storage.deleteNode("b")],
      ["takeNodes()", () => storage.takeNodes([{ node: changeOf("d"), replaces: null }])],
    ];
    for (const [name, make] of makes) {
      await make();
      const newest = there((await storage.listChangedSince(0)).at(-1));
      assertEquals(await ownSeen(storage), newest.version, `the own entry in seen after ${name}`);
      assertEquals((await storage.readSeen()).maxVersion, newest.version, `maxVersion after ${name}`);
    }
  });

  checkMesh("readSeen() does not count a number that was reserved and is not published", async (storage) => {
    const { version } = await write(storage, "a");
    const reserved = await storage.incrementVersion("b");
    assertEquals(await ownSeen(storage), version, "the own entry in seen");
    await storage.setNode("b", metaOf("b", reserved));
    assertEquals(await ownSeen(storage), reserved, "the own entry in seen after publishing");
    assertEquals((await stampedOf(storage, "b")).stamp, reserved, "the stamp");
  });

  checkMesh("a node published after a higher one is outside of what was told as seen", async (storage) => {
    const { origin } = await storage.getIdentity();
    const reserved = await storage.incrementVersion("late");
    const next = await write(storage, "next");
    const { seen } = await storage.readSeen();
    await storage.setNode("late", metaOf("late", reserved));
    assertEquals(await storage.getNode("late"), metaOf("late", reserved), "getNode()");
    const node = await stampedOf(storage, "late");
    assertEquals([node.version, node.origin], [reserved, origin], "its version and origin");
    assert(!hasSeen(seen, stampOf(node)), `Stamp ${node.stamp} was told as seen before it was there`);
    assertEquals(await storage.getMaxVersion(), next.version, "getMaxVersion()");
    assertEquals(await ownSeen(storage), node.stamp, "the own entry in seen");
    assertEquals((await storage.readDelta(seen, MANY)).nodes, [node], "the next delta");
    assert(await storage.incrementVersion("x") > node.stamp, "Expected the counter to be above the stamp");
    const again = await write(storage, "late");
    assertEquals(await stampedOf(storage, "late"), ownNode(again, origin), "the node once written again");
  });

  checkMesh("setNode() that publishes nothing counts nothing as seen", async (storage) => {
    const older = await storage.incrementVersion("a");
    const between = await storage.incrementVersion("a");
    const { version } = await write(storage, "a");
    const before = await storage.readSeen();
    for (const meta of [metaOf("a", older), metaOf("a", between), metaOf("a", version)]) {
      await storage.setNode("a", meta);
    }
    assertEquals(await storage.readSeen(), before, "readSeen()");
    const foreignTop = version + 1000;
    await storage.takeNodes([fresh(foreign("b", foreignTop))]);
    await storage.setNode("b", metaOf("b", foreignTop - 1));
    assertEquals(
      await ownSeen(storage),
      version,
      "the own entry in seen after a node older than a taken one",
    );
  });

  checkMesh("numbers reserved before and published in any order are all told in the end", async (storage) => {
    const reserved: number[] = [];
    for (let i = 0; i < 6; i++) reserved.push(await storage.incrementVersion("x"));
    let known: Seen = new Map();
    const told = new Map<string, StampedNode>();
    for (const i of [3, 1, 5, 0, 4, 2]) {
      const key = `key:${i}`;
      await storage.setNode(key, metaOf(key, there(reserved[i])));
      const { seen, nodes } = await storage.readDelta(known, MANY);
      assertEquals(keysOf(nodes), [key], "what came since the last delta");
      for (const node of nodes) told.set(node.key, node);
      known = seen;
    }
    assertEquals(new Set([...told.values()].map(({ stamp }) => stamp)).size, 6, "how many stamps");
    assertEquals(told, await storage.readStamped([...told.keys()]), "what was told");
  });
}

function testDelta(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { elapse } = kit.options;

  checkMesh("readStamped() gives nodes and tombstones with their stamps, and no others", async (storage) => {
    const { origin } = await storage.getIdentity();
    const [a, b, c] = await apply(storage, changeOf("a"), changeOf("b"), deletionOf("c"));
    const expected = new Map([a, b, c].map((meta) => [there(meta).key, ownNode(there(meta), origin)]));
    assertEquals(await storage.readStamped(["a", "nobody", "b", "a", "c"]), expected, "readStamped()");
    assertEquals(await storage.readStamped([]), new Map(), "readStamped() of nothing");
    assertEquals(await storage.readStamped([""]), new Map(), "readStamped() of the empty key");
  });

  checkMesh(
    "readDelta() from nothing gives all nodes and tombstones, each with its stamp",
    async (storage) => {
      assertEquals((await storage.readDelta(new Map(), MANY)).nodes, [], "nodes of a new storage");
      const { origin } = await storage.getIdentity();
      const metas = await apply(
        storage,
        changeOf("a"),
        changeOf("b"),
        deletionOf("c"),
        changeOf("😀 '\"\\%"),
      );
      metas.push(await write(storage, "d"));
      const { nodes, next, ...state } = await storage.readDelta(new Map(), MANY);
      assertEquals(byKey(nodes), byKey(metas.map((meta) => ownNode(meta, origin))), "nodes");
      assertEquals(next, null, "next");
      assertEquals(state, await storage.readSeen(), "seen, names and counter");
    },
  );

  checkMesh("readDelta() from what was seen gives nothing, and later what came since", async (storage) => {
    await apply(storage, changeOf("a"), changeOf("b"), changeOf("c"));
    const { seen } = await storage.readDelta(new Map(), MANY);
    const still = await storage.readDelta(seen, MANY);
    assertEquals([still.nodes, still.next, still.seen], [[], null, seen], "the delta when nothing came");
    await apply(storage, changeOf("b", "2"), deletionOf("c"));
    await write(storage, "d");
    const { nodes } = await storage.readDelta(seen, MANY);
    assertEquals(byKey(nodes), byKey(await stampedOfAll(storage, "b", "c", "d")), "what came since");
    await storage.incrementVersion("e");
    assertEquals((await storage.readDelta(seen, MANY)).nodes.length, 3, "nodes after a reservation");
  });

  checkMesh("readDelta() tells apart what was seen of each origin", async (storage) => {
    const { origin } = await storage.getIdentity();
    const own = await write(storage, "own");
    const [x, y] = [foreign("x", own.version + 7, "ox"), foreign("y", own.version + 3, "oy")];
    await storage.takeNodes([fresh(x), fresh(y)]);
    await storage.adoptSeen(new Map([["ox", x.stamp], ["oy", y.stamp]]), LAST_EPOCH);
    const all = { own: ownNode(own, origin), x, y };
    const bases: [Record<string, number>, (keyof typeof all)[]][] = [
      [{}, ["own", "x", "y"]],
      [{ [origin]: own.version }, ["x", "y"]],
      [{ ox: x.stamp }, ["own", "y"]],
      [{ ox: x.stamp - 1 }, ["own", "x", "y"]],
      [{ [origin]: own.version, oy: y.stamp }, ["x"]],
      [{ [origin]: own.version + 100, ox: x.stamp, oy: y.stamp, other: 5 }, []],
      [{ other: y.stamp + 100 }, ["own", "x", "y"]],
    ];
    for (const [base, keys] of bases) {
      const { nodes } = await storage.readDelta(new Map(Object.entries(base)), MANY);
      assertEquals(byKey(nodes), byKey(keys.map((key) => all[key])), `from ${JSON.stringify(base)}`);
    }
  });

  checkMesh("adoptSeen() notes what was swept where a full copy came from", async (storage) => {
    const { epoch } = await storage.getIdentity();
    await storage.adoptSeen(new Map([["ox", 900]]), epoch, new Map([["ox", 700], ["oy", 5]]));
    await storage.adoptSeen(new Map([["ox", 950]]), epoch, new Map([["ox", 600], ["oy", 8]]));
    await storage.adoptSeen(new Map([["ox", 990]]), epoch);
    const { swept } = await storage.readSeen();
    assertEquals([swept.get("ox"), swept.get("oy")], [700, 8], "swept");
  });

  if (!elapse) return;

  checkMesh("readSeen() tells how far tombstones of each origin were swept", async (storage) => {
    const { origin } = await storage.getIdentity();
    const [, gone] = await apply(storage, changeOf("live"), deletionOf("gone"));
    const top = there(gone).version;
    const reserved = await storage.incrementVersion("late");
    await write(storage, "next");
    await storage.setNode("late", { ...metaOf("late", reserved), deleted: true });
    const late = await stampedOf(storage, "late");
    const [x, y, kept] = [
      { ...foreign("x", top + 5000, "ox"), deleted: true as const },
      { ...foreign("y", top + 9000, "ox"), deleted: true as const },
      foreign("kept", top + 9999, "oz"),
    ];
    await storage.takeNodes([fresh(x), fresh(y), fresh(kept)]);
    assertEquals(highest((await storage.readSeen()).swept), {}, "swept before");
    await elapse(storage);
    await write(storage, "live");
    const { swept, seen } = await storage.readSeen();
    assertEquals(highest(swept), { [origin]: late.stamp, ox: y.stamp }, "swept");
    assertEquals(await storage.readStamped(["gone", "late", "x", "y"]), new Map(), "the tombstones");
    assertEquals((await storage.readDelta(new Map(), MANY)).swept, swept, "swept in a delta");
    assertEquals(seen.get(origin), (await stampedOf(storage, "live")).stamp, "the own entry in seen");
  });
}

function testPages(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "the pages of readDelta() together hold every node once, whatever their size",
    async (storage) => {
      const metas = await apply(
        storage,
        ...[...Array(23).keys()].map((i) => changeOf(`key:${(i * 7) % 23}`)),
      );
      await apply(storage, deletionOf("key:3"), changeOf("key:9", "2"));
      const top = there(metas.at(-1)).version;
      await storage.takeNodes([fresh(foreign("foreign", top + 500)), fresh(foreign("low", 3))]);
      const expected = byKey(await stampedOfAll(storage, ...keysOf(metas), "foreign", "low"));
      for (const limit of [1, 2, 7, 24, 25, MANY]) {
        const pages = await readPages(storage, new Map(), limit);
        assertEquals(byKey(pages.flatMap(({ nodes }) => nodes)), expected, `all pages of ${limit}`);
        for (const [i, { nodes, next }] of pages.entries()) {
          assert(nodes.length <= limit, `Expected at most ${limit} nodes, got ${nodes.length}`);
          assertEquals(
            next === null,
            i === pages.length - 1,
            `whether page ${i + 1} of ${limit} is the last`,
          );
        }
      }
      assertEquals((await readPages(storage, new Map(), 25)).length, 1, "how many pages hold all that fits");
    },
  );

  checkMesh("the pages of readDelta() from a base hold what lies outside of it", async (storage) => {
    const keys = [...Array(12).keys()].map((i) => `key:${i}`);
    await apply(storage, ...keys.map((key) => changeOf(key)));
    const { seen } = await storage.readSeen();
    const changed = keys.filter((_key, i) => i % 3 === 1);
    await apply(storage, ...changed.map((key) => changeOf(key, "2")));
    for (const limit of [1, 2, 3, 4]) {
      const nodes = (await readPages(storage, seen, limit)).flatMap((page) => page.nodes);
      assertEquals(byKey(nodes), byKey(await stampedOfAll(storage, ...changed)), `all pages of ${limit}`);
    }
  });

  for (const limit of [1, 2, 7]) {
    checkMesh(`pages of ${limit} miss nothing that changes while they are read`, async (storage) => {
      const keys = [...Array(15).keys()].map((i) => `key:${i}`);
      await apply(storage, ...keys.map((key) => changeOf(key)));
      const before = await storage.readStamped(keys);
      const told = new Map<string, StampedNode>();
      let known: Seen | undefined;
      let after: string | undefined;
      for (let page = 0; page < 40; page++) {
        const { nodes, seen, next } = await storage.readDelta(new Map(), limit, after);
        known ??= seen;
        for (const node of nodes) told.set(node.key, node);
        if (next === null) break;
        after = next;
        // One that was told, one that may not have been, and one that was never there.
        const key = (i: number) => `key:${(page * i) % 15}`;
        await apply(
          storage,
          changeOf(there(nodes[0]).key, `${page}`),
          changeOf(`new:${page % 4}`, `${page}`),
        );
        if (page % 2) await storage.deleteNode(key(4));
        else await write(storage, key(11));
      }
      for (const [key, { version }] of before) {
        assert((told.get(key)?.version ?? 0) >= version, `The node of ${key} is on no page`);
      }
      // What changed meanwhile lies outside of what the first page told as seen.
      for (const node of (await storage.readDelta(there(known), MANY)).nodes) told.set(node.key, node);
      const all = [...keys, ...[...Array(4).keys()].map((i) => `new:${i}`)];
      assertEquals(told, await storage.readStamped(all), "the pages and the next delta together");
    });
  }

  kit.check("what readDelta() tells as seen is never younger than its nodes", async (storage) => {
    await deltasWhileWriting(() => asMesh(storage));
  });
  kit.checkShared(
    "what readDelta() tells as seen is never younger than its nodes, in two processes",
    async (...pair) => await deltasWhileWriting((i) => asMesh(there(pair[i % 2]))),
  );
}

function testSweptPages(kit: Kit, elapse: NonNullable<Kit["options"]["elapse"]>): void {
  const title = "what readDelta() tells as swept is never older than its nodes";
  kit.check(title, async (storage) => await deltasWhileSweeping(() => asMesh(storage), elapse));
  kit.checkShared(`${title}, in two processes`, async (...pair) => {
    await deltasWhileSweeping((i) => asMesh(there(pair[i % 2])), elapse);
  });
}

function testTaking(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { supports } = kit;

  checkMesh("takeNodes() keeps a node as it is, with version and stamp", async (storage) => {
    const { version: top } = await write(storage, "own");
    const takes = [
      foreign("a", top + 10),
      { ...foreign("b", top + 20), deleted: true as const },
      { ...foreign("c", top + 30, "third"), stamp: top + 99 },
      { ...foreign("d", top + 40), hash: "\u0001abc~DEF_012", updatedAt: 0 },
      { ...foreign("e", top + 50), hash: "\u0001", deleted: true as const },
      { ...foreign("😀 '\"\\%", top + 60), hash: "😀 '\"\\%\u0001" },
    ];
    const written = await storage.takeNodes(takes.map(fresh));
    assertEquals(written, takes.map(metaIn), "what it gives");
    const keys = keysOf(takes);
    assertEquals(
      await storage.readStamped(keys),
      new Map(takes.map((node) => [node.key, node])),
      "the nodes",
    );
    const live = takes.filter(({ deleted }) => !deleted).map(metaIn);
    assertEquals(await storage.getNodes(keys), new Map(live.map((meta) => [meta.key, meta])), "getNodes()");
    assertEquals(await storage.listChangedSince(top), takes.map(metaIn), "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), top + 60, "getMaxVersion()");
  });

  checkMesh("takeNodes() lifts the counter above versions and stamps", async (storage) => {
    const top = (await write(storage, "a")).version;
    await storage.takeNodes([fresh(foreign("b", top + 1000)), fresh(foreign("c", top + 500))]);
    const next = await storage.incrementVersion("x");
    assert(next > top + 1000, `Expected a version above ${top + 1000}, got ${next}`);
    await storage.takeNodes([fresh({ ...foreign("d", next + 10), stamp: next + 5000 })]);
    const [meta] = await apply(storage, changeOf("a"));
    assert(there(meta).version > next + 5000, `Expected a version above ${next + 5000}`);
  });

  checkMesh("takeNodes() counts nothing as seen: neither of the others nor of its own", async (storage) => {
    const { version: top } = await write(storage, "a");
    const before = await storage.readSeen();
    await storage.takeNodes([
      fresh(foreign("b", top + 1000)),
      take(foreign("a", top + 9), stampOfMeta(before, top)),
    ]);
    const after = await storage.readSeen();
    assertEquals(highest(after.seen), highest(before.seen), "seen");
    // Its own newest node is gone, but it was told as seen.
    assertEquals(await ownSeen(storage), top, "the own entry in seen");
  });

  checkMesh("takeNodes() of nothing changes nothing", async (storage) => {
    assertEquals(await storage.takeNodes([]), [], "what it gives");
    assertEquals(await storage.getMaxVersion(), 0, "getMaxVersion()");
  });

  checkMesh(
    "takeNodes() writes only where the node is still the one it was judged against",
    async (storage) => {
      const { origin } = await storage.getIdentity();
      const [a, b, gone] = await apply(storage, changeOf("a"), changeOf("b"), deletionOf("gone"));
      const at = (meta: RealityNodeMeta | undefined, by = 0): Stamp => ({
        version: there(meta).version + by,
        origin,
      });
      const top = there(gone).version;
      const misses: [string, Stamp | null][] = [
        ["a", null],
        ["a", at(a, 1)],
        ["a", at(b)],
        ["a", { version: there(a).version, origin: "other" }],
        ["gone", null],
        ["gone", at(gone, -1)],
        ["nobody", at(a)],
        ["nobody", { version: top, origin: "other" }],
      ];
      const before = await storage.readStamped(["a", "b", "gone", "nobody"]);
      for (const [key, replaces] of misses) {
        for (const node of [foreign(key, top + 10), changeOf(key, "own"), deletionOf(key)]) {
          const written = await storage.takeNodes([{ node, replaces }]);
          assertEquals(written, [null], `${key} in the place of ${JSON.stringify(replaces)}`);
        }
      }
      assertEquals(await storage.readStamped(["a", "b", "gone", "nobody"]), before, "the nodes");
      const x = foreign("a", top + 50);
      const y = foreign("gone", top + 51);
      assertEquals(
        await storage.takeNodes([take(x, at(a)), take(y, at(gone)), take(foreign("b", top + 52), at(a))]),
        [metaIn(x), metaIn(y), null],
        "two that are right and one that is not",
      );
      assertEquals(await storage.getNode("gone"), metaIn(y), "a node in the place of a tombstone");
      const again = foreign("a", top + 60, "third");
      assertEquals(
        await storage.takeNodes([take(again, at(a))]),
        [null],
        "in the place of what was replaced",
      );
      assertEquals(
        await storage.takeNodes([take(again, stampOf(x))]),
        [metaIn(again)],
        "in the place of what is",
      );
      assertEquals(await storage.readStamped(["a"]), new Map([["a", again]]), "readStamped()");
    },
  );

  checkMesh("takeNodes() looks at the stamp, not the version, of what it replaces", async (storage) => {
    const { origin } = await storage.getIdentity();
    const reserved = await storage.incrementVersion("late");
    await write(storage, "next");
    await storage.setNode("late", metaOf("late", reserved));
    const node = await stampedOf(storage, "late");
    const newer = foreign("late", node.stamp + 10);
    assertEquals(await storage.takeNodes([take(newer, { version: reserved, origin })]), [null], "by version");
    assertEquals(await storage.takeNodes([take(newer, stampOf(node))]), [metaIn(newer)], "by stamp");
  });

  checkMesh(
    "a node that is taken below the counter is told to whoever follows the history",
    async (storage) => {
      await apply(storage, changeOf("a"), changeOf("b"), changeOf("c"));
      const before = await storage.readSeen();
      const late = await storage.readChanges?.(0, MANY);
      const node = foreign("old", 1);
      assertEquals(await storage.takeNodes([fresh(node)]), [metaIn(node)], "what takeNodes() gives");
      const history = await storage.listChangedSince(0);
      assertEquals(history.find(({ key }) => key === "old"), metaIn(node), "the node in the history");
      assertHistory(history, "listChangedSince()");
      assertEquals(await storage.getMaxVersion(), before.maxVersion, "getMaxVersion()");
      if (late) {
        const now = there(await storage.readChanges?.(0, MANY));
        assert(now.late > late.late, `Expected late above ${late.late}, got ${now.late}`);
      }
      const lower = foreign("c", 2);
      const c = await stampedOf(storage, "c");
      assertEquals(await storage.takeNodes([take(lower, stampOf(c))]), [metaIn(lower)], "a lower version");
      assertEquals(
        await storage.getMaxVersion(),
        before.maxVersion,
        "getMaxVersion() without its newest node",
      );
      assertEquals(await ownSeen(storage), before.seen.get(before.origin), "the own entry in seen");
    },
  );

  checkMesh("a change of its own makes a taken node the storage's own again", async (storage) => {
    const { origin } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const keys = ["a", "b", "c", "d"];
    const takes = keys.map((key, i) => fresh({ ...foreign(key, top + 10 + i), stamp: top + 100 + i }));
    await storage.takeNodes(takes);
    const [a, b] = await apply(storage, changeOf("a", "2"), deletionOf("b"));
    const c = await write(storage, "c");
    await storage.deleteNode("d");
    const nodes = await storage.readStamped(keys);
    assertEquals(nodes.get("a"), ownNode(there(a), origin), "after applyChanges()");
    assertEquals(nodes.get("b"), ownNode(there(b), origin), "after applyChanges() of a deletion");
    assertEquals(nodes.get("c"), ownNode(c, origin), "after setNode()");
    assertEquals(
      [nodes.get("d")?.origin, nodes.get("d")?.stamp],
      [origin, nodes.get("d")?.version],
      "after deleteNode()",
    );
  });

  checkMesh("setNode() with an older node leaves a taken one as it is", async (storage) => {
    const { version: top } = await write(storage, "x");
    const node = foreign("a", top + 10);
    await storage.takeNodes([fresh(node)]);
    await storage.setNode("a", metaOf("a", top + 9));
    await storage.setNode("a", metaIn(node));
    assertEquals(await stampedOf(storage, "a"), node, "readStamped()");
  });

  checkMesh("its own node that comes back is its own", async (storage) => {
    // As from another storage, to one that was set back to an earlier state.
    const { origin } = await storage.getIdentity();
    const { version: top } = await write(storage, "x");
    const node = foreign("a", top + 10, origin);
    await storage.takeNodes([fresh(node)]);
    assertEquals(await stampedOf(storage, "a"), node, "readStamped()");
    assertEquals(await storage.takeNodes([take(foreign("a", top + 20), stampOf(node))]).then(keysOfAll), [
      "a",
    ], "taking");
    assert(await storage.incrementVersion("x") > top + 20, "Expected the counter to have moved");
  });

  checkMesh("takeNodes() takes as many nodes as applyChanges() takes changes", async (storage) => {
    const count = Math.min(storage.features?.maxChanges ?? MANY, 10_000);
    const { version: top } = await write(storage, "x");
    const nodes = [...Array(count).keys()].map((i) =>
      foreign(`key "${i}" 😀`, top + 1 + i, `origin-${i % 3}`)
    );
    const written = await storage.takeNodes(nodes.map(fresh));
    assertEquals(written, nodes.map(metaIn), "what it gives");
    const told = (await readPages(storage, new Map(), MANY)).flatMap((page) => page.nodes);
    assertEquals(byKey(told.filter(({ key }) => key !== "x")), byKey(nodes), "all pages of a delta");
  });

  checkMesh("takeNodes() that is refused changes nothing at all", async (storage) => {
    const { maxChanges = MANY } = storage.features ?? {};
    const meta = await write(storage, "a");
    const bad: [string, NodeTake[]][] = [
      ["version 0", [fresh(foreign("b", 10)), fresh(foreign("c", 0))]],
      ["a version past 2^53", [fresh(foreign("b", 10)), fresh(foreign("c", 2 ** 53))]],
      ["stamp 0", [fresh(foreign("b", 10)), fresh({ ...foreign("c", 10), stamp: 0 })]],
      ["an empty key", [fresh(foreign("b", 10)), fresh(foreign("", 10))]],
      ["a key named twice", [fresh(foreign("b", 10)), fresh(foreign("c", 11)), fresh(foreign("b", 12))]],
    ];
    if (maxChanges <= 10_000) {
      const tooMany = [...Array(maxChanges + 1).keys()].map((i) => fresh(foreign(`key:${i}`, i + 10)));
      bad.push(["more than maxChanges", tooMany]);
    }
    for (const [what, takes] of bad) await assertRejects(() => storage.takeNodes(takes), what);
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
    assertEquals(await storage.takeNodes(nodes.map(fresh)), nodes.map(metaIn), "what takeNodes() gives");
    assertEquals(
      await storage.readStamped(keys),
      new Map(nodes.map((node) => [node.key, node])),
      "readStamped()",
    );
    await storage.adoptSeen(new Map([["other", 100]]), LAST_EPOCH);
    for (const limit of [1, 4, MANY]) {
      const told = (await readPages(storage, new Map(), limit)).flatMap((page) => page.nodes);
      assertEquals(byKey(told), byKey(nodes), `all pages of ${limit}`);
    }
  });
}

function testOwnTakes(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "takeNodes() gives its own changes new versions, above all and above what is asked",
    async (storage) => {
      const { origin } = await storage.getIdentity();
      const [a, gone] = await apply(storage, changeOf("a"), deletionOf("gone"));
      const top = there(gone).version;
      const x = { ...foreign("x", top + 300), stamp: top + 400 };
      const high = top + 5_000_000;
      const [one, taken, two, three] = await storage.takeNodes([
        {
          node: { ...changeOf("a"), hash: "\u0001joined" },
          replaces: stampOfMeta({ origin }, there(a).version),
        },
        fresh(x),
        { node: changeOf("new"), above: high, replaces: null },
        { node: { ...deletionOf("gone"), hash: "\u0001gone" }, replaces: stampOfMeta({ origin }, top) },
      ]);
      assertEquals(taken, metaIn(x), "the node from elsewhere");
      const versions = [one, two, three].map((meta) => there(meta).version);
      assertEquals(new Set(versions).size, 3, "how many versions");
      assert(Math.min(...versions) > x.stamp, "Expected versions above the counter as it was lifted");
      assert(there(two).version > high, `Expected a version above ${high}`);
      assertEquals([one?.hash, two?.hash, three?.hash], ["\u0001joined", "h", "\u0001gone"], "the hashes");
      assertEquals(three?.deleted, true, "deleted");
      const expected = [one, two, three].map((meta) => ownNode(there(meta), origin));
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

  checkMesh("takeNodes() numbers its own changes by chance, so that two storages differ", async (storage) => {
    const steps = new Set<number>();
    let last = await storage.incrementVersion("a");
    for (let i = 0; i < 24; i++) {
      const key = `key:${i}`;
      const above = last + 1_000_000;
      const { version } = there(
        (await storage.takeNodes([{ node: changeOf(key), above, replaces: null }]))[0],
      );
      // A clock counter may stand above what was asked for.
      steps.add(version - above);
      assert(version > above, `Expected a version above ${above}, got ${version}`);
      last = version;
    }
    assert(steps.size > 12, `Expected steps by chance, got ${[...steps]}`);
  });

  checkMesh("a tombstone's hash is kept, however it was written", async (storage) => {
    const { version: top } = await write(storage, "x");
    const hash = "\u0001joined";
    await apply(storage, { ...deletionOf("a"), hash });
    await storage.setNode("b", { ...metaOf("b", top + 1000), hash, deleted: true });
    await storage.takeNodes([
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
    await storage.takeNodes([
      { node: deletionOf("own"), replaces: null },
      fresh({ ...foreign("a", top + 2000), updatedAt: 1, deleted: true }),
      fresh(foreign("b", top + 3000)),
    ]);
    await write(storage, "x");
    assertEquals((await storage.readStamped(["own", "a", "b"])).size, 3, "how many before");
    await elapse(storage);
    await write(storage, "x");
    assertEquals([...(await storage.readStamped(["own", "a", "b"])).keys()], ["b"], "what is left");
    const [meta] = await storage.takeNodes([fresh(foreign("a", top + 4000))]);
    assert(meta, "Expected a node where a tombstone was swept");
  });
}

function testAdopting(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { elapse } = kit.options;

  checkMesh("adoptSeen() joins what was seen, and lifts the counter", async (storage) => {
    const { epoch, origin } = await storage.getIdentity();
    const { version: top } = await write(storage, "a");
    const adopt = async (seen: Record<string, number>) => {
      assertEquals(await storage.adoptSeen(new Map(Object.entries(seen)), epoch), false, "adoptSeen()");
      return highest((await storage.readSeen()).seen);
    };
    assertEquals(await adopt({ ox: top + 10, oy: 5 }), { [origin]: top, ox: top + 10, oy: 5 }, "seen");
    assertEquals(
      await adopt({ ox: top + 4, oy: 7, oz: 1 }),
      { [origin]: top, ox: top + 10, oy: 7, oz: 1 },
      "joined",
    );
    assertEquals(await adopt({}), { [origin]: top, ox: top + 10, oy: 7, oz: 1 }, "joined with nothing");
    const next = await storage.incrementVersion("a");
    assert(next > top + 10, `Expected a version above ${top + 10}, got ${next}`);
    assertEquals((await adopt({ [origin]: next + 1000 }))[origin], top, "the own entry in seen");
    const later = await storage.incrementVersion("a");
    assert(later > next + 1000, `Expected a version above ${next + 1000}, got ${later}`);
    assertEquals(await storage.getNode("a"), metaOf("a", top), "the node");
  });

  checkMesh("adoptSeen() keeps names of origins that objects have", async (storage) => {
    const { epoch } = await storage.getIdentity();
    const seen = new Map([["__proto__", 3], ["constructor", 4], ["toString", 5]]);
    await storage.adoptSeen(seen, epoch);
    const found = (await storage.readSeen()).seen;
    for (const [origin, stamp] of seen) assertEquals(found.get(origin), stamp, origin);
  });

  checkMesh("adoptSeen() takes an epoch that sorts before its own, and no other", async (storage) => {
    const { epoch, origin } = await storage.getIdentity();
    await write(storage, "a");
    assertEquals(await storage.adoptSeen(new Map(), LAST_EPOCH), false, "a later epoch");
    assertEquals(await storage.adoptSeen(new Map(), epoch), false, "its own epoch");
    assertEquals(await storage.getIdentity(), { epoch, origin }, "getIdentity()");
    assertEquals(await storage.adoptSeen(new Map([["ox", 3]]), FIRST_EPOCH), true, "an earlier epoch");
    assertEquals(await storage.adoptSeen(new Map(), FIRST_EPOCH), false, "the same once more");
    assertEquals(await storage.adoptSeen(new Map(), epoch), false, "the epoch it had");
    assertEquals(await storage.getIdentity(), { epoch: FIRST_EPOCH, origin }, "getIdentity()");
    const { seen, ...state } = await storage.readSeen();
    assertEquals([state.epoch, state.origin, seen.get("ox")], [FIRST_EPOCH, origin, 3], "readSeen()");
    if (storage.readNodes) assertEquals((await storage.readNodes([])).epoch, FIRST_EPOCH, "readNodes()");
    if (storage.readChanges) {
      assertEquals((await storage.readChanges(0, 1)).epoch, FIRST_EPOCH, "readChanges()");
    }
  });

  checkMesh("countByClock() numbers changes by the microseconds since 2020", async (storage) => {
    storage.countByClock();
    // The storage's clock may be the test's own: it is later than this anyway.
    const floor = (Date.UTC(2021, 0, 1) - CLOCK_START_MS) * 1000;
    const [meta] = await apply(storage, changeOf("a"));
    const own = there((await storage.takeNodes([{ node: changeOf("b"), replaces: null }]))[0]);
    const reserved = await storage.incrementVersion("c");
    assert(there(meta).version > floor, `Expected a version above ${floor}, got ${meta?.version}`);
    assert(
      own.version > there(meta).version,
      `Expected a version above ${meta?.version}, got ${own.version}`,
    );
    assert(reserved > own.version, `Expected a version above ${own.version}, got ${reserved}`);
    assertEquals(await ownSeen(storage), own.version, "the own entry in seen");
    if (!elapse) return;
    await elapse(storage);
    await storage.deleteNode("a");
    const { version } = await stampedOf(storage, "a");
    assert(version > reserved + 1000, `Expected the version to follow the clock, got ${version}`);
  });
}

function testSharing(kit: Kit): void {
  const { checkBoth } = meshKit(kit);

  checkBoth("what one process takes and adopts, the other one has", async (one, other) => {
    const { version: top } = await write(one, "a");
    const node = foreign("b", top + 1000);
    await one.takeNodes([fresh(node)]);
    await one.adoptSeen(new Map([["other", node.stamp]]), FIRST_EPOCH);
    assertEquals(await other.readSeen(), await one.readSeen(), "readSeen() of the other");
    assertEquals((await other.readSeen()).epoch, FIRST_EPOCH, "the epoch");
    assertEquals((await other.getIdentity()).epoch, FIRST_EPOCH, "getIdentity()");
    assertEquals(await stampedOf(other, "b"), node, "readStamped() of the other");
    assertEquals(await other.readDelta(new Map(), MANY), await one.readDelta(new Map(), MANY), "readDelta()");
    assert(await other.incrementVersion("a") > node.version, "Expected the other's counter to have moved");
  });

  checkBoth("of two processes that take in the place of one node, exactly one does", async (one, other) => {
    for (let round = 0; round < 8; round++) {
      const key = `key:${round}`;
      const before = round % 2
        ? stampOf(ownNode(await write(one, key), (await one.getIdentity()).origin))
        : null;
      const top = await one.getMaxVersion();
      const nodes = [foreign(key, top + 10, "ox"), foreign(key, top + 20, "oy")];
      const own = { node: changeOf(key, "own"), replaces: before };
      const [x, y, z] = await allSettle([
        one.takeNodes([take(there(nodes[0]), before)]),
        other.takeNodes([take(there(nodes[1]), before)]),
        one.takeNodes([own]),
      ]);
      const written = [x?.[0], y?.[0], z?.[0]].filter((meta) => meta !== null);
      assertEquals(written.length, 1, `how many were written in round ${round}`);
      assertEquals(metaIn(await stampedOf(other, key)), written[0], "the node");
    }
  });

  checkBoth("two processes that adopt at once lose nothing of it", async (one, other) => {
    await write(one, "a");
    const { origin } = await one.getIdentity();
    const adoptions = [...Array(24).keys()].map((i) =>
      (i % 2 ? one : other).adoptSeen(
        new Map([[`o${i % 8}`, i + 1], ["shared", i + 1]]),
        `00000000${9 - (i % 4)}-epoch`,
      )
    );
    const changed = await allSettle(adoptions);
    assert(changed.filter(Boolean).length >= 1, "Expected the epoch to have changed");
    const { seen, epoch } = await one.readSeen();
    const { [origin]: _own, ...others } = highest(seen);
    const expected = Object.fromEntries([...Array(8).keys()].map((i) => [`o${i}`, i + 17]));
    assertEquals(others, { ...expected, shared: 24 }, "seen");
    assert(epoch <= "000000006-epoch", `Expected the least of the epochs, got ${epoch}`);
  });

  checkBoth("changes and takes at once share no version, and the deltas miss none", async (one, other) => {
    const given = new Set<number>();
    const give = (metas: readonly (RealityNodeMeta | null)[]) => {
      for (const { version } of metas.map(there)) {
        assert(!given.has(version), `Version ${version} was given twice`);
        given.add(version);
      }
    };
    await allSettle([...Array(4).keys()].map(async (writer) => {
      const storage = writer % 2 ? one : other;
      for (let i = 0; i < 6; i++) {
        give(await apply(storage, changeOf(`w${writer}:${i}`)));
        give(await storage.takeNodes([{ node: changeOf(`t${writer}:${i}`), replaces: null }]));
        const key = `s${writer}:${i}`;
        give([await write(storage, key)]);
      }
    }));
    assertEquals(given.size, 72, "how many versions");
    const { nodes, seen } = await one.readDelta(new Map(), MANY);
    assertEquals(nodes.length, 72, "how many nodes a delta has");
    assertEquals(new Set(nodes.map(({ stamp }) => stamp)).size, 72, "how many stamps");
    assert(nodes.every((node) => hasSeen(seen, stampOf(node))), "A node at rest is outside of what is seen");
  });
}

/** Reads deltas while tombstones are swept: each is among the nodes, or told as swept. */
async function deltasWhileSweeping(
  pick: (i: number) => MeshStorage,
  elapse: NonNullable<Kit["options"]["elapse"]>,
): Promise<void> {
  const { origin } = await pick(0).getIdentity();
  for (let round = 0; round < 12; round++) {
    await write(pick(0), "other");
    const { seen } = await pick(0).readSeen();
    await pick(0).deleteNode("gone");
    const base = round % 2 ? seen : new Map<string, number>();
    await elapse(pick(0));
    // More than one at once, as each may come before the sweep, after it or in between.
    const [, ...deltas] = await allSettle<unknown>([
      write(pick(1), "other"),
      ...[...Array(4).keys()].map((i) => pick(i).readDelta(base, MANY)),
    ]) as [unknown, ...Awaited<ReturnType<MeshStorage["readDelta"]>>[]];
    for (const { nodes, swept } of deltas) {
      const isTold = nodes.some(({ key }) => key === "gone");
      const isSwept = (swept.get(origin) ?? 0) > (seen.get(origin) ?? 0);
      assert(
        isTold || isSwept,
        `A tombstone is neither among the nodes nor told as swept, in round ${round}`,
      );
    }
  }
}

/** Reads deltas, each from what the one before told as seen, while others write; then all must be there. */
async function deltasWhileWriting(pick: (i: number) => MeshStorage): Promise<void> {
  const [writers, rounds] = [4, 8];
  let writing = true;
  const running = [...Array(writers).keys()].map(async (writer) => {
    const storage = pick(writer);
    for (let i = 0; i < rounds; i++) {
      const reserved = await storage.incrementVersion("x");
      await apply(storage, changeOf(`own:${writer}`, `${i}`), changeOf(`shared:${i % 3}`, `${writer}:${i}`));
      await storage.setNode(`late:${writer}`, metaOf(`late:${writer}`, reserved));
      if (i % 3 === 2) await storage.deleteNode(`own:${writer}`);
    }
  });
  const told = new Map<string, StampedNode>();
  let known: Seen = new Map();
  const follow = async () => {
    const { nodes, seen } = await pick(1).readDelta(known, MANY);
    for (const node of nodes) told.set(node.key, node);
    known = joinSeen(known, seen);
  };
  const reader = (async () => {
    for (; writing; await new Promise((resolve) => setTimeout(resolve, 0))) await follow();
    await follow();
  })();
  await allSettle<unknown>([allSettle(running).finally(() => writing = false), reader]);
  const history = keysOf(await pick(0).listChangedSince(0));
  assertEquals(told, await pick(0).readStamped(history), "what the deltas told");
}

async function readPages(
  storage: MeshStorage,
  base: Seen,
  limit: number,
): Promise<Awaited<ReturnType<MeshStorage["readDelta"]>>[]> {
  const pages = [await storage.readDelta(base, limit)];
  for (let next = pages[0]?.next; next !== null && next !== undefined; next = pages.at(-1)?.next) {
    assert(pages.length < 10_000, "Expected the pages to come to an end");
    pages.push(await storage.readDelta(base, limit, next));
  }
  return pages;
}

function asMesh(storage: RealityStorage): MeshStorage {
  assert(isMeshStorage(storage), "Expected a storage that can stand beside others");
  return storage;
}

/** A node as another storage wrote it. */
function foreign(key: string, version: number, origin: string = "other"): StampedNode {
  return { key, version, hash: `hash-${version}`, updatedAt: 1_700_000_000_000, origin, stamp: version };
}

/** A node as this storage wrote it. */
function ownNode(meta: RealityNodeMeta, origin: string): StampedNode {
  return { ...meta, origin, stamp: meta.version };
}

function take(node: StampedNode | NodeChange, replaces: Stamp | null): NodeTake {
  return { node, replaces };
}

/** A node that is to be taken where there is none. */
function fresh(node: StampedNode): NodeTake {
  return take(node, null);
}

function stampOfMeta({ origin }: { readonly origin: string }, version: number): Stamp {
  return { version, origin };
}

/** A stamped node without its stamp. */
function metaIn({ origin: _origin, stamp: _stamp, ...meta }: StampedNode): RealityNodeMeta {
  return meta;
}

async function stampedOf(storage: MeshStorage, key: string): Promise<StampedNode> {
  return there((await storage.readStamped([key])).get(key));
}

async function stampedOfAll(storage: MeshStorage, ...keys: string[]): Promise<StampedNode[]> {
  const nodes = await storage.readStamped(keys);
  return keys.map((key) => there(nodes.get(key)));
}

async function ownSeen(storage: MeshStorage): Promise<number> {
  const { seen, origin } = await storage.readSeen();
  return seen.get(origin) ?? 0;
}

/** The entries above 0: whether one of 0 is there says nothing. */
function highest(seen: Seen): Record<string, number> {
  return Object.fromEntries([...seen].filter(([, stamp]) => stamp > 0));
}

function byKey<T extends RealityNodeMeta>(nodes: readonly T[]): T[] {
  return [...nodes].sort((a, b) => a.key < b.key ? -1 : 1);
}

function keysOfAll(metas: readonly (RealityNodeMeta | null)[]): string[] {
  return keysOf(metas.map(there));
}

/** Waits for all, also when one fails, so that nothing goes on behind a test that has ended. */
async function allSettle<T>(running: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(running);
  return await Promise.all(running);
}
