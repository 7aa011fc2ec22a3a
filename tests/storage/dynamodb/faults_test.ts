/**
 * DynamoDBStorage when DynamoDB is busy, slow, gone, or loses its answers.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createServer, type Server, type Socket } from "node:net";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { StorageError } from "../../../src/errors.ts";
import type { NodeChange } from "../../../src/store/contract.ts";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { test } from "../../harness.ts";
import { configure, errorOf, newTableName, withClient, withStorage } from "./kit.ts";

const BUSY = [
  "ProvisionedThroughputExceededException",
  "ThrottlingException",
  "RequestLimitExceeded",
  "InternalServerError",
];

function changeOf(key: string, hash: string = "h"): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

/** A transaction that was refused, with its reasons for the counter's item and the first node. */
function cancelled(...reasons: { Code: string; Item?: object }[]): Error {
  return errorOf("TransactionCanceledException", { CancellationReasons: reasons });
}

test("DynamoDBStorage asks again while the table is busy, whatever it asks", async () => {
  await withStorage(async (storage, intermediary) => {
    const left = new Map<string, string[]>();
    intermediary.between = (name, _input, ask) => {
      if (!left.has(name)) left.set(name, [...BUSY]);
      const error = left.get(name)?.pop();
      return error === undefined ? ask() : Promise.reject(errorOf(error));
    };
    const [a] = await storage.applyChanges([changeOf("a")]);
    assert.equal(a?.version, 1);
    assert.equal(await storage.incrementVersion("a"), 2);
    assert.deepEqual(await storage.getNode("a"), a);
    assert.deepEqual(await storage.listChangedSince(0), [a]);
    const asked = ["batchGetItem", "getItem", "putItem", "query", "transactWriteItems", "updateItem"];
    assert.deepEqual([...left.keys()].sort(), asked);
    assert.ok([...left.values()].every((errors) => errors.length === 0));
  });
});

test("DynamoDBStorage tries a transaction again that met another one", async () => {
  await withStorage(async (storage, intermediary) => {
    const reasons = [
      [{ Code: "TransactionConflict" }, { Code: "None" }],
      [{ Code: "None" }, { Code: "TransactionConflict" }],
      [{ Code: "ThrottlingError" }, { Code: "None" }],
      // As a service answers that does not give back the item.
      [{ Code: "ConditionalCheckFailed" }, { Code: "None" }],
    ];
    intermediary.between = (name, _input, ask) => {
      const found = name === "transactWriteItems" ? reasons.pop() : undefined;
      return found ? Promise.reject(cancelled(...found)) : ask();
    };
    assert.equal((await storage.applyChanges([changeOf("a")]))[0]?.version, 1);
    assert.equal(reasons.length, 0);
  });
});

test("incrementVersion() tries again when it meets a transaction", async () => {
  await withStorage(async (storage, intermediary) => {
    let left = 3;
    intermediary.between = (name, _input, ask) => {
      if (name !== "updateItem" || left-- <= 0) return ask();
      return Promise.reject(errorOf("TransactionConflictException"));
    };
    assert.equal(await storage.incrementVersion("a"), 1);
  });
});

test("DynamoDBStorage gives up on a transaction that can never be, and says why", async () => {
  await withStorage(async (storage, intermediary) => {
    intermediary.between = (name, _input, ask) =>
      name === "transactWriteItems"
        ? Promise.reject(cancelled({ Code: "None" }, { Code: "ItemCollectionSizeLimitExceeded" }))
        : ask();
    await assert.rejects(storage.applyChanges([changeOf("a")]), (error: StorageError) => {
      assert.equal(error.operation, "applyChanges");
      return /ItemCollectionSizeLimitExceeded/.test(error.message);
    });
  });
});

