/**
 * The kit: a mesh storage keeps the dot of each change, and a version vector of what it has merged.
 *
 * Deltas for other storages are tested in `mesh_delta.ts`, merges from them in `mesh_merges.ts`.
 *
 * @module
 */
import {
  dotOf,
  includesDot,
  isMeshStorage,
  type MeshStorage,
  type ReplicatedNode,
  type VersionVector,
} from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import { changeOf, defined, deletionOf, keysOf, type Kit, metaOf, write } from "./kit.ts";
import {
  FIRST_EPOCH,
  highest,
  LAST_EPOCH,
  MANY,
  mergeNew,
  meshKit,
  ownDotVersion,
  ownNode,
  replicaNode,
  replicatedOf,
} from "./mesh_kit.ts";
import { testDeltas } from "./mesh_delta.ts";
import { testForgetting } from "./mesh_forgetting.ts";
import { testMeshRaces } from "./mesh_races.ts";
import { testResidues } from "./mesh_residues.ts";
import { testMerges } from "./mesh_merges.ts";

const METHODS = [
  "readReplicaState",
  "readDelta",
  "readReplicated",
  "mergeNodes",
  "adoptVector",
  "avoidResidues",
  "forgetReplicas",
  "countByClock",
] as const;
/** Where the clock counter begins. */
const CLOCK_START_MS = Date.UTC(2020, 0, 1);

/** Registers these tests. */
export function testMesh(kit: Kit): void {
  const { check, supports } = kit;
  check("has all the methods of a mesh storage, or none of them", async (storage) => {
    for (const method of METHODS) {
      const found = typeof (storage as Partial<MeshStorage>)[method] === "function";
      assertEquals(found, supports.mesh, `supports.mesh, as for ${method}()`);
    }
    assertEquals(isMeshStorage(storage), supports.mesh, "supports.mesh");
    await storage.isHealthy();
  });
  if (!supports.mesh) return;
  testReplicaState(kit);
  testAdopting(kit);
  testDeltas(kit);
  testMerges(kit);
  testMeshRaces(kit);
  testResidues(kit);
  testForgetting(kit);
}

