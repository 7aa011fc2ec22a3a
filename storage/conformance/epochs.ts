/**
 * The kit: a history that was set back can be distinguished from one that continued, and newEpoch() starts another one.
 *
 * @module
 */
import { isConfirmed, lateMarksSince, markOf } from "../../src/store/history.ts";
import type { MeshStorage, RealityStorage, StorageMoment } from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { awaitSweep, changeOf, defined, deletionOf, type Kit, metaOf, nodesOf, write } from "./kit.ts";
import {
  asMesh,
  highest,
  MANY,
  mergeNew,
  meshKit,
  replicaNode,
  replicatedOf,
  stampedOfAll,
} from "./mesh_kit.ts";

/** How many commits a reading must at least report. DynamoDB keeps few: its item must stay small. */
const COMMITS = 3;

/** Registers these tests. */
export function testEpochs(kit: Kit): void {
  if (kit.supports.recent) testRecent(kit);
  if (kit.supports.newEpoch) testNewEpoch(kit);
}

function testRecent(kit: Kit): void {
  const { check, checkShared, supports } = kit;
  const commits: readonly ((storage: RealityStorage, i: number) => Promise<unknown>)[] = [
    (storage, i) => write(storage, `written:${i}`),
    async (storage) => await storage.applyChanges?.([changeOf("one"), changeOf("two"), deletionOf("three")]),
    (storage) => storage.deleteNode("one"),
    async (storage, i) =>
      await storage.setNode(`set:${i}`, metaOf(`set:${i}`, await storage.getMaxVersion() + 3)),
    async (storage, i) => {
      if (!supports.mesh) return;
      await asMesh(storage).mergeNodes([
        mergeNew(replicaNode(`taken:${i}`, await storage.getMaxVersion() + 7)),
      ]);
    },
    async (storage, i) => {
      if (!supports.mesh) return;
      await asMesh(storage).mergeNodes([{ node: changeOf(`own:${i}`), replaces: null }]);
    },
    async (storage, i) => {
      if (!supports.mesh) return;
      await asMesh(storage).mergeNodes([mergeNew(replicaNode(`late:${i}`, 1 + i))]);
    },
  ];

  check("a counter that was read is confirmed after any further commits", async (storage) => {
    const positions = [0];
    for (const [i, commit] of [...commits, ...commits].entries()) {
      await commit(storage, i);
      await storage.incrementVersion("reserved");
      const moments = await readMoments(storage);
      for (const moment of moments) {
        for (const position of positions.slice(-COMMITS)) {
          assert(isConfirmed(moment, position), `Expected ${position} to be confirmed by ${show(moment)}`);
        }
        for (const position of [...new Set(positions.slice(-COMMITS))]) {
          const between = position + 1;
          if (positions.includes(between) || between >= moment.maxVersion) continue;
          assert(!isConfirmed(moment, between), `Expected ${between} not to be, by ${show(moment)}`);
        }
        assert(!isConfirmed(moment, moment.maxVersion + 1), "Expected no counter to be that is yet to come");
      }
      positions.push(await storage.getMaxVersion());
    }
  });

  check("after many commits an early counter is not confirmed, and late ones are", async (storage) => {
    const positions: number[] = [];
    for (let i = 0; i < 130; i++) {
      await storage.applyChanges?.([changeOf(`key:${i % 7}`, `${i}`)]);
      positions.push(await storage.getMaxVersion());
    }
    for (const moment of await readMoments(storage)) {
      const confirmed = positions.filter((position) => isConfirmed(moment, position));
      assert(confirmed.length >= COMMITS, `Expected ${COMMITS} counters to be confirmed by ${show(moment)}`);
      assertEquals(confirmed, positions.slice(-confirmed.length), "the confirmed counters");
      assert(confirmed.length < positions.length, "Expected the text to be bounded");
    }
  });

  check("keys that were published below the counter are reported by their marks", async (storage) => {
    const reserved = await storage.incrementVersion("reserved");
    await write(storage, "own");
    const publish = async (keys: readonly string[], commit: () => unknown) => {
      const before = await readMoments(storage);
      await commit();
      for (const [i, moment] of (await readMoments(storage)).entries()) {
        const { late } = defined(before[i]);
        assert(moment.late > late, `Expected late above ${late}, got ${moment.late}`);
        const marks = lateMarksSince(moment, late);
        assertEquals(marks, new Set(keys.map(markOf)), `the marks in ${show(moment)}`);
        assertEquals(lateMarksSince(moment, moment.late), new Set(), "the marks since then");
        assertEquals(
          lateMarksSince(moment, moment.late + 1),
          null,
          "the marks since a moment that is yet to come",
        );
      }
    };
    await publish(["reserved"], () => storage.setNode("reserved", metaOf("reserved", reserved)));
    if (!supports.mesh) return;
    const mesh = asMesh(storage);
    await mesh.mergeNodes([mergeNew(replicaNode("high", await storage.getMaxVersion() + 1_000))]);
    await publish(["a"], () => mesh.mergeNodes([mergeNew(replicaNode("a", 5))]));
    await publish(["b", "c"], async () => {
      await mesh.mergeNodes([mergeNew(replicaNode("b", 6)), { node: changeOf("own:2"), replaces: null }]);
      await write(storage, "own:3");
      await mesh.mergeNodes([mergeNew(replicaNode("c", 7))]);
    });
    const top = await storage.getMaxVersion();
    const above = async () =>
      await mesh.mergeNodes([mergeNew(replicaNode("d", 8)), mergeNew(replicaNode("e", top + 256_000))]);
    const [before] = await readMoments(storage);
    await above();
    const [moment] = await readMoments(storage);
    const marks = lateMarksSince(defined(moment), defined(before).late);
    assert(
      marks?.has(markOf("d")) === true,
      `Expected the mark of a key among others in ${show(defined(moment))}`,
    );
    assert(isConfirmed(defined(moment), top), `Expected ${top} to be confirmed by ${show(defined(moment))}`);
    // With too many changes, any key may have changed.
    const keys = Array.from({ length: 40 }, (_, i) => `many:${i}`);
    await mesh.mergeNodes(keys.map((key, i) => mergeNew(replicaNode(key, 10 + i))));
    for (const moment of await readMoments(storage)) {
      const marks = lateMarksSince(moment, defined(before).late);
      assert(marks === null || keys.every((key) => marks.has(markOf(key))), `Expected all marks, or null`);
    }
  });

  checkShared(
    "a counter read in one process is confirmed after the commits of another",
    async (one, other) => {
      const before = await readMoments(one);
      for (let i = 0; i < COMMITS; i++) await other.applyChanges?.([changeOf(`key:${i}`)]);
      for (const moment of await readMoments(one)) {
        for (const { maxVersion } of before) assert(isConfirmed(moment, maxVersion), show(moment));
      }
    },
  );
}

