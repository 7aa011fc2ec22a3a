/**
 * DynamoDBStorage while transactions become visible item by item: no reader sees less than the counter says.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as rest } from "node:timers/promises";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import type { NodeChange, RealityStorage } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { nodesOf } from "../../../storage/conformance/kit.ts";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { test } from "../../harness.ts";
import { testOnly } from "../kit_titles.ts";
import { configure, errorOf, Intermediary, newTableName, SUPPORTS, withClient, withStorage } from "./kit.ts";
import { type Order, TornService } from "./torn.ts";

const counterFirst: Order = (count) => Array.from({ length: count }, (_, i) => i);
const counterLast: Order = (count) => counterFirst(count).reverse();
const shuffled: Order = (count) =>
  counterFirst(count).map((place) => [Math.random(), place] as const).sort(([a], [b]) => a - b).map((
    [, place],
  ) => place);

function changeOf(key: string, hash: string): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

/** Does something when the reader asks so many times for an action. */
type WhenAsked = (action: string, count: number, then: () => void) => void;

/** Two storages on one table, whose transactions a test can hold while so many items are visible. */
async function withHeld(
  order: Order,
  use: (
    writer: DynamoDBStorage,
    reader: DynamoDBStorage,
    hold: (visible: number) => Hold,
    whenAsked: WhenAsked,
  ) => Promise<void>,
): Promise<void> {
  await withClient(async (client) => {
    let held: Hold | undefined;
    let tell: (action: string) => void = () => {};
    const service = new TornService(order, async (visible) => {
      if (held?.visible !== visible) return;
      const { reached, released } = held;
      held = undefined;
      reached.resolve();
      await released.promise;
    });
    const tableName = newTableName();
    const [writer, reader] = ["writer", "reader"].map((who) => {
      const intermediary = new Intermediary(client);
      intermediary.between = (name, input, ask) => {
        if (who === "reader") tell(name);
        return service.between(name, input, ask);
      };
      return new DynamoDBStorage({ client: intermediary.client, tableName, counter: "sequential" });
    }) as [DynamoDBStorage, DynamoDBStorage];
    await writer.createTable();
    const whenAsked: WhenAsked = (action, count, then) => {
      let left = count;
      tell = (name) => {
        if (name === action && --left === 0) then();
      };
    };
    await use(writer, reader, (visible) => held = new Hold(visible), whenAsked);
    await Promise.all([writer.close(), reader.close()]);
  });
}

class Hold {
  readonly visible: number;
  readonly reached: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  readonly released: PromiseWithResolvers<void> = Promise.withResolvers<void>();

  constructor(visible: number) {
    this.visible = visible;
  }
}

test("a reader of the counter sees its changes, also in rows that do not show them yet", async () => {
  await withHeld(counterFirst, async (writer, reader, hold) => {
    await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old")]);
    const torn = hold(1);
    const writing = writer.applyChanges([changeOf("a", "new"), changeOf("b", "new"), changeOf("c", "new")]);
    await torn.reached.promise;
    for (let i = 0; i < 2; i++) {
      const { nodes, maxVersion } = await reader.readNodes(["a", "b", "c"]);
      assert.equal(maxVersion, 5);
      assert.deepEqual(["a", "b", "c"].map((key) => nodes.get(key)?.hash), ["new", "new", "new"]);
      assert.equal((await reader.getNode("b"))?.hash, "new");
      const many = Array.from({ length: 200 }, (_, i) => `none:${i}`);
      assert.equal((await reader.getNodes(["b", ...many])).get("b")?.version, 4);
      assert.deepEqual((await reader.listChangedSince(0)).map(({ version }) => version), [3, 4, 5]);
      assert.deepEqual((await reader.listChangedSince(3, 1)).map(({ version }) => version), [4]);
      assert.equal((await reader.readChanges(4, 10)).nodes.length, 1);
    }
    torn.released.resolve();
    await writing;
  });
});

test("what is told as seen is among the nodes, also where rows do not show it yet", async () => {
  await withHeld(counterFirst, async (writer, reader, hold) => {
    await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old")]);
    // Too long for the counter's item to tell of what came before it.
    const others = Array.from({ length: 20 }, (_, i) => changeOf(`other:${i}`.padEnd(60, "x"), ""));
    await writer.applyChanges(others);
    const { vector: base, replicaId } = await reader.readReplicaState();
    const torn = hold(1);
    const writing = writer.applyChanges([changeOf("a", "new"), changeOf("b", "new"), changeOf("c", "new")]);
    await torn.reached.promise;
    for (const known of [base, new Map([[replicaId, 1]]), new Map<string, number>()]) {
      const { vector, nodes } = await reader.readDelta(known, 100);
      assert.equal(vector.get(replicaId), 25);
      const told = nodes.filter(({ key }) => key.length === 1);
      assert.deepEqual(told.map(({ key, dotVersion, hash }) => `${key} ${dotVersion} ${hash}`).sort(), [
        "a 23 new",
        "b 24 new",
        "c 25 new",
      ]);
      assert.equal(nodes.length, known === base ? 3 : 23);
    }
    assert.deepEqual([...(await reader.readReplicated(["a"])).values()].map(({ dotVersion }) => dotVersion), [
      23,
    ]);
    torn.released.resolve();
    await writing;
  });
});