function testReplicaState(kit: Kit): void {
  const { checkMesh } = meshKit(kit);

  checkMesh(
    "readReplicaState() of a new storage returns its identity, and no other replica",
    async (storage) => {
      const { vector, collected, maxVersion, ...identity } = await storage.readReplicaState();
      assertEquals(identity, await storage.getIdentity(), "its names");
      assertEquals([...vector.keys()].filter((replicaId) => replicaId !== identity.replicaId), [], "seen");
      assertEquals([...collected.values()].filter((stamp) => stamp !== 0), [], "swept");
      assertEquals(maxVersion, 0, "maxVersion");
    },
  );

  checkMesh("readReplicaState() includes every own change as soon as it is made", async (storage) => {
    const makes: [string, () => Promise<unknown>][] = [
      ["applyChanges()", () => apply(storage, changeOf("a"), changeOf("b"), deletionOf("c"))],
      ["setNode()", () => write(storage, "a")],
      ["deleteNode()", () => storage.deleteNode("b")],
      ["mergeNodes()", () => storage.mergeNodes([{ node: changeOf("d"), replaces: null }])],
    ];
    for (const [name, make] of makes) {
      await make();
      const newest = defined((await storage.listChangedSince(0)).at(-1));
      assertEquals(await ownDotVersion(storage), newest.version, `the own entry in seen after ${name}`);
      assertEquals((await storage.readReplicaState()).maxVersion, newest.version, `maxVersion after ${name}`);
    }
  });

  checkMesh(
    "readReplicaState() does not include a number that was reserved and not published",
    async (storage) => {
      const { version } = await write(storage, "a");
      const reserved = await storage.incrementVersion("b");
      assertEquals(await ownDotVersion(storage), version, "the own entry in seen");
      await storage.setNode("b", metaOf("b", reserved));
      assertEquals(await ownDotVersion(storage), reserved, "the own entry in seen after publishing");
      assertEquals((await replicatedOf(storage, "b")).dotVersion, reserved, "the stamp");
    },
  );

  checkMesh(
    "an earlier version vector does not include a node that was published after a higher one",
    async (storage) => {
      const { replicaId } = await storage.getIdentity();
      const reserved = await storage.incrementVersion("late");
      const next = await write(storage, "next");
      const { vector } = await storage.readReplicaState();
      await storage.setNode("late", metaOf("late", reserved));
      assertEquals(await storage.getNode("late"), metaOf("late", reserved), "getNode()");
      const node = await replicatedOf(storage, "late");
      assertEquals([node.version, node.replicaId], [reserved, replicaId], "its version and origin");
      assert(
        !includesDot(vector, dotOf(node)),
        `Stamp ${node.dotVersion} was told as seen before it was there`,
      );
      assertEquals(await storage.getMaxVersion(), next.version, "getMaxVersion()");
      assertEquals(await ownDotVersion(storage), node.dotVersion, "the own entry in seen");
      assertEquals((await storage.readDelta(vector, MANY)).nodes, [node], "the next delta");
      assert(
        await storage.incrementVersion("x") > node.dotVersion,
        "Expected the counter to be above the stamp",
      );
      const again = await write(storage, "late");
      assertEquals(
        await replicatedOf(storage, "late"),
        ownNode(again, replicaId),
        "the node once written again",
      );
    },
  );

  checkMesh("setNode() that publishes nothing does not change the version vector", async (storage) => {
    const older = await storage.incrementVersion("a");
    const between = await storage.incrementVersion("a");
    const { version } = await write(storage, "a");
    const before = await storage.readReplicaState();
    for (const meta of [metaOf("a", older), metaOf("a", between), metaOf("a", version)]) {
      await storage.setNode("a", meta);
    }
    assertEquals(await storage.readReplicaState(), before, "readReplicaState()");
    const foreignTop = version + 1000;
    await storage.mergeNodes([mergeNew(replicaNode("b", foreignTop))]);
    await storage.setNode("b", metaOf("b", foreignTop - 1));
    assertEquals(
      await ownDotVersion(storage),
      version,
      "the own entry in seen after a node older than a taken one",
    );
  });

  checkMesh(
    "numbers that were reserved before and published in any order are all in a later delta",
    async (storage) => {
      const reserved: number[] = [];
      for (let i = 0; i < 6; i++) reserved.push(await storage.incrementVersion("x"));
      let known: VersionVector = new Map();
      const told = new Map<string, ReplicatedNode>();
      for (const i of [3, 1, 5, 0, 4, 2]) {
        const key = `key:${i}`;
        await storage.setNode(key, metaOf(key, defined(reserved[i])));
        const { vector, nodes } = await storage.readDelta(known, MANY);
        assertEquals(keysOf(nodes), [key], "what came since the last delta");
        for (const node of nodes) told.set(node.key, node);
        known = vector;
      }
      assertEquals(
        new Set([...told.values()].map(({ dotVersion }) => dotVersion)).size,
        6,
        "how many stamps",
      );
      assertEquals(told, await storage.readReplicated([...told.keys()]), "what was told");
    },
  );
}

