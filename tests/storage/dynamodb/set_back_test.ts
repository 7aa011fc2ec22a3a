/**
 * A table that is set back to an earlier state under running processes, as by a backup that is put in its place.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DynamoDB, type WriteRequest } from "@aws-sdk/client-dynamodb";
import type { MeshStorage, NodeChange } from "../../../src/store/contract.ts";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { testOnEngine } from "../engines.ts";
import { configure, newTableName } from "./kit.ts";

/** Far less than the time limit of a call. */
const SOON = 3000;

const KEYS = ["kept", "changed", "gone", "late:0", "late:1", "late:2"];

interface Scene {
  readonly storage: DynamoDBStorage;
  /** Another process on the table. */
  readonly other: () => DynamoDBStorage;
  /** Puts the table back to the state that it was in before the last changes. */
  readonly setBack: () => Promise<void>;
}

const ways: [string, (storage: DynamoDBStorage) => Promise<unknown>][] = [
  ["applyChanges()", (storage) => storage.applyChanges([changeOf("next")])],
  ["setNode()", async (storage) => {
    const version = await storage.incrementVersion("next");
    await storage.setNode("next", { key: "next", version, hash: "x", updatedAt: 1 });
  }],
  ["incrementVersion()", (storage) => storage.incrementVersion("next")],
  ["mergeNodes()", (storage) => storage.mergeNodes([{ node: changeOf("next"), replaces: null }])],
  ["adoptVector()", async (storage) => {
    await storage.adoptVector(new Map([["other", 7]]), (await storage.getIdentity()).epoch);
  }],
  ["newEpoch()", (storage) => storage.newEpoch()],
];

for (const [name, write] of ways) {
  testOnEngine(`on a table that was set back, ${name} succeeds at once`, async () => {
    await withScene(async ({ storage, setBack }) => {
      await setBack();
      await inTime(write(storage));
      await inTime(storage.applyChanges([changeOf("after")]));
    });
  });
}

for (const commits of [0, 1, 2, 3, 4, 6, 12]) {
  testOnEngine(`a table that was set back is read as it is, after ${commits} commits of others`, async () => {
    await withScene(async ({ storage, other, setBack }) => {
      const before = await storage.readNodes(KEYS);
      await setBack();
      const second = other();
      for (let i = 0; i < commits; i++) await second.applyChanges([changeOf(`new:${i}`)]);
      const expected = await other().readNodes(KEYS);
      assert.deepEqual(await storage.readNodes(KEYS), expected);
      assert.equal(expected.nodes.get("changed")?.hash, "old");
      assert.equal(expected.nodes.get("gone")?.hash, "old");
      assert.equal(expected.nodes.get("late:0"), undefined);
      const [meta] = await inTime(storage.applyChanges([changeOf("kept", "new")]));
      assert.ok(meta && meta.version > before.maxVersion, "a number was given again");
      assert.deepEqual(await other().getNode("kept"), meta);
      assert.deepEqual(await storage.getNode("kept"), meta);
    });
  });
}

/** Runs on a table with a history, of which the last part can be taken back. */
async function withScene(run: (scene: Scene) => Promise<void>): Promise<void> {
  const tableName = newTableName();
  const client = new DynamoDB({ ...configure() });
  const storages: MeshStorage[] = [];
  const open = () => {
    const storage = new DynamoDBStorage({ client, tableName, counter: "clock" });
    storages.push(storage);
    return storage;
  };
  const storage = open();
  try {
    await storage.createTable();
    await storage.applyChanges([
      changeOf("kept", "old"),
      changeOf("changed", "old"),
      changeOf("gone", "old"),
    ]);
    const { Items: items = [] } = await client.scan({ TableName: tableName, ConsistentRead: true });
    await storage.applyChanges([changeOf("changed", "lost"), { ...changeOf("gone", ""), deleted: true }]);
    for (let i = 0; i < 3; i++) await storage.applyChanges([changeOf(`late:${i}`, "lost")]);
    const setBack = async () => {
      const { Items: there = [] } = await client.scan({ TableName: tableName, ConsistentRead: true });
      const requests: WriteRequest[] = items.map((Item) => ({ PutRequest: { Item } }));
      for (const { bucket, node_key } of there) {
        if (items.some((item) => item.node_key?.S === node_key?.S)) continue;
        requests.push({ DeleteRequest: { Key: { bucket: bucket!, node_key: node_key! } } });
      }
      await client.batchWriteItem({ RequestItems: { [tableName]: requests } });
    };
    await run({ storage, other: open, setBack });
  } finally {
    for (const each of storages) await each.close?.();
    client.destroy();
  }
}

async function inTime<T>(running: Promise<T>): Promise<T> {
  const beginning = performance.now();
  const result = await running;
  const took = performance.now() - beginning;
  assert.ok(took < SOON, `took ${took} ms`);
  return result;
}

function changeOf(key: string, hash: string = "x"): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}