test("a row that shows its change before the counter does is told, and not as seen", async () => {
  await withHeld(counterLast, async (writer, reader, hold) => {
    await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old")]);
    await writer.applyChanges(
      Array.from({ length: 20 }, (_, i) => changeOf(`other:${i}`.padEnd(60, "x"), "")),
    );
    const torn = hold(1);
    const writing = writer.applyChanges([changeOf("a", "new"), changeOf("b", "new")]);
    await torn.reached.promise;
    const { vector, nodes, replicaId } = await reader.readDelta(new Map(), 100);
    assert.equal(vector.get(replicaId), 22);
    assert.deepEqual(nodes.filter(({ key }) => key.length === 1).map(({ dotVersion }) => dotVersion).sort(), [
      1,
      24,
    ]);
    torn.released.resolve();
    await writing;
    const after = await reader.readDelta(vector, 100);
    assert.deepEqual([after.nodes.map(({ dotVersion }) => dotVersion).sort(), after.vector.get(replicaId)], [[
      23,
      24,
    ], 24]);
  });
});

for (
  const [name, read, readings] of [
    [
      "readNodes()",
      async (reader) => [...nodesOf(await reader.readNodes(["a", "b"]), ["a", "b"]).values()],
      2,
    ],
    ["listChangedSince()", (reader) => reader.listChangedSince(0), 3],
  ] as [string, (reader: DynamoDBStorage) => Promise<RealityNodeMeta[]>, number][]
) {
  test(`${name} waits for the counter where a row shows its change before it`, async () => {
    await withHeld(counterLast, async (writer, reader, hold, whenAsked) => {
      await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old")]);
      // Too long for the counter's item to tell of what came before it.
      await writer.applyChanges(
        Array.from({ length: 20 }, (_, i) => changeOf(`other:${i}`.padEnd(60, "x"), "")),
      );
      const torn = hold(1);
      const writing = writer.applyChanges([changeOf("a", "new"), changeOf("b", "new")]);
      await torn.reached.promise;
      // Rows have been read by then, and the counter's item is being read once more than it need be.
      whenAsked("getItem", readings, torn.released.resolve);
      const metas = (await read(reader)).filter(({ key }) => ["a", "b"].includes(key));
      assert.deepEqual(metas, await writing);
    });
  });
}

test("listChangedSince() tells nothing that has a gap before it, however long a transaction takes", async () => {
  await withHeld(counterLast, async (writer, reader, hold) => {
    await writer.applyChanges([changeOf("a", "old"), changeOf("b", "old"), changeOf("c", "old")]);
    const torn = hold(1);
    const writing = writer.applyChanges([changeOf("a", "new"), changeOf("b", "new")]);
    await torn.reached.promise;
    // Of the two rows the later one shows.
    for (const version of [0, 1, 2]) {
      const metas = await reader.listChangedSince(version);
      assert.ok(metas.every((meta) => meta.version <= 3), `after ${version}: ${JSON.stringify(metas)}`);
    }
    assert.deepEqual(await reader.listChangedSince(3), []);
    assert.equal(await reader.getMaxVersion(), 3);
    torn.released.resolve();
    const metas = await writing;
    assert.deepEqual(await reader.listChangedSince(3), metas);
  });
});

test("other changes go by one that is not visible in all rows, and none of them is lost", async () => {
  await withHeld(counterFirst, async (writer, reader, hold) => {
    await reader.getMaxVersion();
    const torn = hold(1);
    const writing = writer.applyChanges([changeOf("torn", "new")]);
    await torn.reached.promise;
    // So many that the counter's item would tell of the first one no more, had all seen it in its row.
    const others = Array.from({ length: 12 }, (_, i) => `other:${i}`.padEnd(60, "x"));
    const passing = (async () => {
      for (const key of others) await reader.applyChanges([changeOf(key, "new")]);
    })();
    const looking = (async () => {
      for (let i = 0; i < 10; i++) {
        assert.equal((await reader.getNode("torn"))?.hash, "new");
        assert.equal((await reader.listChangedSince(0, 1))[0]?.key, "torn");
        await rest(10);
      }
    })();
    await looking;
    torn.released.resolve();
    await Promise.all([writing, passing]);
    assert.deepEqual((await writer.listChangedSince(0)).map(({ key }) => key), ["torn", ...others]);
  });
});