function testAdopting(kit: Kit): void {
  const { checkMesh } = meshKit(kit);
  const { elapse } = kit.options;

  checkMesh("adoptVector() joins the version vectors, and raises the counter", async (storage) => {
    const { epoch, replicaId } = await storage.getIdentity();
    const { version: top } = await write(storage, "a");
    const adopt = async (vector: Record<string, number>) => {
      assertEquals(await storage.adoptVector(new Map(Object.entries(vector)), epoch), false, "adoptVector()");
      return highest((await storage.readReplicaState()).vector);
    };
    assertEquals(await adopt({ ox: top + 10, oy: 5 }), { [replicaId]: top, ox: top + 10, oy: 5 }, "seen");
    assertEquals(
      await adopt({ ox: top + 4, oy: 7, oz: 1 }),
      { [replicaId]: top, ox: top + 10, oy: 7, oz: 1 },
      "joined",
    );
    assertEquals(await adopt({}), { [replicaId]: top, ox: top + 10, oy: 7, oz: 1 }, "joined with nothing");
    const next = await storage.incrementVersion("a");
    assert(next > top + 10, `Expected a version above ${top + 10}, got ${next}`);
    assertEquals((await adopt({ [replicaId]: next + 1000 }))[replicaId], top, "the own entry in seen");
    const later = await storage.incrementVersion("a");
    assert(later > next + 1000, `Expected a version above ${next + 1000}, got ${later}`);
    assertEquals(await storage.getNode("a"), metaOf("a", top), "the node");
  });

  checkMesh("adoptVector() keeps replica ids that are names of object properties", async (storage) => {
    const { epoch } = await storage.getIdentity();
    const vector = new Map([["__proto__", 3], ["constructor", 4], ["toString", 5]]);
    await storage.adoptVector(vector, epoch);
    const found = (await storage.readReplicaState()).vector;
    for (const [replicaId, stamp] of vector) assertEquals(found.get(replicaId), stamp, replicaId);
  });

  checkMesh("adoptVector() records nothing if its data have another replica id", async (storage) => {
    await write(storage, "a");
    const before = await storage.readReplicaState();
    const vector = new Map([["ox", before.maxVersion + 1000]]);
    const adopt = (replicaId: string) =>
      storage.adoptVector(vector, FIRST_EPOCH, new Map([["oy", 3]]), replicaId);
    assertEquals(await adopt("another"), false, "adoptVector() for another replica id");
    assertEquals(await storage.readReplicaState(), before, "readReplicaState()");
    assertEquals(await adopt(before.replicaId), true, "adoptVector() for its own replica id");
    assertEquals((await storage.readReplicaState()).collected.get("oy"), 3, "collected");
  });

  checkMesh("adoptVector() adopts an epoch that sorts before its own, and no other", async (storage) => {
    const { epoch, replicaId } = await storage.getIdentity();
    await write(storage, "a");
    assertEquals(await storage.adoptVector(new Map(), LAST_EPOCH), false, "a later epoch");
    assertEquals(await storage.adoptVector(new Map(), epoch), false, "its own epoch");
    assertEquals(await storage.getIdentity(), { epoch, replicaId }, "getIdentity()");
    assertEquals(await storage.adoptVector(new Map([["ox", 3]]), FIRST_EPOCH), true, "an earlier epoch");
    assertEquals(await storage.adoptVector(new Map(), FIRST_EPOCH), false, "the same once more");
    assertEquals(await storage.adoptVector(new Map(), epoch), false, "the epoch it had");
    assertEquals(await storage.getIdentity(), { epoch: FIRST_EPOCH, replicaId }, "getIdentity()");
    const { vector, ...state } = await storage.readReplicaState();
    assertEquals(
      [state.epoch, state.replicaId, vector.get("ox")],
      [FIRST_EPOCH, replicaId, 3],
      "readReplicaState()",
    );
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
    const own = defined((await storage.mergeNodes([{ node: changeOf("b"), replaces: null }]))[0]);
    const reserved = await storage.incrementVersion("c");
    assert(defined(meta).version > floor, `Expected a version above ${floor}, got ${meta?.version}`);
    assert(
      own.version > defined(meta).version,
      `Expected a version above ${meta?.version}, got ${own.version}`,
    );
    assert(reserved > own.version, `Expected a version above ${own.version}, got ${reserved}`);
    assertEquals(await ownDotVersion(storage), own.version, "the own entry in seen");
    if (!elapse) return;
    await elapse(storage);
    await storage.deleteNode("a");
    const { version } = await replicatedOf(storage, "a");
    assert(version > reserved + 1000, `Expected the version to follow the clock, got ${version}`);
  });
}
