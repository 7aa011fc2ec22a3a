import { deepEqual, equal, ok } from "node:assert/strict";
import { UncoveredNodes } from "../../../src/mesh/uncovered_nodes.ts";
import type { ReplicatedNode } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { createRewriting } from "./rewriting.ts";

/** A storage that counts how often it is read, and fails while told to. */
class CountingStorage extends MemoryStorage {
  reads = 0;
  isAway = false;

  override readDelta(
    ...request: Parameters<MemoryStorage["readDelta"]>
  ): ReturnType<MemoryStorage["readDelta"]> {
    this.reads++;
    return this.isAway ? Promise.reject(new Error("away")) : super.readDelta(...request);
  }
}

function setUp(storage = new CountingStorage()) {
  const { clock, rewriter, woken } = createRewriting(storage);
  const rewritten: RealityNodeMeta[] = [];
  const uncovered = new UncoveredNodes(clock, rewriter);
  const check = async () => {
    uncovered.check(await storage.readReplicaState(), (metas) => rewritten.push(...metas));
    await clock.advance(0);
  };
  return { storage, clock, rewriter, uncovered, check, woken, rewritten };
}

function nodeOf(key: string, version: number, more: Partial<ReplicatedNode> = {}): ReplicatedNode {
  return { key, version, hash: "theirs", updatedAt: 1, replicaId: "gone", dotVersion: version, ...more };
}

async function merge(storage: MemoryStorage, nodes: readonly ReplicatedNode[]): Promise<void> {
  await storage.mergeNodes(nodes.map((node) => ({ node, replaces: null })));
}

test("uncovered nodes whose sender stopped are written again, as changes that other storages request", async () => {
  const { storage, clock, uncovered, check, woken, rewritten } = setUp();
  await check();
  const [x, y] = [nodeOf("x", 5), nodeOf("y", 7, { hash: "", deleted: true })];
  await merge(storage, [x, y]);
  uncovered.record("gone", [x, y]);
  const { vector } = await storage.readReplicaState();
  await clock.advance(19_999);
  await check();
  deepEqual([storage.reads, woken], [0, []]);
  await clock.advance(1);
  await check();
  deepEqual(woken.flat(), ["x", "y"]);
  deepEqual(rewritten.map(({ key, deleted }) => [key, deleted]), [["x", undefined], ["y", true]]);
  const { nodes, replicaId } = await storage.readDelta(vector, 10);
  deepEqual(nodes.map((node) => [node.key, node.replicaId]), [["x", replicaId], ["y", replicaId]]);
  ok(nodes.every(({ version }) => version > 7));
  const { reads } = storage;
  await clock.advance(60_000);
  await check();
  equal(storage.reads, reads, "it searches once");
});

test("nodes that the version vector includes by then are not searched for", async () => {
  const { storage, clock, uncovered, check, rewritten } = setUp();
  await check();
  await merge(storage, [nodeOf("x", 5)]);
  uncovered.record("gone", [nodeOf("x", 5)]);
  await storage.adoptVector(new Map([["gone", 5]]), "zzz");
  await clock.advance(60_000);
  await check();
  deepEqual([storage.reads, rewritten], [0, []]);
});

test("each page of a sender postpones the search", async () => {
  const { storage, clock, uncovered, check } = setUp();
  await check();
  for (let version = 1; version < 10; version++) {
    await merge(storage, [nodeOf(`key:${version}`, version)]);
    uncovered.record("gone", [nodeOf(`key:${version}`, version)]);
    await clock.advance(15_000);
    await check();
  }
  equal(storage.reads, 0);
});

test("a storage that has nodes at the start is searched once, in all its pages, and its covered nodes are not written", async () => {
  const storage = new CountingStorage();
  const { clock, check, rewritten } = setUp(storage);
  const covered = Array.from({ length: 900 }, (_, i) => nodeOf(`a:${i}`, i + 1, { replicaId: "other" }));
  await merge(storage, [...covered, nodeOf("z", 5_000)]);
  await storage.adoptVector(new Map([["other", 900]]), "zzz");
  await storage.applyChanges([{ key: "own", hash: "1", updatedAt: 1 }]);
  await check();
  await clock.advance(20_000);
  await check();
  await clock.advance(100);
  deepEqual(rewritten.map(({ key }) => key), ["z"]);
  equal(storage.reads, 2);
  await clock.advance(60_000);
  await check();
  equal(storage.reads, 2);
});

test("a failed search is repeated later", async () => {
  const { storage, clock, uncovered, check, rewritten } = setUp();
  await check();
  await merge(storage, [nodeOf("x", 5)]);
  uncovered.record("gone", [nodeOf("x", 5)]);
  await clock.advance(20_000);
  storage.isAway = true;
  await check();
  storage.isAway = false;
  await check();
  equal(storage.reads, 1);
  await clock.advance(20_000);
  await check();
  deepEqual(rewritten.map(({ key }) => key), ["x"]);
});

test("close() ends a search between two reads, and leaves no timer", async () => {
  const storage = new CountingStorage();
  const { clock, rewriter, check } = setUp(storage);
  await merge(storage, Array.from({ length: 900 }, (_, i) => nodeOf(`a:${i}`, i + 1)));
  await check();
  await clock.advance(20_000);
  await check();
  await rewriter.close();
  deepEqual([storage.reads, clock.timers], [1, 0]);
  await check();
  equal(storage.reads, 1);
});
