/**
 * The kit: numbers of storages that stand beside each other differ, since each storage has a residue of its own.
 *
 * @module
 */
import { type MeshStorage, RESIDUES, type VersionVector } from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import { allSettle, changeOf, defined, deletionOf, type Kit, metaOf, write } from "./kit.ts";
import { asMesh, mergeNew, meshKit, ownDotVersion, replicaNode, replicatedOf } from "./mesh_kit.ts";

/** Registers these tests. */
export function testResidues(kit: Kit): void {
  const { checkMesh, checkBoth } = meshKit(kit);
  const { create, destroy } = kit.options;

  checkMesh(
    "all numbers of a storage have one residue, which its version vector contains from the start",
    async (storage) => {
      storage.countByClock();
      const residue = await residueOf(storage);
      assert(await ownDotVersion(storage) > 0, "Expected a number in seen before any change");
      const numbers = [await storage.incrementVersion("a")];
      const metas = await apply(storage, changeOf("a"), deletionOf("b"), changeOf("c"));
      numbers.push(...metas.map(({ version }) => version), (await write(storage, "d")).version);
      const above = defined(numbers.at(-1)) + 12_345;
      const own = await storage.mergeNodes([
        { node: changeOf("e"), above, replaces: null },
        mergeNew(replicaNode("f", above + 1)),
        { node: deletionOf("g"), replaces: null },
      ]);
      numbers.push(defined(own[0]).version, defined(own[2]).version);
      numbers.push(await storage.incrementVersion("a"));
      await storage.deleteNode("a");
      numbers.push((await replicatedOf(storage, "a")).version);
      for (const number of numbers) assertEquals(number % RESIDUES, residue, `the residue of ${number}`);
      assertEquals(new Set(numbers).size, numbers.length, "how many numbers");
      assertEquals(await residueOf(storage), residue, "the residue in seen");
      assertEquals((await storage.readReplicaState()).maxVersion, defined(numbers.at(-1)), "maxVersion");
    },
  );

  checkMesh(
    "a node that is published with another residue gets a dot of the storage's own",
    async (storage) => {
      storage.countByClock();
      const residue = await residueOf(storage);
      const { version: top } = await write(storage, "x");
      for (const version of [1, top + 1, top + 10_001]) {
        const key = `key:${version}`;
        await storage.setNode(key, metaOf(key, version));
        const node = await replicatedOf(storage, key);
        assertEquals(node.version, version, "its version");
        assertEquals(node.dotVersion % RESIDUES, residue, "the residue of its stamp");
        assertEquals(await ownDotVersion(storage), node.dotVersion, "the own entry in seen");
        const next = await storage.incrementVersion("x");
        assert(
          next > Math.max(node.version, node.dotVersion),
          `Expected ${next} above ${version} and ${node.dotVersion}`,
        );
      }
      const history = await storage.listChangedSince(top);
      assertEquals(history.map(({ version }) => version), [top + 1, top + 10_001], "listChangedSince()");
    },
  );

  checkMesh("avoidResidues() draws another residue if another storage has the same", async (storage) => {
    storage.countByClock();
    const { version } = await write(storage, "a");
    const reserved = await storage.incrementVersion("late");
    const { epoch, replicaId, maxVersion } = await storage.readReplicaState();
    const others = new Map([[replicaId, reserved], ["far", reserved + 1], [
      "other",
      reserved + 7 * RESIDUES,
    ]]);
    await storage.avoidResidues(others);
    const residue = await residueOf(storage);
    assert(residue !== version % RESIDUES, `Expected another residue than ${residue}`);
    assert(residue !== (reserved + 1) % RESIDUES, `Expected another residue than that of "far"`);
    const drawn = await ownDotVersion(storage);
    assert(drawn > reserved, `Expected a number above ${reserved} in seen, got ${drawn}`);
    const state = await storage.readReplicaState();
    assertEquals([state.epoch, state.maxVersion], [epoch, maxVersion], "epoch and maxVersion");
    assertEquals([...state.vector.keys()], [replicaId], "whose changes were taken in");
    await storage.avoidResidues(others);
    assertEquals(await ownDotVersion(storage), drawn, "the own entry in seen after the same once more");
    for (const meta of await apply(storage, changeOf("b"), changeOf("c"))) {
      assertEquals(meta.version % RESIDUES, residue, "the residue of a change");
    }
    await storage.setNode("late", metaOf("late", reserved));
    const late = await replicatedOf(storage, "late");
    assertEquals([late.version, late.dotVersion % RESIDUES], [reserved, residue], "what was reserved before");
    assert(late.dotVersion > drawn, `Expected a stamp above ${drawn}, got ${late.dotVersion}`);
  });

  checkMesh("avoidResidues() considers storages that were merged before as well", async (storage) => {
    storage.countByClock();
    const { version } = await write(storage, "a");
    const { epoch, replicaId } = await storage.getIdentity();
    const known = new Map<string, number>();
    for (let i = 1; i < RESIDUES - 1; i++) known.set(`o${i}`, version + i);
    await storage.adoptVector(known, epoch);
    await storage.avoidResidues(new Map([["other", version + RESIDUES]]));
    assertEquals(await residueOf(storage), (version + RESIDUES - 1) % RESIDUES, "the only one that is free");
    assertEquals(
      (await storage.readReplicaState()).vector.get(replicaId),
      await ownDotVersion(storage),
      "the own entry",
    );
  });

  checkMesh(
    "avoidResidues() draws the residue that was unused for the longest time once all are taken",
    async (storage) => {
      storage.countByClock();
      const { version } = await write(storage, "a");
      const all = new Map<string, number>();
      for (let i = 0; i < RESIDUES; i++) all.set(`o${i}`, version + RESIDUES + i);
      const oldest = version - 100 * RESIDUES + 9;
      all.set("o9", oldest);
      await storage.avoidResidues(all);
      assertEquals(await residueOf(storage), oldest % RESIDUES, "its residue");
      const drawn = await ownDotVersion(storage);
      await storage.avoidResidues(all);
      assertEquals(await ownDotVersion(storage), drawn, "the own entry in seen after the same once more");
      await storage.avoidResidues(
        new Map(all).set("o9", oldest + 10_000 * RESIDUES + drawn - drawn % RESIDUES),
      );
      assert(
        await ownDotVersion(storage) > drawn,
        "Expected another number after an exchange with that storage",
      );
    },
  );

  checkMesh(
    "storages share no residue after they have exchanged their version vectors",
    async (storage) => {
      const others: MeshStorage[] = [];
      try {
        for (let i = 0; i < 3; i++) others.push(asMesh(await create()));
        const all = [storage, ...others];
        for (const one of all) one.countByClock();
        // All clash at once: each receives the vectors of the others as they were before.
        const top = Math.max(...await Promise.all(all.map(ownDotVersion)));
        const base = top - top % RESIDUES + 100 * RESIDUES;
        for (const one of all) {
          const crowd = new Map<string, number>();
          for (let i = 0; i < RESIDUES; i++) if (i !== 77) crowd.set(`crowd:${i}`, base + i);
          await one.avoidResidues(crowd);
        }
        for (let round = 0; round < 20; round++) {
          const told = await Promise.all(all.map((one) => one.readReplicaState()));
          const residues = await Promise.all(all.map(residueOf));
          if (new Set(residues).size === all.length && round > 0) return;
          for (const one of all) for (const { vector } of told) await one.avoidResidues(vector);
        }
        throw new Error("Expected different residues after 20 rounds");
      } finally {
        for (const one of others) await destroy?.(one);
      }
    },
  );

  checkBoth(
    "two processes on one storage use the same residue, also after another one was drawn",
    async (one, other) => {
      one.countByClock();
      other.countByClock();
      const residues = new Set<number>();
      const numbers: number[] = [];
      for (let round = 0; round < 4; round++) {
        const clash: VersionVector = new Map([[`o${round}`, await ownDotVersion(one) + RESIDUES]]);
        await allSettle<unknown>([one.avoidResidues(clash), other.avoidResidues(clash)]);
        const residue = await residueOf(one);
        assertEquals(await residueOf(other), residue, "the other's residue");
        assert(!residues.has(residue), `Residue ${residue} was drawn again`);
        residues.add(residue);
        const { epoch } = await one.getIdentity();
        await (round % 2 ? one : other).adoptVector(clash, epoch);
        const given = await allSettle([0, 1, 2, 3].map(async (i) => {
          const storage = i % 2 ? one : other;
          const metas = await apply(storage, changeOf(`a${i}`), changeOf(`b${i}`));
          return [...metas.map(({ version }) => version), await storage.incrementVersion("x")];
        }));
        for (const number of given.flat()) {
          assertEquals(
            number % RESIDUES,
            residue,
            `the residue of ${number}`,
          );
        }
        numbers.push(...given.flat());
      }
      assertEquals(new Set(numbers).size, numbers.length, "how many numbers");
    },
  );
}

/** The residue that a storage tells others. */
async function residueOf(storage: MeshStorage): Promise<number> {
  return await ownDotVersion(storage) % RESIDUES;
}
