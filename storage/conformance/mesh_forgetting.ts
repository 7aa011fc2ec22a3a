/**
 * The kit: a mesh storage forgets replicas that are gone, and does not learn of them again.
 *
 * @module
 */
import type { Dot, MeshStorage } from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { changeOf, defined, deletionOf, type Kit, write } from "./kit.ts";
import { FIRST_EPOCH, highest, mergeNew, meshKit, ownDotVersion, replicaNode } from "./mesh_kit.ts";

/** Registers these tests. */
export function testForgetting(kit: Kit): void {
  const { checkMesh, checkBoth } = meshKit(kit);
  const { elapse } = kit.options;

  checkMesh(
    "forgetReplicas() removes replicas from the version vector, and nothing else",
    async (storage) => {
      storage.countByClock();
      await write(storage, "a");
      await storage.mergeNodes([mergeNew(replicaNode("b", 70, "oz"))]);
      await adopt(storage, { ox: 10, oy: 20, oz: 70 });
      const { vector, forgotten, ...before } = await storage.readReplicaState();
      assertEquals(forgotten, undefined, "forgotten, before");
      await storage.forgetReplicas(
        new Map([["ox", 10], ["oy", 20], ["unknown", 5]]),
        await ownDot(storage),
      );
      const { vector: left, forgotten: gone, ...after } = await storage.readReplicaState();
      assertEquals(
        highest(left),
        highest(new Map([...vector].filter(([id]) => id !== "ox" && id !== "oy"))),
        "seen",
      );
      assertEquals(highest(gone ?? new Map()), { ox: 10, oy: 20 }, "forgotten");
      assertEquals(after, before, "the rest of the state");
      assertEquals([...await storage.getNodes(["a", "b"])].length, 2, "the nodes");
    },
  );

  checkMesh(
    "forgetReplicas() keeps the own replica, and one that has another entry by now",
    async (storage) => {
      storage.countByClock();
      const { version } = await write(storage, "a");
      await adopt(storage, { ox: 11, oy: 20 });
      const { replicaId } = await storage.getIdentity();
      const before = await storage.readReplicaState();
      const own = { replicaId, version };
      await storage.forgetReplicas(new Map([["ox", 10], ["oy", 30], [replicaId, version]]), own);
      await storage.forgetReplicas(new Map([["oy", 20]]), { ...own, replicaId: "before" });
      assertEquals(await storage.readReplicaState(), before, "the state");
    },
  );

  checkMesh(
    "adoptVector() does not bring a forgotten replica back, but later changes of it",
    async (storage) => {
      storage.countByClock();
      await write(storage, "a");
      await adopt(storage, { ox: 10, oy: 20, oz: 30 });
      await storage.forgetReplicas(new Map([["ox", 10], ["oy", 20]]), await ownDot(storage));
      const vector = new Map([["ox", 10], ["oy", 19]]);
      await storage.adoptVector(vector, FIRST_EPOCH, vector);
      let state = await storage.readReplicaState();
      assertEquals([state.vector.has("ox"), state.vector.has("oy")], [false, false], "in seen");
      assertEquals([state.collected.has("ox"), state.collected.has("oy")], [false, false], "in swept");
      assertEquals(state.epoch, FIRST_EPOCH, "the epoch");
      await storage.adoptVector(new Map([["ox", 11]]), FIRST_EPOCH, new Map([["oy", 21]]));
      state = await storage.readReplicaState();
      assertEquals([state.vector.get("ox"), state.collected.get("oy")], [11, 21], "what is later");
    },
  );

  checkMesh(
    "forgetReplicas() records the own dot in place of their collected tombstones",
    async (storage) => {
      storage.countByClock();
      await write(storage, "a");
      await storage.adoptVector(
        new Map([["ox", 10], ["oy", 20]]),
        FIRST_EPOCH,
        new Map([["ox", 9], ["oy", 21]]),
      );
      const dot = await ownDot(storage);
      await storage.forgetReplicas(new Map([["ox", 10], ["oy", 20]]), dot);
      const { vector, collected } = await storage.readReplicaState();
      assertEquals(highest(collected), { oy: 21, [dot.replicaId]: dot.version }, "swept");
      assertEquals([vector.has("ox"), vector.get("oy")], [false, 20], "seen: not all of oy was merged");
      await adopt(storage, { oz: 5 });
      await storage.forgetReplicas(new Map([["oz", 5]]), { ...dot, version: dot.version + 1 });
      assertEquals(
        (await storage.readReplicaState()).collected.get(dot.replicaId),
        dot.version,
        "swept, where no tombstone of the replica was collected",
      );
    },
  );

  checkMesh("newEpoch() also clears what was forgotten", async (storage) => {
    if (!storage.newEpoch) return;
    storage.countByClock();
    await write(storage, "a");
    await adopt(storage, { ox: 10 });
    await storage.forgetReplicas(new Map([["ox", 10]]), await ownDot(storage));
    const { epoch } = await storage.newEpoch();
    assertEquals((await storage.readReplicaState()).forgotten, undefined, "forgotten");
    await storage.adoptVector(new Map([["ox", 10]]), epoch);
    assertEquals((await storage.readReplicaState()).vector.get("ox"), 10, "seen");
  });

  checkMesh("tombstones that are collected later leave no trace of a forgotten replica", async (storage) => {
    if (!elapse) return;
    storage.countByClock();
    const { version } = await write(storage, "a");
    const grave = { ...replicaNode("b", version + 1000, "ox"), hash: "", deleted: true as const };
    await storage.mergeNodes([mergeNew(grave)]);
    await adopt(storage, { ox: grave.dotVersion });
    // As the mesh does: the tombstone is written once more, as an own change.
    const replaces = { replicaId: "ox", version: grave.dotVersion };
    const [again] = await storage.mergeNodes([{ node: deletionOf("b"), replaces }]);
    await storage.forgetReplicas(new Map([["ox", grave.dotVersion]]), {
      replicaId: (await storage.getIdentity()).replicaId,
      version: defined(again).version,
    });
    await elapse(storage);
    await storage.mergeNodes([{ node: changeOf("c"), replaces: null }]);
    await elapse(storage);
    assert(!(await storage.readReplicaState()).collected.has("ox"), "Expected no ox in swept");
  });

  checkBoth("what one process forgets, the other one does not know any more", async (one, other) => {
    one.countByClock();
    other.countByClock();
    await write(one, "a");
    await adopt(one, { ox: 10, oy: 20 });
    await other.readReplicaState();
    const dot = await ownDot(one);
    await Promise.all([
      one.forgetReplicas(new Map([["ox", 10]]), dot),
      other.forgetReplicas(new Map([["ox", 10], ["oy", 20]]), dot),
    ]);
    await adopt(other, { ox: 10 });
    const { vector, forgotten } = await one.readReplicaState();
    assertEquals([vector.has("ox"), vector.has("oy")], [false, false], "in seen");
    assertEquals(highest(forgotten ?? new Map()), { ox: 10, oy: 20 }, "forgotten");
  });
}

/** The newest dot of a storage. */
async function ownDot(storage: MeshStorage): Promise<Dot> {
  return { replicaId: (await storage.getIdentity()).replicaId, version: await ownDotVersion(storage) };
}

async function adopt(storage: MeshStorage, vector: Record<string, number>): Promise<void> {
  const { epoch } = await storage.getIdentity();
  await storage.adoptVector(new Map(Object.entries(vector)), epoch);
}
