/**
 * The kit: a storage tells another what it lacks, in pages that miss nothing.
 *
 * @module
 */
import {
  joinVectors,
  type MeshStorage,
  type ReplicatedNode,
  type VersionVector,
} from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import {
  allSettle,
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
  asMesh,
  byKey,
  highest,
  LAST_EPOCH,
  MANY,
  mergeNew,
  meshKit,
  ownNode,
  readPages,
  replicaNode,
  replicatedOf,
  stampedOfAll,
} from "./mesh_kit.ts";

/** Registers these tests. */
export function testDeltas(kit: Kit): void {
  testDelta(kit);
  testPages(kit);
  if (kit.options.elapse) testSweptPages(kit, kit.options.elapse);
}

function testDelta(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { elapse } = kit.options;

  checkMesh(
    "readReplicated() returns nodes and tombstones with their dots, and no others",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [a, b, c] = await apply(storage, changeOf("a"), changeOf("b"), deletionOf("c"));
      const expected = new Map(
        [a, b, c].map((meta) => [defined(meta).key, ownNode(defined(meta), replicaId)]),
      );
      assertEquals(
        await storage.readReplicated(["a", "nobody", "b", "a", "c"]),
        expected,
        "readReplicated()",
      );
      assertEquals(await storage.readReplicated([]), new Map(), "readReplicated() of nothing");
      assertEquals(await storage.readReplicated([""]), new Map(), "readReplicated() of the empty key");
    },
  );

  checkMesh(
    "readDelta() with an empty base returns all nodes and tombstones with their dots",
    async (storage) => {
      assertEquals((await storage.readDelta(new Map(), MANY)).nodes, [], "nodes of a new storage");
      const { replicaId } = await storage.getIdentity();
      const metas = await apply(
        storage,
        changeOf("a"),
        changeOf("b"),
        deletionOf("c"),
        changeOf("😀 '\"\\%"),
      );
      metas.push(await write(storage, "d"));
      const { nodes, next, ...state } = await storage.readDelta(new Map(), MANY);
      assertEquals(byKey(nodes), byKey(metas.map((meta) => ownNode(meta, replicaId))), "nodes");
      assertEquals(next, null, "next");
      assertEquals(state, await storage.readReplicaState(), "seen, names and counter");
    },
  );

  checkMesh(
    "readDelta() from the storage's own version vector returns nothing, and later what came since",
    async (storage) => {
      await apply(storage, changeOf("a"), changeOf("b"), changeOf("c"));
      const { vector } = await storage.readDelta(new Map(), MANY);
      const still = await storage.readDelta(vector, MANY);
      assertEquals(
        [still.nodes, still.next, still.vector],
        [[], null, vector],
        "the delta when nothing came",
      );
      await apply(storage, changeOf("b", "2"), deletionOf("c"));
      await write(storage, "d");
      const { nodes } = await storage.readDelta(vector, MANY);
      assertEquals(byKey(nodes), byKey(await stampedOfAll(storage, "b", "c", "d")), "what came since");
      await storage.incrementVersion("e");
      assertEquals((await storage.readDelta(vector, MANY)).nodes.length, 3, "nodes after a reservation");
    },
  );

  checkMesh("readDelta() compares the dots of each replica by themselves", async (storage) => {
    const { replicaId } = await storage.getIdentity();
    const own = await write(storage, "own");
    const [x, y] = [replicaNode("x", own.version + 7, "ox"), replicaNode("y", own.version + 3, "oy")];
    await storage.mergeNodes([mergeNew(x), mergeNew(y)]);
    await storage.adoptVector(new Map([["ox", x.dotVersion], ["oy", y.dotVersion]]), LAST_EPOCH);
    const all = { own: ownNode(own, replicaId), x, y };
    const bases: [Record<string, number>, (keyof typeof all)[]][] = [
      [{}, ["own", "x", "y"]],
      [{ [replicaId]: own.version }, ["x", "y"]],
      [{ ox: x.dotVersion }, ["own", "y"]],
      [{ ox: x.dotVersion - 1 }, ["own", "x", "y"]],
      [{ [replicaId]: own.version, oy: y.dotVersion }, ["x"]],
      [{ [replicaId]: own.version + 100, ox: x.dotVersion, oy: y.dotVersion, other: 5 }, []],
      [{ other: y.dotVersion + 100 }, ["own", "x", "y"]],
    ];
    for (const [base, keys] of bases) {
      const { nodes } = await storage.readDelta(new Map(Object.entries(base)), MANY);
      assertEquals(byKey(nodes), byKey(keys.map((key) => all[key])), `from ${JSON.stringify(base)}`);
    }
  });

  checkMesh(
    "adoptVector() records which tombstones the source of a full copy has collected",
    async (storage) => {
      const { epoch } = await storage.getIdentity();
      await storage.adoptVector(new Map([["ox", 900]]), epoch, new Map([["ox", 700], ["oy", 5]]));
      await storage.adoptVector(new Map([["ox", 950]]), epoch, new Map([["ox", 600], ["oy", 8]]));
      await storage.adoptVector(new Map([["ox", 990]]), epoch);
      const { collected } = await storage.readReplicaState();
      assertEquals([collected.get("ox"), collected.get("oy")], [700, 8], "swept");
    },
  );

  if (!elapse) return;

  checkMesh(
    "readReplicaState() returns how far tombstones of each replica were collected",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const [, gone] = await apply(storage, changeOf("live"), deletionOf("gone"));
      const top = defined(gone).version;
      const reserved = await storage.incrementVersion("late");
      await write(storage, "next");
      await storage.setNode("late", { ...metaOf("late", reserved), deleted: true });
      const late = await replicatedOf(storage, "late");
      const [x, y, kept] = [
        { ...replicaNode("x", top + 5000, "ox"), deleted: true as const },
        { ...replicaNode("y", top + 9000, "ox"), deleted: true as const },
        replicaNode("kept", top + 9999, "oz"),
      ];
      await storage.mergeNodes([mergeNew(x), mergeNew(y), mergeNew(kept)]);
      assertEquals(highest((await storage.readReplicaState()).collected), {}, "swept before");
      await elapse(storage);
      await write(storage, "live");
      await awaitSweep(async () => (await storage.readReplicated(["gone", "late", "x", "y"])).size === 0);
      const { collected, vector } = await storage.readReplicaState();
      assertEquals(highest(collected), { [replicaId]: late.dotVersion, ox: y.dotVersion }, "swept");
      assertEquals(await storage.readReplicated(["gone", "late", "x", "y"]), new Map(), "the tombstones");
      assertEquals((await storage.readDelta(new Map(), MANY)).collected, collected, "swept in a delta");
      assertEquals(
        vector.get(replicaId),
        (await replicatedOf(storage, "live")).dotVersion,
        "the own entry in seen",
      );
    },
  );
}

