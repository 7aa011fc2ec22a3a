/**
 * DynamoDBStorage while others write between the requests of one reading: more than the counter's item tells.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { NodeChange } from "../../../src/store/contract.ts";
import type { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { DynamoDBStorage as Storage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { MAX_ROUNDS } from "../../../storage/dynamodb/table_reader.ts";
import { test } from "../../harness.ts";
import { Intermediary, newTableName, withClient } from "./kit.ts";

interface Requested {
  readonly RequestItems: Record<
    string,
    { readonly Keys: readonly { readonly bucket: { readonly S: string } }[] }
  >;
}

/** So many commits of such a size push each other out of the counter's item. */
const FLOOD = 6;

function changeOf(key: string, hash: string): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

/** A reader and a writer on one table; all that the reader asks can be met on its way. */
async function withPair(
  use: (writer: DynamoDBStorage, reader: DynamoDBStorage, intermediary: Intermediary) => Promise<void>,
): Promise<void> {
  await withClient(async (client) => {
    const tableName = newTableName();
    // A reading that is met at every step takes long on a busy machine.
    const operationTimeout = 60_000;
    const writer = new Storage({ client, tableName });
    const intermediary = new Intermediary(client);
    const reader = new Storage({ client: intermediary.client, tableName, operationTimeout });
    await writer.createTable();
    await use(writer, reader, intermediary);
    await Promise.all([writer.close(), reader.close()]);
  });
}

/** Changes these keys, and much else. */
async function flood(writer: DynamoDBStorage, keys: readonly string[], hash: string): Promise<void> {
  await writer.applyChanges(keys.map((key) => changeOf(key, hash)));
  for (let i = 0; i < FLOOD; i++) {
    const others = Array.from({ length: 20 }, (_, j) => `other ${i} ${j}`.padEnd(40, "x"));
    await writer.applyChanges(others.map((key) => changeOf(key, hash)));
  }
}

test("readNodes() reads rows again that are older than the counter beside them", async () => {
  await withPair(async (writer, reader, intermediary) => {
    await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old")]);
    await reader.getMaxVersion();
    let left = 2;
    intermediary.between = async (name, input, ask) => {
      if (name !== "batchGetItem" || left-- <= 0) return await ask();
      // One request, and yet DynamoDB may read its items at different moments.
      const { RequestItems } = input as Requested;
      const [[table, { Keys }]] = Object.entries(RequestItems) as [
        [string, { Keys: Requested["RequestItems"][string]["Keys"] }],
      ];
      const part = (isState: boolean) => ({
        RequestItems: {
          [table]: {
            Keys: Keys.filter(({ bucket }) => (bucket.S === "state") === isState),
            ConsistentRead: true,
          },
        },
      });
      const rows = await ask(part(false)) as { Responses: Record<string, object[]> };
      await flood(writer, ["a", "b"], `new ${left}`);
      const state = await ask(part(true)) as { Responses: Record<string, object[]> };
      return { Responses: { [table]: [...rows.Responses[table] ?? [], ...state.Responses[table] ?? []] } };
    };
    const { nodes, maxVersion } = await reader.readNodes(["a", "b"]);
    assert.deepEqual(["a", "b"].map((key) => nodes.get(key)?.hash), ["new 0", "new 0"]);
    assert.equal(maxVersion, await writer.getMaxVersion());
  });
});

test("readNodes() of many keys asks the history for what came while it read", async () => {
  await withPair(async (writer, reader, intermediary) => {
    const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`);
    await writer.applyChanges(keys.slice(0, 50).map((key) => changeOf(key, "old")));
    let pages = 0;
    let questions = 0;
    intermediary.between = async (name, _input, ask) => {
      const answer = await ask();
      if (name === "query") questions++;
      if (name === "batchGetItem" && ++pages === 3) await flood(writer, ["key:1", "key:299"], "new");
      return answer;
    };
    const { nodes, maxVersion } = await reader.readNodes(keys);
    assert.equal(maxVersion, await writer.getMaxVersion());
    assert.deepEqual([nodes.get("key:0")?.hash, nodes.get("key:1")?.hash, nodes.get("key:299")?.hash], [
      "old",
      "new",
      "new",
    ]);
    assert.equal(pages, 3);
    assert.ok(questions >= 16);
  });
});

test("readNodes() of many keys reads them again when a node took its place in the past", async () => {
  await withPair(async (writer, reader, intermediary) => {
    const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`);
    const late = await writer.incrementVersion("late");
    await writer.applyChanges(keys.slice(0, 50).map((key) => changeOf(key, "old")));
    let pages = 0;
    intermediary.between = async (name, _input, ask) => {
      const answer = await ask();
      if (name === "batchGetItem" && ++pages === 3) {
        await writer.setNode("key:299", { key: "key:299", version: late, hash: "late", updatedAt: 0 });
        await flood(writer, [], "new");
      }
      return answer;
    };
    assert.equal((await reader.readNodes(keys)).nodes.get("key:299")?.hash, "late");
    assert.equal(pages, 6);
  });
});

for (const limit of [Infinity, 8]) {
  test(`listChangedSince() with limit ${limit} tells of one moment while much is written`, async () => {
    await withPair(async (writer, reader, intermediary) => {
      const keys = Array.from({ length: 40 }, (_, i) => `key:${i}`);
      const metas = await writer.applyChanges(keys.map((key) => changeOf(key, "old")));
      await flood(writer, [], "before");
      let questions = 0;
      intermediary.between = async (name, _input, ask) => {
        const answer = await ask();
        // The last of the buckets: the others do not contain the next change.
        if (name === "query" && ++questions === 16) await flood(writer, ["key:0", "key:1"], "new");
        return answer;
      };
      const { nodes, maxVersion } = await reader.readChanges(0, limit);
      assert.equal(maxVersion, await writer.getMaxVersion());
      const expected = await writer.listChangedSince(0);
      assert.deepEqual(nodes, expected.slice(0, limit));
      assert.deepEqual(nodes.slice(0, 8), metas.slice(2, 10));
    });
  });
}

test("a reading that never finds a moment gives nodes that are newer than maxVersion, never older", async () => {
  await withPair(async (writer, reader, intermediary) => {
    await writer.applyChanges([changeOf("a", "0"), changeOf("b", "0")]);
    let written = 0;
    intermediary.between = async (name, _input, ask) => {
      if (name === "batchGetItem" || name === "getItem") {
        await flood(writer, ["a", "b"], `${++written}`);
      }
      return await ask();
    };
    const { nodes, maxVersion, newest } = await reader.readNodes(["a", "b"]);
    assert.equal(newest, null);
    const metas = await writer.getNodes(["a", "b"]);
    assert.ok(maxVersion <= await writer.getMaxVersion());
    assert.ok(nodes.get("a") && nodes.get("b") && metas.size === 2);
    const history = await reader.listChangedSince(0);
    assert.ok(history.length >= 2 + FLOOD * 20 - 4);
    // Two requests a round at most, and a few before the first: it ends, and not in an endless reading.
    assert.ok(written <= 2 * (MAX_ROUNDS + 2), `${written}`);
  });
});
