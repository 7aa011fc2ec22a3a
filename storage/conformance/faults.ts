/**
 * The kit: a storage whose database is gone, or that was closed, says so and does not hang or guess.
 *
 * @module
 */
import { isMeshStorage, type RealityStorage } from "../../src/store/contract.ts";
import { assertEquals, assertRejects } from "./assert.ts";
import { changeOf, type Kit, metaOf, write } from "./kit.ts";

/** Registers these tests. */
export function testFaults({ check, options: { disconnect }, supports }: Kit): void {
  if (disconnect) {
    check("without its database every method rejects with StorageError", async (storage) => {
      await write(storage, "a");
      await disconnect(storage);
      await assertAllReject(storage, "ERR_REALITY_STORAGE");
      assertEquals(await storage.isHealthy(), false, "isHealthy()");
      assertEquals(await storage.getNodes([]), new Map(), "getNodes() of nothing, which asks nothing");
    });
  }

  if (supports.close) {
    check("close() may be called twice, and later calls reject with ClosedError", async (storage) => {
      await write(storage, "a");
      await storage.close?.();
      await storage.close?.();
      await assertAllReject(storage, "ERR_REALITY_CLOSED");
      assertEquals(await storage.isHealthy(), false, "isHealthy()");
    });

    check("close() closes a storage that was never used", async (storage) => {
      await storage.close?.();
      assertEquals(await storage.isHealthy(), false, "isHealthy()");
    });
  }
}

async function assertAllReject(storage: RealityStorage, code: string): Promise<void> {
  const calls: [string, () => Promise<unknown>][] = [
    ["getNode", () => storage.getNode("a")],
    ["getNodes", () => storage.getNodes(["a", "b"])],
    ["setNode", () => storage.setNode("a", metaOf("a", 100))],
    ["incrementVersion", () => storage.incrementVersion("a")],
    ["listChangedSince", () => storage.listChangedSince(0)],
    ["getMaxVersion", () => storage.getMaxVersion()],
    ["deleteNode", () => storage.deleteNode("a")],
  ];
  const { applyChanges, readNodes, readChanges, getIdentity, subscribe } = storage;
  if (applyChanges) {
    calls.push(["applyChanges", async () => await applyChanges.call(storage, [changeOf("a")])]);
  }
  if (readNodes) calls.push(["readNodes", async () => await readNodes.call(storage, ["a"])]);
  if (readChanges) calls.push(["readChanges", () => readChanges.call(storage, 0, 1)]);
  if (getIdentity) calls.push(["getIdentity", () => getIdentity.call(storage)]);
  if (subscribe) calls.push(["subscribe", () => subscribe.call(storage, () => {})]);
  if (isMeshStorage(storage)) {
    const merges = [{ node: changeOf("a"), replaces: null }];
    calls.push(
      ["readReplicaState", () => storage.readReplicaState()],
      ["readDelta", () => storage.readDelta(new Map(), 1)],
      ["readReplicated", () => storage.readReplicated(["a"])],
      ["mergeNodes", () => storage.mergeNodes(merges)],
      ["adoptVector", () => storage.adoptVector(new Map([["other", 1]]), "000000000-first")],
    );
  }
  for (const [name, call] of calls) {
    const error = await assertRejects(call, `${name}()`) as { code?: unknown };
    assertEquals(error.code, code, `the code that ${name}() rejects with`);
  }
}
