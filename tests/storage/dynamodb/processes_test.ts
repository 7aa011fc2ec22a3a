/**
 * DynamoDBStorage with writers in several processes, on several runtimes, and with some of them killed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { type Running, RUNTIMES, start, testOn } from "../runtimes.ts";
import { newTableName, withClient } from "./kit.ts";

/** A worker's line: its key, and the versions of that key, of the shared one, and of the one it reserved. */
type Acknowledged = [key: string, own: number, shared: number, reserved: number];

function parse({ lines }: Running): Acknowledged[] {
  return lines.map((line) => JSON.parse(line));
}

/** Follows the history while something runs, and to its end; gives the version that was seen of each key. */
async function follow(storage: DynamoDBStorage, running: Promise<unknown>): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  let [isOver, last] = [false, 0];
  running.finally(() => isOver = true).catch(() => {});
  for (let wasOver = false; !wasOver;) {
    wasOver = isOver;
    for (const { key, version } of await storage.listChangedSince(last, 50)) {
      seen.set(key, version);
      last = Math.max(last, version);
      wasOver = false;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return seen;
}

/** Fails unless everything acknowledged is there, was told in order, and has a version of its own. */
async function assertKept(
  storage: DynamoDBStorage,
  acknowledged: readonly Acknowledged[],
  seen: ReadonlyMap<string, number>,
): Promise<void> {
  const nodes = await storage.getNodes(["shared", ...acknowledged.flatMap(([key]) => [key, `${key}:set`])]);
  for (const [key, own, shared, reserved] of acknowledged) {
    assert.deepEqual([nodes.get(key)?.version, nodes.get(key)?.hash], [own, key]);
    assert.equal(seen.get(key), own, `${key} was told`);
    assert.equal(nodes.get(`${key}:set`)?.version, reserved, `${key}:set`);
    assert.ok((nodes.get("shared")?.version ?? 0) >= shared, `${key}, the shared node`);
  }
  assert.equal(seen.get("shared"), nodes.get("shared")?.version);
  const versions = acknowledged.flatMap(([, ...given]) => given);
  assert.equal(new Set(versions).size, versions.length, "no version was given twice");
}

async function withTable(use: (storage: DynamoDBStorage, tableName: string) => Promise<void>): Promise<void> {
  await withClient(async (client) => {
    const tableName = newTableName();
    const storage = new DynamoDBStorage({
      client,
      tableName,
      counter: "sequential",
      operationTimeout: 60_000,
    });
    await storage.createTable();
    await use(storage, tableName);
    await storage.close();
  });
}

testOn(RUNTIMES, "Deno, Node and Bun on one table at once share no version and lose none", async () => {
  await withTable(async (storage, tableName) => {
    const rounds = 8;
    const workers = RUNTIMES.flatMap((runtime) =>
      ["client", "methods"].map((kind) =>
        start(runtime, "dynamodb/worker.ts", [tableName, `${runtime}-${kind}`, `${rounds}`, kind])
      )
    );
    try {
      const running = Promise.all(workers.map(({ ended }) => ended));
      const seen = await follow(storage, running);
      await running;
      const acknowledged = workers.flatMap(parse);
      assert.equal(acknowledged.length, rounds * workers.length);
      await assertKept(storage, acknowledged, seen);
      // What was published after a higher version has a number more, its stamp.
      const { nodes } = await storage.readDelta(new Map(), Infinity);
      assert.equal(nodes.length, acknowledged.length * 2 + 1);
      assert.equal(
        new Set(nodes.map(({ dotVersion }) => dotVersion)).size,
        nodes.length,
        "no stamp was given twice",
      );
      const late = nodes.filter(({ dotVersion, version }) => dotVersion !== version);
      const given = rounds * workers.length * 3 + late.length;
      assert.equal(await storage.incrementVersion("a"), given + 1, "no version was lost");
    } finally {
      workers.forEach((worker) => worker.kill());
    }
  });
});

testOn(["node"], "kill -9 of writers loses nothing that was acknowledged, and others go on", async () => {
  await withTable(async (storage, tableName) => {
    const workers = ["a", "b", "c", "d"].map((name) =>
      start("node", "dynamodb/worker.ts", [tableName, name, "0", "methods"])
    );
    try {
      const killing = (async () => {
        for (const worker of workers) {
          await worker.hasPrinted(5);
          worker.kill();
          await worker.ended;
        }
      })();
      const seen = await follow(storage, killing);
      await killing;
      await assertKept(storage, workers.flatMap(parse), seen);
      const [meta] = await storage.applyChanges([{ key: "after", hash: "", updatedAt: 1 }]);
      assert.ok(
        workers.flatMap(parse).every(([, ...versions]) => Math.max(...versions) < (meta?.version ?? 0)),
      );
    } finally {
      workers.forEach((worker) => worker.kill());
    }
  });
});