function testNewEpoch(kit: Kit): void {
  const { check, checkShared, supports } = kit;
  const { checkMesh } = meshKit(kit);

  check("newEpoch() returns a new identity, and keeps nodes and counter", async (storage) => {
    const [kept, gone] = [await write(storage, "a"), await write(storage, "b")];
    await storage.deleteNode("b");
    const top = await storage.getMaxVersion();
    const before = await storage.getIdentity?.();
    const names = await defined(storage.newEpoch?.());
    assertEquals(await storage.getIdentity?.(), names, "getIdentity()");
    assert(names.epoch !== before?.epoch, "Expected another epoch");
    assert(names.replicaId !== before?.replicaId, "Expected another origin");
    assertEquals(await storage.getMaxVersion(), top, "getMaxVersion()");
    assertEquals(await storage.getNode("a"), kept, "getNode()");
    assertEquals(await storage.getNode("b"), null, "getNode() of what was deleted");
    for (const { epoch, replicaId } of await readMoments(storage)) {
      assertEquals({ epoch, replicaId }, names, "the names of a reading");
    }
    const next = await write(storage, "c");
    assert(next.version > top && top > gone.version, `Expected a version above ${top}, got ${next.version}`);
    assert((await defined(storage.newEpoch?.())).epoch !== names.epoch, "Expected another epoch each time");
  });

  checkShared("newEpoch() applies to every process on the storage", async (one, other) => {
    const meta = await write(one, "a");
    await other.getNode("a");
    const names = await defined(one.newEpoch?.());
    assertEquals(await other.getIdentity?.(), names, "getIdentity() of the other");
    const later = await write(other, "b");
    assert(later.version > meta.version, "Expected the other to go on from the counter");
    if (!one.readNodes) return;
    assertEquals([...nodesOf(await one.readNodes(["a", "b"]), ["a", "b"]).keys()], ["a", "b"], "the nodes");
  });

  if (supports.subscribe) {
    checkShared("subscribe() reports that another process called newEpoch()", async (one, other) => {
      await write(other, "a");
      let hear = () => {};
      const heard = new Promise<void>((resolve) => hear = resolve);
      const leave = await one.subscribe?.((keys) => {
        if (keys === null) hear();
      });
      await other.newEpoch?.();
      await heard;
      await leave?.();
    });
  }

  if (!supports.mesh) return;
  checkMesh("newEpoch() makes the nodes new to other storages, and theirs to this one", async (storage) => {
    const { version } = await write(storage, "own");
    await write(storage, "gone");
    await storage.deleteNode("gone");
    await storage.mergeNodes([mergeNew(replicaNode("theirs", version + 50))]);
    const { epoch } = await storage.getIdentity();
    await storage.adoptVector(new Map([["other", version + 50]]), epoch, new Map([["third", 7]]));
    const before = await storage.readReplicaState();
    const { replicaId } = await defined((storage as MeshStorage).newEpoch?.());
    const after = await storage.readReplicaState();
    const own = defined(before.vector.get(before.replicaId));
    assertEquals(highest(after.vector), { [replicaId]: own }, "seen");
    assertEquals(after.collected.get("third"), 7, "swept");
    const [node, grave, theirs] = await stampedOfAll(storage, "own", "gone", "theirs");
    assertEquals(
      [node?.replicaId, grave?.replicaId, theirs?.replicaId],
      [replicaId, replicaId, "other"],
      "origins",
    );
    const { nodes } = await storage.readDelta(before.vector, MANY);
    assertEquals(nodes.map(({ key }) => key).sort(), ["gone", "own"], "what another storage is told");
  });

  const { elapse } = kit.options;
  if (!elapse || !supports.tombstones) return;
  checkMesh("newEpoch() keeps track of tombstones that expire later", async (storage) => {
    await write(storage, "gone");
    await storage.deleteNode("gone");
    const { dotVersion } = await replicatedOf(storage, "gone");
    const { replicaId } = await defined(storage.newEpoch?.());
    await elapse(storage);
    await write(storage, "other");
    const collectedDot = async () => (await storage.readReplicaState()).collected.get(replicaId) ?? 0;
    await awaitSweep(async () => await collectedDot() >= dotVersion);
    const collected = await collectedDot();
    assert(collected >= dotVersion, `Expected a collected dot from ${dotVersion} on, got ${collected}`);
  });
}

/** How the storage stands, by each of the methods that tell it. */
async function readMoments(storage: RealityStorage): Promise<StorageMoment[]> {
  const moments: StorageMoment[] = [];
  if (storage.readNodes) moments.push(await storage.readNodes(["one"]));
  if (storage.readChanges) moments.push(await storage.readChanges(await storage.getMaxVersion(), 1));
  return moments;
}

function show({ maxVersion, recent }: StorageMoment): string {
  return `${maxVersion} after ${recent}`;
}