test("a transaction whose answer got lost is not made twice", async () => {
  await withStorage(async (storage, intermediary) => {
    let loses = true;
    intermediary.between = async (name, _input, ask) => {
      const answer = await ask();
      if (name !== "transactWriteItems" || !loses) return answer;
      loses = false;
      throw errorOf("InternalServerError");
    };
    const metas = await storage.applyChanges([changeOf("a"), changeOf("b")]);
    assert.deepEqual(metas.map(({ version }) => version), [1, 2]);
    assert.deepEqual(await storage.listChangedSince(0), metas);
    assert.equal((await storage.applyChanges([changeOf("c")]))[0]?.version, 3);
  });
});

test("a change whose answer never came is reported, and what follows counts on from it", async () => {
  await withStorage(async (storage, intermediary) => {
    intermediary.between = async (name, _input, ask) => {
      const answer = await ask();
      if (name === "transactWriteItems") throw errorOf("TimeoutError");
      return answer;
    };
    await assert.rejects(storage.applyChanges([changeOf("a")]), StorageError);
    intermediary.between = (_name, _input, ask) => ask();
    const [b] = await storage.applyChanges([changeOf("b")]);
    assert.equal(b?.version, 2);
    assert.deepEqual((await storage.listChangedSince(0)).map(({ key }) => key), ["a", "b"]);
  });
});

test("getNodes() asks again for the keys that DynamoDB left out", async () => {
  await withStorage(async (storage, intermediary) => {
    const changes = Array.from({ length: 90 }, (_, i) => changeOf(`key:${i}`, `${i}`));
    const metas = await storage.applyChanges(changes);
    let asked = 0;
    intermediary.between = async (name, input, ask) => {
      if (name !== "batchGetItem") return await ask();
      asked++;
      const { RequestItems } = input as { RequestItems: Record<string, { Keys: object[] }> };
      const [[table, { Keys }]] = Object.entries(RequestItems) as [[string, { Keys: object[] }]];
      const some = Keys.slice(0, Math.ceil(Keys.length / 3));
      const left = Keys.slice(some.length);
      const answer = await ask({ RequestItems: { [table]: { Keys: some, ConsistentRead: true } } });
      return left.length === 0 ? answer : { ...answer, UnprocessedKeys: { [table]: { Keys: left } } };
    };
    const nodes = await storage.getNodes(changes.map(({ key }) => key));
    assert.deepEqual(nodes, new Map(metas.map((meta) => [meta.key, meta])));
    assert.ok(asked > 5);
  });
});

test("DynamoDBStorage rejects when its time is over, and names what it was doing", async () => {
  await withStorage(async (storage, intermediary) => {
    await storage.getMaxVersion();
    intermediary.between = (name, input, ask) => {
      if (name !== "batchGetItem") return Promise.reject(errorOf("ThrottlingException"));
      const { RequestItems } = input as { RequestItems: object };
      return ask().then((answer) => ({ ...answer, Responses: {}, UnprocessedKeys: RequestItems }));
    };
    const calls: [string, () => Promise<unknown>][] = [
      ["getNode", () => storage.getNode("a")],
      ["getMaxVersion", () => storage.getMaxVersion()],
      ["applyChanges", () => storage.applyChanges([changeOf("a")])],
      ["setNode", () => storage.setNode("a", { key: "a", version: 1, hash: "", updatedAt: 0 })],
      ["incrementVersion", () => storage.incrementVersion("a")],
      ["listChangedSince", () => storage.listChangedSince(0)],
    ];
    await Promise.all(calls.map(async ([operation, call]) => {
      const message = `Storage failed at ${operation}: no answer within 1500 ms`;
      await assert.rejects(call, { name: "StorageError", operation, message });
    }));
    assert.equal(await storage.isHealthy(), false);
    intermediary.between = (_name, _input, ask) => ask();
    assert.equal((await storage.applyChanges([changeOf("a")]))[0]?.version, 1);
    assert.equal(await storage.isHealthy(), true);
  }, { operationTimeout: 1500 });
});