function testPages(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "the pages of readDelta() together contain every node once, with any page size",
    async (storage) => {
      const metas = await apply(
        storage,
        ...[...Array(23).keys()].map((i) => changeOf(`key:${(i * 7) % 23}`)),
      );
      await apply(storage, deletionOf("key:3"), changeOf("key:9", "2"));
      const top = defined(metas.at(-1)).version;
      await storage.mergeNodes([
        mergeNew(replicaNode("foreign", top + 500)),
        mergeNew(replicaNode("low", 3)),
      ]);
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

  checkMesh(
    "the pages of readDelta() contain the nodes whose dots the base does not include",
    async (storage) => {
      const keys = [...Array(12).keys()].map((i) => `key:${i}`);
      await apply(storage, ...keys.map((key) => changeOf(key)));
      const { vector } = await storage.readReplicaState();
      const changed = keys.filter((_key, i) => i % 3 === 1);
      await apply(storage, ...changed.map((key) => changeOf(key, "2")));
      for (const limit of [1, 2, 3, 4]) {
        const nodes = (await readPages(storage, vector, limit)).flatMap((page) => page.nodes);
        assertEquals(byKey(nodes), byKey(await stampedOfAll(storage, ...changed)), `all pages of ${limit}`);
      }
    },
  );

  for (const limit of [1, 2, 7]) {
    checkMesh(`pages of ${limit} miss nothing that changes while they are read`, async (storage) => {
      const keys = [...Array(15).keys()].map((i) => `key:${i}`);
      await apply(storage, ...keys.map((key) => changeOf(key)));
      const before = await storage.readReplicated(keys);
      const told = new Map<string, ReplicatedNode>();
      let known: VersionVector | undefined;
      let after: string | undefined;
      for (let page = 0; page < 40; page++) {
        const { nodes, vector, next } = await storage.readDelta(new Map(), limit, after);
        known ??= vector;
        for (const node of nodes) told.set(node.key, node);
        if (next === null) break;
        after = next;
        // One that was returned, one that may not have been, and one that never existed.
        const key = (i: number) => `key:${(page * i) % 15}`;
        await apply(
          storage,
          changeOf(defined(nodes[0]).key, `${page}`),
          changeOf(`new:${page % 4}`, `${page}`),
        );
        if (page % 2) await storage.deleteNode(key(4));
        else await write(storage, key(11));
      }
      for (const [key, { version }] of before) {
        assert((told.get(key)?.version ?? 0) >= version, `The node of ${key} is on no page`);
      }
      // The version vector of the first page does not include later changes.
      for (const node of (await storage.readDelta(defined(known), MANY)).nodes) told.set(node.key, node);
      const all = [...keys, ...[...Array(4).keys()].map((i) => `new:${i}`)];
      assertEquals(told, await storage.readReplicated(all), "the pages and the next delta together");
    });
  }

  kit.check("the version vector of readDelta() is never newer than its nodes", async (storage) => {
    await deltasWhileWriting(() => asMesh(storage));
  });
  kit.checkShared(
    "the version vector of readDelta() is never newer than its nodes, with two processes",
    async (...pair) => await deltasWhileWriting((i) => asMesh(defined(pair[i % 2]))),
  );
}

function testSweptPages(kit: Kit, elapse: NonNullable<Kit["options"]["elapse"]>): void {
  const title = "the collected versions of readDelta() are never older than its nodes";
  kit.check(title, async (storage) => await deltasWhileSweeping(() => asMesh(storage), elapse));
  kit.checkShared(`${title}, in two processes`, async (...pair) => {
    await deltasWhileSweeping((i) => asMesh(defined(pair[i % 2])), elapse);
  });
}

/** Reads deltas while tombstones are collected: each is among the nodes, or reported as collected. */
async function deltasWhileSweeping(
  pick: (i: number) => MeshStorage,
  elapse: NonNullable<Kit["options"]["elapse"]>,
): Promise<void> {
  const { replicaId } = await pick(0).getIdentity();
  for (let round = 0; round < 12; round++) {
    await write(pick(0), "other");
    const { vector } = await pick(0).readReplicaState();
    await pick(0).deleteNode("gone");
    const base = round % 2 ? vector : new Map<string, number>();
    await elapse(pick(0));
    // Several at once: each may come before, during or after the collection.
    const readLater = async (i: number) => {
      for (let task = 0; task < i; task++) await new Promise((resolve) => setTimeout(resolve, 0));
      return await pick(i).readDelta(base, MANY);
    };
    const [, ...deltas] = await allSettle<unknown>([
      write(pick(1), "other"),
      ...[...Array(6).keys()].map(readLater),
    ]) as [unknown, ...Awaited<ReturnType<MeshStorage["readDelta"]>>[]];
    for (const { nodes, collected } of deltas) {
      const isTold = nodes.some(({ key }) => key === "gone");
      const isCollected = (collected.get(replicaId) ?? 0) > (vector.get(replicaId) ?? 0);
      assert(
        isTold || isCollected,
        `A tombstone is neither among the nodes nor told as swept, in round ${round}`,
      );
    }
  }
}

/** Reads deltas, each from the version vector of the one before, while others write; then all nodes must be in them. */
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
  const told = new Map<string, ReplicatedNode>();
  let known: VersionVector = new Map();
  const follow = async () => {
    const { nodes, vector } = await pick(1).readDelta(known, MANY);
    for (const node of nodes) told.set(node.key, node);
    known = joinVectors(known, vector);
  };
  const reader = (async () => {
    for (; writing; await new Promise((resolve) => setTimeout(resolve, 0))) await follow();
    await follow();
  })();
  await allSettle<unknown>([allSettle(running).finally(() => writing = false), reader]);
  const history = keysOf(await pick(0).listChangedSince(0));
  assertEquals(told, await pick(0).readReplicated(history), "what the deltas told");
}
