import { deepEqual, equal, ok } from "node:assert/strict";
import { OldReplicas } from "../../../src/mesh/old_replicas.ts";
import { dotOf, includesDot, type MeshStorage, type ReplicatedNode } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";
import { createRewriting } from "./rewriting.ts";
import { Servers } from "./servers.ts";
import { SECRET, withServers } from "./with_servers.ts";

/** Numbers of storages that are gone: below those that are assigned today. */
const OLD = 100_000_000_000_000;

/** The entries of so many storages that are gone, the oldest first. */
function goneReplicas(count: number): Map<string, number> {
  return new Map(Array.from({ length: count }, (_, i) => [nameOf(i), OLD + i]));
}

function nameOf(i: number): string {
  return `gone:${i}`.padEnd(12, "x");
}

function nodeOf(i: number, more: Partial<ReplicatedNode> = {}): ReplicatedNode {
  const version = OLD + i;
  return {
    key: `key:${i}`,
    version,
    hash: "theirs",
    updatedAt: 1,
    replicaId: nameOf(i),
    dotVersion: version,
    ...more,
  };
}

function setUp(storage: MeshStorage = new MemoryStorage()) {
  const { clock, deps, rewriter, woken } = createRewriting(storage);
  const rewritten: RealityNodeMeta[] = [];
  const peers = { isKnown: true };
  const oldReplicas = new OldReplicas({ ...deps, rewriter, isKnownToPeers: () => peers.isKnown });
  const check = async () => {
    oldReplicas.check(await storage.readReplicaState(), (metas) => rewritten.push(...metas));
    await clock.advance(100);
  };
  /** An exchange each minute. */
  const pass = async (minutes: number) => {
    for (let minute = 0; minute < minutes; minute++) {
      await check();
      await clock.advance(60_000);
    }
  };
  return { storage, clock, rewriter, peers, check, pass, woken, rewritten };
}

async function fill(storage: MeshStorage, count: number, nodes: readonly ReplicatedNode[] = []) {
  await storage.mergeNodes(nodes.map((node) => ({ node, replaces: null })));
  await storage.adoptVector(goneReplicas(count), "zzz");
}

test("the oldest of more than 1,000 replicas are forgotten, once their nodes are written again", async () => {
  const { storage, pass, woken, rewritten } = setUp();
  const [old, deleted, young] = [nodeOf(3), nodeOf(4, { hash: "", deleted: true }), nodeOf(900)];
  await fill(storage, 1_200, [old, deleted, young]);
  const before = await storage.readReplicaState();
  await pass(20);
  deepEqual(woken.flat().sort(), ["key:3", "key:4"]);
  deepEqual(rewritten.map(({ key, deleted }) => [key, deleted]).sort(), [["key:3", undefined], [
    "key:4",
    true,
  ]]);
  const { vector, forgotten, replicaId } = await storage.readReplicaState();
  equal(vector.size, 500);
  ok([...Array(499).keys()].every((i) => vector.has(nameOf(1_199 - i))), "the newest are kept");
  ok(vector.get(replicaId)! > before.vector.get(replicaId)!);
  equal(forgotten?.size, 701);
  // Nothing is left that the version vector does not include.
  const { nodes } = await storage.readDelta(new Map(), 10);
  ok(nodes.every((node) => includesDot(vector, dotOf(node))));
  // A storage that had merged all of them is offered the two nodes, and each storage below is offered nothing else.
  const offered = await storage.readDelta(before.vector, 10);
  deepEqual(offered.nodes.map(({ key }) => key).sort(), ["key:3", "key:4"]);
});

test("nothing is forgotten with 1,000 replicas, nor within ten minutes, nor in a storage that does not number", async () => {
  const few = setUp();
  await fill(few.storage, 999, [nodeOf(3)]);
  await few.pass(60);
  deepEqual([(await few.storage.readReplicaState()).vector.size, few.rewritten], [1_000, []]);
  const soon = setUp();
  await fill(soon.storage, 1_001);
  await soon.pass(9);
  equal((await soon.storage.readReplicaState()).vector.size, 1_002);
  class Silent extends MemoryStorage {
    override avoidResidues(): Promise<void> {
      return Promise.resolve();
    }
  }
  const silent = setUp(new Silent());
  await fill(silent.storage, 1_001);
  await silent.pass(60);
  equal((await silent.storage.readReplicaState()).vector.size, 1_002);
});