test("a call that waits for another one's turn gives up in its own time", async () => {
  await withStorage(async (storage, intermediary) => {
    await storage.getMaxVersion();
    intermediary.between = (name, _input, ask) =>
      name === "transactWriteItems" ? Promise.reject(errorOf("ThrottlingException")) : ask();
    const results = await Promise.allSettled(
      ["a", "b", "c"].map((key) => storage.applyChanges([changeOf(key)])),
    );
    assert.ok(results.every(({ status }) => status === "rejected"));
    intermediary.between = (_name, _input, ask) => ask();
    assert.equal((await storage.applyChanges([changeOf("d")]))[0]?.version, 1);
  }, { operationTimeout: 1500 });
});

test("a call that fails begins nothing more, and settles when nothing of it is under way", async () => {
  await withStorage(async (storage, intermediary) => {
    let begun = 0;
    let ended = 0;
    let haveAllBegun = () => {};
    const allBegun = new Promise<void>((resolve) => haveAllBegun = resolve);
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    intermediary.between = async (name, _input, ask) => {
      if (name !== "query") return await ask();
      if (++begun === 1) throw errorOf("ValidationException");
      haveAllBegun();
      await gate;
      const answer = await ask();
      ended++;
      return answer;
    };
    // The first use of a table asks many of its partitions at once.
    const read = assert.rejects(storage.getNode("a"), { name: "StorageError" }).then(() => ended);
    await allBegun;
    const beside = begun - 1;
    open();
    assert.equal(await read, beside);
    assert.equal(begun, beside + 1, "more were begun after the failure");
  });
});

test("an endpoint without a server is a StorageError at once, and not healthy", async () => {
  const client = new DynamoDB(configure("http://127.0.0.1:1") ?? {});
  const storage = new DynamoDBStorage({ client, tableName: newTableName(), counter: "sequential" });
  const start = performance.now();
  await assert.rejects(storage.getNode("a"), { name: "StorageError", operation: "getNode" });
  await assert.rejects(storage.applyChanges([changeOf("a")]), {
    name: "StorageError",
    operation: "applyChanges",
  });
  assert.equal(await storage.isHealthy(), false);
  assert.ok(performance.now() - start < 6000);
  await storage.close();
  client.destroy();
});

test("an endpoint that never answers is a StorageError when the time is over", async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on("error", () => {})));
  const port = await listen(server);
  const client = new DynamoDB(configure(`http://127.0.0.1:${port}`) ?? {});
  const storage = new DynamoDBStorage({ client, tableName: newTableName(), operationTimeout: 150 });
  try {
    await assert.rejects(storage.getNode("a"), {
      message: "Storage failed at getNode: no answer within 150 ms",
    });
    assert.equal(await storage.isHealthy(), false);
  } finally {
    await storage.close();
    client.destroy();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

test("what DynamoDB refuses is a StorageError with its words and its error behind it", async () => {
  await withStorage(async (storage, intermediary) => {
    const refusal = errorOf("AccessDeniedException");
    intermediary.between = () => Promise.reject(refusal);
    await assert.rejects(storage.getNode("a"), (error: StorageError) => {
      assert.equal(error.cause, refusal);
      return error.message === `Storage failed at getNode: ${refusal.message}`;
    });
  });
});

test("an item that is not as it should be is a StorageError that names it", async () => {
  await withStorage(async (storage, intermediary, tableName) => {
    await storage.getMaxVersion();
    await withClient(async (client) => {
      const Key = { bucket: { S: "state" }, node_key: { S: "state" } };
      const UpdateExpression = "SET epoch = :epoch";
      await client.updateItem({
        TableName: tableName,
        Key,
        UpdateExpression,
        ExpressionAttributeValues: { ":epoch": { N: "1" } },
      });
    });
    await assert.rejects(storage.getMaxVersion(), {
      message:
        'Storage failed at getMaxVersion: item ["state","state"]: expected a text as "epoch", got {"N":"1"}',
    });
    assert.ok(intermediary);
  });
});

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address ? address.port : 0);
    });
  });
}
