/**
 * DynamoDBStorage: its table, its options, the clients that it takes, and what it asks for what.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DynamoDB, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocument, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import type { NodeChange } from "../../../src/store/contract.ts";
import type { DynamoDBStorageOptions } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { test } from "../../harness.ts";
import { configure, Intermediary, newTableName, withClient, withStorage } from "./kit.ts";

const DAY = 86_400_000;

function changeOf(key: string, hash: string = "h"): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

test("createTable() makes a table that is billed on demand and lets tombstones run out", async () => {
  await withStorage(async (storage, _intermediary, TableName) => {
    await withClient(async (client) => {
      const { Table } = await client.describeTable({ TableName });
      assert.equal(Table?.BillingModeSummary?.BillingMode, "PAY_PER_REQUEST");
      assert.equal(Table?.LocalSecondaryIndexes?.[0]?.IndexName, "by_version");
      const { TimeToLiveDescription } = await client.describeTimeToLive({ TableName });
      assert.deepEqual(TimeToLiveDescription, { TimeToLiveStatus: "ENABLED", AttributeName: "expires_at" });
    });
    await storage.applyChanges([changeOf("a")]);
    await storage.createTable();
    assert.equal((await storage.getNode("a"))?.version, 1);
  });
});

test("createTable() called at once by several servers makes one table", async () => {
  await withClient(async (client) => {
    const tableName = newTableName();
    const storages = Array.from(
      { length: 4 },
      () => new DynamoDBStorage({ client, tableName, counter: "sequential" }),
    );
    await Promise.all(storages.map((storage) => storage.createTable()));
    const metas = await Promise.all(
      storages.map((storage, i) => storage.applyChanges([changeOf(`key:${i}`)])),
    );
    assert.deepEqual(metas.map(([meta]) => meta?.version).sort(), [1, 2, 3, 4]);
    const epochs = await Promise.all(storages.map(async (storage) => (await storage.getIdentity()).epoch));
    assert.equal(new Set(epochs).size, 1);
    await Promise.all(storages.map((storage) => storage.close()));
  });
});

test("createTable() waits until a table that is being made can be used", async () => {
  await withClient(async (client) => {
    const intermediary = new Intermediary(client);
    const statuses = ["CREATING", "CREATING", "ACTIVE"];
    intermediary.between = async (name, _input, ask) => {
      const answer = await ask();
      return name === "describeTable" ? { Table: { ...TABLE, TableStatus: statuses.shift() } } : answer;
    };
    const storage = new DynamoDBStorage({
      client: intermediary.client,
      tableName: newTableName(),
      counter: "sequential",
    });
    await storage.createTable();
    assert.deepEqual(statuses, []);
    assert.equal(await storage.getMaxVersion(), 0);
    await storage.close();
  });
});

const TABLE = {
  KeySchema: [{ AttributeName: "bucket", KeyType: "HASH" }, { AttributeName: "node_key", KeyType: "RANGE" }],
  LocalSecondaryIndexes: [{
    IndexName: "by_version",
    KeySchema: [{ AttributeName: "bucket", KeyType: "HASH" }, { AttributeName: "version", KeyType: "RANGE" }],
  }],
};

test("a table that is not there is a StorageError that says how to make it", async () => {
  await withClient(async (client) => {
    const tableName = newTableName();
    const storage = new DynamoDBStorage({ client, tableName, counter: "sequential" });
    const message = `Storage failed at getNode: table "${tableName}" is not there: ` +
      "call createTable() once, or make it from a template in docs/storages.md";
    await assert.rejects(storage.getNode("a"), { name: "StorageError", operation: "getNode", message });
    assert.equal(await storage.isHealthy(), false);
    await storage.close();
  });
});

test("createTables makes the table at the first use, by several servers at once", async () => {
  await withClient(async (client) => {
    const tableName = newTableName();
    const storages = Array.from(
      { length: 3 },
      () => new DynamoDBStorage({ client, tableName, counter: "sequential", createTables: true }),
    );
    const metas = await Promise.all(
      storages.map((storage, i) => storage.applyChanges([changeOf(`key:${i}`)])),
    );
    assert.deepEqual(metas.map(([meta]) => meta?.version).sort(), [1, 2, 3]);
    await Promise.all(storages.map((storage) => storage.close()));
  });
});

test("a table of another shape is named with what was expected, at any use", async () => {
  await withClient(async (client) => {
    const key = (AttributeName: string) => ({ AttributeName, AttributeType: "S" as const });
    const hash = (AttributeName: string) => ({ AttributeName, KeyType: "HASH" as const });
    const range = (AttributeName: string) => ({ AttributeName, KeyType: "RANGE" as const });
    const shapes = [
      { AttributeDefinitions: [key("id")], KeySchema: [hash("id")] },
      {
        AttributeDefinitions: [key("bucket"), key("node_key")],
        KeySchema: [hash("bucket"), range("node_key")],
      },
    ];
    for (const shape of shapes) {
      const tableName = newTableName();
      await client.createTable({ TableName: tableName, BillingMode: "PAY_PER_REQUEST", ...shape });
      const storage = new DynamoDBStorage({ client, tableName, counter: "sequential" });
      const expected = {
        name: "StorageError",
        message: /has another shape: expected the partition key "bucket"/,
      };
      await assert.rejects(storage.getNode("a"), expected);
      await assert.rejects(storage.applyChanges([changeOf("a")]), expected);
      await assert.rejects(storage.createTable(), expected);
      await storage.close();
    }
  });
});

test("a table without its counter's item begins a new life above the versions that are there", async () => {
  await withStorage(async (storage, _intermediary, TableName) => {
    await storage.setNode("a", { key: "a", version: 77, hash: "x", updatedAt: 1 });
    const { epoch } = await storage.getIdentity();
    await withClient(async (client) => {
      await client.deleteItem({ TableName, Key: { bucket: { S: "state" }, node_key: { S: "state" } } });
    });
    const [b] = await storage.applyChanges([changeOf("b")]);
    assert.equal(b?.version, 78);
    assert.notEqual((await storage.getIdentity()).epoch, epoch);
    assert.deepEqual((await storage.listChangedSince(0)).map(({ key }) => key), ["a", "b"]);
  });
});

test("a tombstone is taken away by DynamoDB no sooner than a day after it may be forgotten", async () => {
  const clock = { now: Date.UTC(2026, 0, 1) };
  await withStorage(async (storage, _intermediary, TableName) => {
    await storage.deleteNode("a");
    await withClient(async (client) => {
      const { Items = [] } = await client.scan({ TableName });
      const item = Items.find(({ node_key }) => node_key?.S === "a");
      const expiresAt = Number(item?.expires_at?.N) * 1000;
      assert.ok(expiresAt >= clock.now + 2 * DAY && expiresAt <= clock.now + 2 * DAY + DAY / 8);
    });
    // Without a write nothing is collected here, but DynamoDB may have deleted the row.
    assert.equal((await storage.readNodes([])).collectedVersion, 0);
    clock.now += DAY * 9 / 8;
    assert.equal((await storage.readNodes([])).collectedVersion, 0);
    clock.now += DAY * 5 / 8;
    assert.equal((await storage.readNodes([])).collectedVersion, 1);
    assert.equal((await storage.readChanges(0, 10)).collectedVersion, 1);
  }, { now: () => clock.now });
});

test("tombstones of every moment are swept in time, though few moments are remembered", async () => {
  const clock = { now: Date.UTC(2026, 0, 1) };
  await withStorage(async (storage, _intermediary, TableName) => {
    for (let i = 0; i < 40; i++) {
      clock.now += DAY / 20;
      await storage.deleteNode(`key:${i}`);
    }
    const left = await storage.listChangedSince(0);
    assert.ok(left.length >= 20 && left.length <= 20 + 20 / 8 + 1, `${left.length} are left`);
    assert.equal(left[0]?.version, (await storage.readNodes([])).collectedVersion + 1);
    await withClient(async (client) => {
      const Key = { bucket: { S: "state" }, node_key: { S: "state" } };
      const { Item } = await client.getItem({ TableName, Key });
      assert.ok(JSON.parse(Item?.graves?.S ?? "").length <= 10);
      assert.ok(JSON.stringify(Item).length < 1200);
    });
  }, { now: () => clock.now });
});

test("the counter's item stays below 1 KB, however many change one by one", async () => {
  await withStorage(async (storage, _intermediary, TableName) => {
    for (let i = 0; i < 30; i++) await storage.applyChanges([changeOf(`chat:room:${i}`, "x".repeat(22))]);
    await withClient(async (client) => {
      const Key = { bucket: { S: "state" }, node_key: { S: "state" } };
      const { Item = {} } = await client.getItem({ TableName, Key });
      const size = Object.entries(Item).reduce(
        (sum, [name, value]) => sum + name.length + (value.S ?? value.N ?? "").length,
        0,
      );
      assert.ok(size < 1024, `${size} bytes`);
      assert.ok(JSON.parse(Item.commits?.S ?? "").length >= 5);
    });
  });
});

const requests: [string, string[], (storage: DynamoDBStorage, origin: string) => Promise<unknown>][] = [
  ["a change", ["transactWriteItems"], (storage) => storage.applyChanges([changeOf("a", "2")])],
  [
    "99 changes",
    ["transactWriteItems"],
    (storage) => storage.applyChanges(Array.from({ length: 99 }, (_, i) => changeOf(`key:${i}`))),
  ],
  [
    "a sync of 99 keys",
    ["batchGetItem"],
    (storage) => storage.readNodes(Array.from({ length: 99 }, (_, i) => `${i}`)),
  ],
  [
    "a sync of 250 keys",
    ["getItem", "batchGetItem", "batchGetItem", "batchGetItem", "getItem"],
    (storage) => storage.readNodes(Array.from({ length: 250 }, (_, i) => `${i}`)),
  ],
  ["a question what came after the last version", ["getItem"], (storage) => storage.readChanges(1, 500)],
  ["a question what came of late", ["getItem"], (storage) => storage.readChanges(0, 500)],
  ["a reserved version", ["updateItem"], (storage) => storage.incrementVersion("a")],
  ["the counter", ["getItem"], (storage) => storage.getMaxVersion()],
  [
    "a node that is set",
    ["batchGetItem", "transactWriteItems"],
    (storage) => storage.setNode("b", { key: "b", version: 9, hash: "", updatedAt: 0 }),
  ],
  ["what was seen", ["getItem"], (storage) => storage.readReplicaState()],
  ["a delta of nothing", ["getItem"], (storage, own) => storage.readDelta(new Map([[own, 1]]), 500)],
  ["a delta of what came of late", ["getItem"], (storage) => storage.readDelta(new Map(), 500)],
  [
    "the stamps of 99 nodes",
    ["batchGetItem"],
    (storage) => storage.readReplicated(Array.from({ length: 99 }, (_, i) => `${i}`)),
  ],
  [
    "taking 99 nodes",
    ["batchGetItem", "transactWriteItems"],
    (storage) =>
      storage.mergeNodes(Array.from({ length: 99 }, (_, i) => ({
        node: { ...changeOf(`key:${i}`), version: i + 2, dotVersion: i + 2, replicaId: "other" },
        replaces: null,
      }))),
  ],
  [
    "a node that was not to be taken",
    ["batchGetItem"],
    (storage) => storage.mergeNodes([{ node: changeOf("a"), replaces: null }]),
  ],
  [
    "noting what was seen",
    ["getItem", "transactWriteItems"],
    (storage) => storage.adoptVector(new Map([["other", 9]]), "z"),
  ],
  [
    "noting what was seen before",
    ["getItem"],
    (storage, own) => storage.adoptVector(new Map([[own, 1]]), "z"),
  ],
];
for (const [what, expected, ask] of requests) {
  test(`${what} costs ${expected.length} ${expected.length === 1 ? "request" : "requests"}`, async () => {
    await withStorage(async (storage, intermediary) => {
      await storage.applyChanges([changeOf("a")]);
      const { replicaId } = await storage.getIdentity();
      const asked: string[] = [];
      intermediary.between = (name, _input, answer) => {
        asked.push(name);
        return answer();
      };
      await ask(storage, replicaId);
      assert.deepEqual(asked, expected);
    });
  });
}

test("DynamoDBStorage works with document clients, which take the same commands", async () => {
  const client = new DynamoDBClient(configure() ?? {});
  for (const document of [DynamoDBDocumentClient.from(client), DynamoDBDocument.from(client)]) {
    const storage = new DynamoDBStorage({ client: document, tableName: newTableName(), createTables: true });
    const metas = await storage.applyChanges([changeOf("a"), changeOf("b")]);
    assert.deepEqual(await storage.listChangedSince(0), metas);
    await storage.close();
  }
  client.destroy();
});

test("close() waits for what is under way and leaves the client open", async () => {
  await withStorage(async (storage, _intermediary, TableName) => {
    const writing = storage.applyChanges([changeOf("a")]);
    await storage.close();
    assert.equal((await writing)[0]?.version, 1);
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_CLOSED" });
    await assert.rejects(storage.createTable(), { code: "ERR_REALITY_CLOSED" });
    await withClient(async (client) =>
      assert.equal((await client.describeTable({ TableName })).Table?.TableName, TableName)
    );
  });
});

test("applyChanges() and setNode() refuse a key that no sort key can be, and getNode() finds nothing there", async () => {
  await withStorage(async (storage) => {
    const key = "é".repeat(513);
    const message = /expected a key of at most 1024 bytes/;
    await assert.rejects(storage.applyChanges([changeOf("a"), changeOf(key)]), {
      name: "RangeError",
      message,
    });
    await assert.rejects(storage.deleteNode(key), { name: "RangeError", message });
    const meta = { key, version: 1, hash: "", updatedAt: 0 };
    await assert.rejects(storage.setNode(key, meta), { name: "RangeError", message });
    assert.equal(await storage.getNode(key), null);
    assert.equal(await storage.getMaxVersion(), 0);
    const [longest] = await storage.applyChanges([changeOf("é".repeat(512))]);
    assert.deepEqual(await storage.getNode("é".repeat(512)), longest);
  });
});

const client = { send: () => Promise.resolve({}) };
const wrong: [string, object, RegExp][] = [
  ["no client", { tableName: "nodes" }, /^Option "client" is wrong: expected a DynamoDB or .* got nothing$/],
  ["a client without methods", { client: { get: 1 }, tableName: "nodes" }, /got an object with neither/],
  [
    "a client of the older SDK",
    { client: { makeRequest() {} }, tableName: "nodes" },
    /one of the older aws-sdk$/,
  ],
  ["no table", { client }, /^Option "tableName" is wrong: expected 3 to 255 .* got nothing$/],
  [
    "a table with a space",
    { client, tableName: "my nodes" },
    /^Option "tableName" is wrong: .* got "my nodes"$/,
  ],
  [
    "a timeout of none",
    { client, tableName: "nodes", operationTimeout: 0 },
    /^Option "operationTimeout" is wrong/,
  ],
  [
    "createTables as text",
    { client, tableName: "nodes", createTables: "yes" },
    /^Option "createTables" is wrong/,
  ],
  [
    "an option misspelt",
    { client, tablename: "nodes" },
    /^Unknown option "tablename" of DynamoDBStorage: known are/,
  ],
];
for (const [what, options, message] of wrong) {
  test(`DynamoDBStorage refuses ${what} by name`, () => {
    assert.throws(() => new DynamoDBStorage(options as DynamoDBStorageOptions), {
      name: "TypeError",
      message,
    });
  });
}

test("DynamoDBStorage takes a table's ARN, and asks nothing before it is used", () => {
  const dynamodb = new DynamoDB(configure() ?? {});
  new DynamoDBStorage({ client: dynamodb, tableName: "arn:aws:dynamodb:us-east-1:123456789012:table/nodes" });
  dynamodb.destroy();
});