test("a replica that numbers again meanwhile is kept, and so is one of which more was collected than merged", async () => {
  const { storage, pass } = setUp();
  await fill(storage, 1_100);
  await storage.adoptVector(new Map(), "zzz", new Map([[nameOf(7), OLD + 8], [nameOf(8), OLD + 8]]));
  await pass(8);
  await storage.adoptVector(new Map([[nameOf(5), OLD + 6]]), "zzz");
  await pass(12);
  const { vector, collected, replicaId } = await storage.readReplicaState();
  deepEqual([4, 5, 6, 7, 8].map((i) => vector.get(nameOf(i))), [
    undefined,
    OLD + 6,
    undefined,
    OLD + 7,
    undefined,
  ]);
  deepEqual([...collected.keys()].sort(), [nameOf(7), replicaId].sort());
  ok(collected.get(replicaId)! <= vector.get(replicaId)!, "peers can merge the dot that stands for it");
});

test("forgetting waits up to an hour for peers that do not know the own number yet", async () => {
  const { storage, peers, pass } = setUp();
  peers.isKnown = false;
  await fill(storage, 1_100);
  await pass(50);
  equal((await storage.readReplicaState()).vector.size, 1_101);
  peers.isKnown = true;
  await pass(1);
  equal((await storage.readReplicaState()).vector.size, 500);
  const other = setUp();
  other.peers.isKnown = false;
  await fill(other.storage, 1_100);
  await other.pass(70);
  equal((await other.storage.readReplicaState()).vector.size, 500);
});

test("a storage forgets 1,000 replicas at most at a time, the oldest first", async () => {
  const { storage, pass } = setUp();
  await fill(storage, 3_000);
  await pass(16);
  const { vector, forgotten } = await storage.readReplicaState();
  equal(vector.size, 2_001);
  deepEqual([vector.has(nameOf(999)), vector.has(nameOf(1_000))], [false, true]);
  equal(forgotten?.size, 1_000);
  await pass(60);
  equal((await storage.readReplicaState()).vector.size, 500);
});

test("a storage that fails, and a rewriter that is closed, forget nothing", async () => {
  class Failing extends MemoryStorage {
    isAway = false;
    override readDelta(...request: Parameters<MemoryStorage["readDelta"]>) {
      return this.isAway ? Promise.reject(new Error("away")) : super.readDelta(...request);
    }
  }
  const storage = new Failing();
  const { pass, rewriter } = setUp(storage);
  await fill(storage, 1_100, [nodeOf(3)]);
  storage.isAway = true;
  await pass(30);
  equal((await storage.readReplicaState()).vector.size, 1_101);
  storage.isAway = false;
  await rewriter.close();
  await pass(30);
  equal((await storage.readReplicaState()).vector.size, 1_101);
});

test("servers exchange changes in small messages after 20,000 storages were replaced", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { meshSecret: SECRET, clock });
  await withServers(servers, async () => {
    const storages = ["a", "b"].map((id) => {
      const storage = new MemoryStorage({ now: () => clock.now() });
      storage.countByClock();
      servers.start(id, { storage });
      return storage;
    });
    for (let i = 0; i < 20_000; i += 1_000) {
      // As if these storages had told `a` what they have, and were gone.
      await storages[0]!.mergeNodes([{ node: nodeOf(i), replaces: null }]);
      const gone = Array.from({ length: 1_000 }, (_, j) => [nameOf(i + j), OLD + i + j] as const);
      await storages[0]!.adoptVector(new Map(gone), "zzz");
      for (let turn = 0; turn < 2; turn++) {
        for (const id of ["a", "b"]) await servers.get(id).handleSync({ known: { [`unknown:${i}`]: 1 } });
        await servers.rest();
        await clock.advance(600_000);
        await servers.rest();
      }
    }
    for (const storage of storages) ok((await storage.readReplicaState()).vector.size < 3_000);
    for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
      servers.calls.length = 0;
      await servers.get(from).updateNode(`of ${from}`, "1");
      await servers.rest();
      equal((await servers.get(to).getNode(`of ${from}`))?.hash, "1");
      ok(servers.calls.length > 0);
      ok(servers.calls.every(({ body }) => JSON.stringify(body).length < 200_000));
    }
    const kept = await storages[1]!.getNodes(Array.from({ length: 20 }, (_, i) => `key:${i * 1_000}`));
    equal(kept.size, 20);
  });
});
