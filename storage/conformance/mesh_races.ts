/**
 * The kit: two processes on one storage that merge at the same time.
 *
 * @module
 */
import { dotOf, includesDot } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import { allSettle, changeOf, defined, type Kit, write } from "./kit.ts";
import {
  FIRST_EPOCH,
  highest,
  MANY,
  mergeNew,
  mergeOf,
  meshKit,
  ownNode,
  replicaNode,
  replicatedOf,
  toMeta,
} from "./mesh_kit.ts";

/** Registers these tests. */
export function testMeshRaces(kit: Kit): void {
  const { checkBoth } = meshKit(kit);

  checkBoth("what one process merges and adopts, the other one reads", async (one, other) => {
    const { version: top } = await write(one, "a");
    const node = replicaNode("b", top + 1000);
    await one.mergeNodes([mergeNew(node)]);
    await one.adoptVector(new Map([["other", node.dotVersion]]), FIRST_EPOCH);
    assertEquals(
      await other.readReplicaState(),
      await one.readReplicaState(),
      "readReplicaState() of the other",
    );
    assertEquals((await other.readReplicaState()).epoch, FIRST_EPOCH, "the epoch");
    assertEquals((await other.getIdentity()).epoch, FIRST_EPOCH, "getIdentity()");
    assertEquals(await replicatedOf(other, "b"), node, "readReplicated() of the other");
    assertEquals(await other.readDelta(new Map(), MANY), await one.readDelta(new Map(), MANY), "readDelta()");
    assert(await other.incrementVersion("a") > node.version, "Expected the other's counter to have moved");
  });

  checkBoth("of two processes that replace one node by a merge, exactly one succeeds", async (one, other) => {
    for (let round = 0; round < 8; round++) {
      const key = `key:${round}`;
      const before = round % 2
        ? dotOf(ownNode(await write(one, key), (await one.getIdentity()).replicaId))
        : null;
      const top = await one.getMaxVersion();
      const nodes = [replicaNode(key, top + 10, "ox"), replicaNode(key, top + 20, "oy")];
      const own = { node: changeOf(key, "own"), replaces: before };
      const [x, y, z] = await allSettle([
        one.mergeNodes([mergeOf(defined(nodes[0]), before)]),
        other.mergeNodes([mergeOf(defined(nodes[1]), before)]),
        one.mergeNodes([own]),
      ]);
      const written = [x?.[0], y?.[0], z?.[0]].filter((meta) => meta !== null);
      assertEquals(written.length, 1, `how many were written in round ${round}`);
      assertEquals(toMeta(await replicatedOf(other, key)), written[0], "the node");
    }
  });

  checkBoth("two processes that adopt version vectors at once lose nothing", async (one, other) => {
    await write(one, "a");
    const { replicaId } = await one.getIdentity();
    const adoptions = [...Array(24).keys()].map((i) =>
      (i % 2 ? one : other).adoptVector(
        new Map([[`o${i % 8}`, i + 1], ["shared", i + 1]]),
        `00000000${9 - (i % 4)}-epoch`,
      )
    );
    const changed = await allSettle(adoptions);
    assert(changed.filter(Boolean).length >= 1, "Expected the epoch to have changed");
    const { vector, epoch } = await one.readReplicaState();
    const { [replicaId]: _own, ...others } = highest(vector);
    const expected = Object.fromEntries([...Array(8).keys()].map((i) => [`o${i}`, i + 17]));
    assertEquals(others, { ...expected, shared: 24 }, "seen");
    assert(epoch <= "000000006-epoch", `Expected the least of the epochs, got ${epoch}`);
  });

  checkBoth("changes and merges at once share no version, and the deltas miss none", async (one, other) => {
    const given = new Set<number>();
    const give = (metas: readonly (RealityNodeMeta | null)[]) => {
      for (const { version } of metas.map(defined)) {
        assert(!given.has(version), `Version ${version} was given twice`);
        given.add(version);
      }
    };
    await allSettle([...Array(4).keys()].map(async (writer) => {
      const storage = writer % 2 ? one : other;
      for (let i = 0; i < 6; i++) {
        give(await apply(storage, changeOf(`w${writer}:${i}`)));
        give(await storage.mergeNodes([{ node: changeOf(`t${writer}:${i}`), replaces: null }]));
        const key = `s${writer}:${i}`;
        give([await write(storage, key)]);
      }
    }));
    assertEquals(given.size, 72, "how many versions");
    const { nodes, vector } = await one.readDelta(new Map(), MANY);
    assertEquals(nodes.length, 72, "how many nodes a delta has");
    assertEquals(new Set(nodes.map(({ dotVersion }) => dotVersion)).size, 72, "how many stamps");
    assert(
      nodes.every((node) => includesDot(vector, dotOf(node))),
      "A node at rest is outside of what is seen",
    );
  });
}
