/**
 * DynamoDB behind connections that go silent.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { test } from "../../harness.ts";
import { testBlackhole } from "../blackhole_kit.ts";
import { addressOfDynamoDB, configure, newTableName, withStorage } from "./kit.ts";

testBlackhole({
  name: "DynamoDBStorage",
  address: addressOfDynamoDB(),
  open: async (address) => {
    const client = new DynamoDB(configure(address) ?? {});
    const storage = new DynamoDBStorage({ client, tableName: newTableName() });
    await storage.createTable();
    return [storage, async () => {
      await storage.close();
      client.destroy();
    }];
  },
  storageTimeout: 10_000,
  succeedsAtOnce: true,
});

test("DynamoDBStorage is not held up by a client that never settles and knows no AbortSignal", async () => {
  await withStorage(async (storage, intermediary) => {
    const change = { key: "a", hash: "h", updatedAt: 1 };
    await storage.applyChanges([change]);
    const lost = { transactWriteItems: 1, batchGetItem: 1, getItem: 1 } as Record<string, number>;
    intermediary.between = (name, _input, ask) =>
      (lost[name] = (lost[name] ?? 0) - 1) >= 0 ? new Promise(() => {}) : ask();
    // Each of them is asked once more, and the next commit does not wait for longer than that.
    const beginning = performance.now();
    const results = await Promise.all([
      storage.applyChanges([{ ...change, hash: "i" }]),
      storage.applyChanges([{ ...change, hash: "j" }]),
      storage.readNodes(["a"]),
      storage.getMaxVersion(),
    ]);
    assert.equal(results.length, 4);
    assert.ok(performance.now() - beginning < 4000);
    intermediary.between = () => new Promise(() => {});
    await assert.rejects(storage.getMaxVersion(), {
      code: "ERR_REALITY_STORAGE",
      message: /no answer within/,
    });
    await assert.rejects(storage.applyChanges([change]), { code: "ERR_REALITY_STORAGE" });
    intermediary.between = (_name, _input, ask) => ask();
    await storage.applyChanges([change]);
  }, { operationTimeout: 2000 });
});