/** Two storages on one table; all that the first asks takes longer on its way. */
async function withFar(use: (far: DynamoDBStorage, near: DynamoDBStorage) => Promise<void>): Promise<void> {
  await withClient(async (client) => {
    const service = new TornService(counterFirst, () => rest(2));
    const tableName = newTableName();
    const [far, near] = [15, 0].map((delay) => {
      const intermediary = new Intermediary(client);
      intermediary.between = async (name, input, ask) => {
        if (delay > 0) await rest(delay);
        return await service.between(name, input, ask);
      };
      return new DynamoDBStorage({
        client: intermediary.client,
        tableName,
        counter: "sequential",
        operationTimeout: 30_000,
      });
    }) as [DynamoDBStorage, DynamoDBStorage];
    await near.createTable();
    await use(far, near);
    await Promise.all([far.close(), near.close()]);
  });
}

test("a process that writes without a pause lets others write as well, also distant ones", async () => {
  await withFar(async (far, near) => {
    let isOver = false;
    let written = 0;
    const writing = (async () => {
      for (; !isOver; written++) await near.applyChanges([changeOf("near", `${written}`)]);
    })();
    const rounds = 8;
    for (let i = 0; i < rounds; i++) await far.applyChanges([changeOf("far", `${i}`)]);
    isOver = true;
    await writing;
    assert.ok(written >= rounds / 2 && written <= rounds * 20, `${written} beside ${rounds}`);
  });
});

test("a process that died during its turn delays no other for long", async () => {
  await withStorage(async (storage, _intermediary, TableName) => {
    await storage.applyChanges([changeOf("a", "1")]);
    await withClient(async (client) => {
      await client.updateItem({
        TableName,
        Key: { bucket: { S: "state" }, node_key: { S: "state" } },
        UpdateExpression: "SET turn = :turn",
        ExpressionAttributeValues: { ":turn": { S: "dead" } },
      });
    });
    const [version, [a], [b]] = await Promise.all([
      storage.incrementVersion("a"),
      storage.applyChanges([changeOf("a", "2")]),
      storage.applyChanges([changeOf("b", "1")]),
    ]);
    assert.deepEqual([version, a?.version, b?.version].sort(), [2, 3, 4]);
    assert.deepEqual(await storage.listChangedSince(0), [a, b]);
  });
});

test("who has nothing to write after all gives its turn back", async () => {
  await withStorage(async (storage, intermediary, TableName) => {
    await storage.setNode("a", { key: "a", version: 9, hash: "new", updatedAt: 1 });
    let meets = true;
    intermediary.between = async (name, _input, ask) => {
      if (name !== "transactWriteItems" || !meets) return await ask();
      meets = false;
      // While it waits, another process writes a newer node.
      const other = new DynamoDBStorage({
        client: intermediary.client,
        tableName: TableName,
        counter: "sequential",
      });
      await other.setNode("a", { key: "a", version: 20, hash: "newest", updatedAt: 1 });
      await other.close();
      throw errorOf("TransactionCanceledException", {
        CancellationReasons: [{ Code: "TransactionConflict" }],
      });
    };
    await storage.setNode("a", { key: "a", version: 15, hash: "newer", updatedAt: 1 });
    await withClient(async (client) => {
      const { Item } = await client.getItem({
        TableName,
        Key: { bucket: { S: "state" }, node_key: { S: "state" } },
      });
      assert.deepEqual([Item?.max_version?.N, Item?.turn], ["20", undefined]);
    });
  });
});

/** The tests of the kit in which several storages read and write one table. */
const RACES = [
  "incrementVersion() called at once gives different numbers, all above those before, in two processes",
  "setNode() called at once for one key ends at the highest version, in two processes",
  "a reader never sees one version with another's hash, nor a node going back, in two processes",
  "getMaxVersion() never decreases, and the changes up to it are visible, in two processes",
  "applyChanges() called at once never shares a version, in two processes",
  "a reader of the history misses no change while many write, in two processes",
  "readNodes() reads one moment: it returns no node above its maxVersion, in two processes",
  "readNodes() shows every late node that it counts, in two processes",
  "the version vector of readDelta() is never newer than its nodes, with two processes",
  "what one process merges and adopts, the other one reads",
  "of two processes that replace one node by a merge, exactly one succeeds",
  "two processes that adopt version vectors at once lose nothing",
  "changes and merges at once share no version, and the deltas miss none",
];
const clients = new Map<RealityStorage, [tableName: string, client: DynamoDB]>();
const service = new TornService(shuffled, () => rest(Math.random() * 4));

function open(tableName: string): RealityStorage {
  const client = new DynamoDB(configure() ?? {});
  const intermediary = new Intermediary(client);
  intermediary.between = service.between;
  const storage = new DynamoDBStorage({ client: intermediary.client, tableName, operationTimeout: 30_000 });
  clients.set(storage, [tableName, client]);
  return storage;
}

testOnly(RACES, {
  name: "DynamoDBStorage on torn transactions",
  create: async () => {
    const storage = open(newTableName());
    await (storage as DynamoDBStorage).createTable();
    return storage;
  },
  share: (storage) => open(clients.get(storage)?.[0] ?? ""),
  destroy: async (storage) => {
    await storage.close?.();
    clients.get(storage)?.[1].destroy();
    clients.delete(storage);
  },
  test,
  supports: SUPPORTS,
});
