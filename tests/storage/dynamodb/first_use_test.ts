/*
 * The first call of the first storage of a process loads what works on a table. So these tests have a file of their own.
 */

import assert from "node:assert/strict";
import { DynamoDBStorage } from "../../../mod.ts";
import { test } from "../../harness.ts";

test("DynamoDBStorage.close() waits for the first call of a process, and refuses the next one", async () => {
  const order: string[] = [];
  const send = async () => {
    order.push("sent");
    await new Promise((resolve) => setTimeout(resolve, 20));
    order.push("answered");
    return {};
  };
  const methods = [
    "batchGetItem",
    "createTable",
    "describeTable",
    "describeTimeToLive",
    "getItem",
    "putItem",
  ];
  const others = ["query", "transactWriteItems", "updateItem", "updateTimeToLive"];
  const client = Object.fromEntries([...methods, ...others].map((method) => [method, send]));
  const storage = new DynamoDBStorage({ client: client as never, tableName: "nodes", operationTimeout: 200 });
  const first = storage.getMaxVersion().catch(() => {}).then(() => order.push("first ended"));
  await storage.close();
  order.push("closed");
  await first;
  assert.equal(order[0], "sent");
  assert.ok(order.lastIndexOf("answered") < order.indexOf("closed"), order.join());
  await assert.rejects(storage.getMaxVersion(), { name: "ClosedError" });
});
