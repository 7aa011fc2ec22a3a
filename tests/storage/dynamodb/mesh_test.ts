/**
 * DynamoDBStorage beside other storages: deltas out of the index and out of the table, while others write, and
 * tables that exchange all they have.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mergeNode } from "../../../src/mesh/merge.ts";
import {
  dotOf,
  includesDot,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  type VersionVector,
} from "../../../src/store/contract.ts";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { Call } from "../../../storage/dynamodb/call.ts";
import { connect } from "../../../storage/dynamodb/client.ts";
import { readDelta } from "../../../storage/dynamodb/delta.ts";
import { ServiceClock } from "../../../storage/dynamodb/service_clock.ts";
import { TableReader } from "../../../storage/dynamodb/table_reader.ts";
import { bucketOf, compareKeys } from "../../../storage/dynamodb/table.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { SeededRandom } from "../../random.ts";
import { test } from "../../harness.ts";
import { Intermediary, newTableName, withClient, withStorage } from "./kit.ts";
import { TornService } from "./torn.ts";

function changeOf(key: string, hash: string = "h"): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

function foreign(key: string, version: number, more: Partial<ReplicatedNode> = {}): ReplicatedNode {
  return { key, version, hash: `${version}`, updatedAt: 1, replicaId: "other", dotVersion: version, ...more };
}

/** Pushes all commits before it out of the counter's item. */
async function flood(storage: DynamoDBStorage, hash: string = "h"): Promise<void> {
  const keys = Array.from({ length: 20 }, (_, i) => `flood ${i}`.padEnd(40, "x"));
  await storage.applyChanges(keys.map((key) => changeOf(key, hash)));
  await storage.applyChanges(keys.map((key) => changeOf(key, `${hash}, again`)));
}

function byKey(nodes: Iterable<ReplicatedNode>): ReplicatedNode[] {
  return [...nodes].sort((a, b) => compareKeys(a.key, b.key));
}

/** All pages, and what they told as seen, the first of them least. */
async function readPages(
  storage: MeshStorage,
  base: VersionVector,
  limit: number,
): Promise<[ReplicaState, ReplicatedNode[]]> {
  const first = await storage.readDelta(base, limit);
  const nodes = [...first.nodes];
  for (let { next } = first; next !== null;) {
    const page = await storage.readDelta(base, limit, next);
    nodes.push(...page.nodes);
    next = page.next;
  }
  return [first, nodes];
}

test("readDelta() asks the index where the counter's item tells no more, and once for each bucket", async () => {
  await withStorage(async (storage, intermediary) => {
    const keys = Array.from({ length: 60 }, (_, i) => `key:${i}`);
    await storage.applyChanges(keys.map((key) => changeOf(key)));
    const { vector } = await storage.readReplicaState();
    await storage.applyChanges([changeOf("key:3", "2"), changeOf("key:4", "2")]);
    await flood(storage);
    const asked: string[] = [];
    intermediary.between = (name, input, ask) => {
      asked.push((input as { IndexName?: string }).IndexName ?? name);
      return ask();
    };
    const { nodes, next } = await storage.readDelta(vector, 100);
    assert.deepEqual(asked, ["getItem", ...Array(16).fill("by_version")]);
    assert.deepEqual([nodes.length, next], [22, null]);
    asked.length = 0;
    const all = await storage.readDelta(new Map([["another", 5]]), 100);
    assert.deepEqual([all.nodes.length, all.next], [80, null]);
    assert.deepEqual(asked, ["getItem", ...Array(16).fill("query")]);
    // Pages of the whole table cost little more than one reading of it.
    asked.length = 0;
    const [, told] = await readPages(storage, new Map(), 7);
    assert.deepEqual(byKey(told), byKey(all.nodes));
    assert.ok(asked.length < 60, `${asked.length} requests`);
  });
});

/** A fresh seed for each run, printed so that a failure can be repeated with it. */
function drawSeed(): number {
  const seed = Math.floor(Math.random() * 1e9);
  console.log(`seed ${seed}`);
  return seed;
}

for (const run of [1, 2, 3, 4]) {
  test(`readDelta() and listChangedSince() tell all that is there, wherever it lies, run ${run}`, async () => {
    const chance = new SeededRandom(drawSeed());
    await withStorage(async (storage) => {
      const { replicaId } = await storage.getIdentity();
      // All in one bucket, so that a few of the history do not take all of it.
      const keys = Array.from({ length: 600 }, (_, i) => `key:${i}`).filter((key) => bucketOf(key) === 5);
      await storage.applyChanges(keys.map((key) => changeOf(key)));
      const reserved: number[] = [];
      const bases: VersionVector[] = [new Map()];
      for (let i = 0; i < 40; i++) {
        const key = chance.pick(keys);
        const stored = (await storage.readReplicated([key])).get(key);
        const top = await storage.getMaxVersion();
        const what = chance.between(0, 9);
        if (what < 2) await storage.applyChanges([changeOf(key, `${i}`), changeOf(chance.pick(["x", "y"]))]);
        else if (what === 2) await storage.deleteNode(key);
        else if (what === 3) reserved.push(await storage.incrementVersion(key));
        else if (what === 4 && reserved.length > 0) {
          const version = chance.pick(reserved);
          await storage.setNode(key, { key, version, hash: `${i}`, updatedAt: i });
        } else if (what < 8) {
          const version = Math.max(1, chance.between(top - 30, top + 5));
          const stamp = chance.happens(0.5) ? version : version + chance.between(1, 40);
          const node = foreign(key, version, {
            dotVersion: stamp,
            replicaId: chance.pick(["ox", "oy", replicaId]),
          });
          await storage.mergeNodes([{ node, replaces: stored ? dotOf(stored) : null }]);
        } else if (what === 8) {
          const { vector, maxVersion } = await storage.readReplicaState();
          bases.push(vector);
          await storage.adoptVector(new Map([[chance.pick(["ox", "oy"]), maxVersion]]), "z");
        } else await flood(storage, `${i}`);
      }
      bases.push((await storage.readReplicaState()).vector);
      const history = await storage.listChangedSince(0);
      const nodes = await storage.readReplicated(history.map(({ key }) => key));
      assert.equal(nodes.size, history.length);
      for (const base of bases) {
        for (const limit of [3, 1000]) {
          const [{ vector }, told] = await readPages(storage, base, limit);
          assert.equal(new Set(told.map(({ key }) => key)).size, told.length);
          for (const node of told) assert.deepEqual(node, nodes.get(node.key));
          const inside = (node: ReplicatedNode) =>
            !includesDot(base, dotOf(node)) && includesDot(vector, dotOf(node));
          assert.deepEqual(byKey(told.filter(inside)), byKey([...nodes.values()].filter(inside)));
          assert.ok(told.every((node) => !includesDot(base, dotOf(node))));
        }
      }
      for (let version = 0; version <= (history.at(-1)?.version ?? 0); version += chance.between(5, 40)) {
        const after = history.filter((meta) => meta.version > version);
        const limit = chance.between(1, 8);
        const last = after[limit - 1]?.version ?? Infinity;
        const expected = after.filter((meta) => meta.version <= last);
        const order = (metas: typeof after) => metas.map((meta) => [meta.version, meta.key]).sort();
        assert.deepEqual(order(await storage.listChangedSince(version, limit)), order(expected));
      }
    });
  });
}

test("nodes that lie far above their version are told in their place, and their stamps as news", async () => {
  await withStorage(async (storage) => {
    const keys = Array.from({ length: 1600 }, (_, i) => `key:${i}`).filter((key) => bucketOf(key) === 5);
    const late = Array.from({ length: 9 }, (_, i) => `late:${i}`.padEnd(60, "x"));
    const versions: number[] = [];
    for (const key of late) versions.push(await storage.incrementVersion(key));
    await storage.applyChanges(keys.slice(0, 80).map((key) => changeOf(key)));
    const { vector } = await storage.readReplicaState();
    // So long that the counter's item tells only of the last ones, and none of them lifts the highest version.
    for (const [i, key] of late.entries()) {
      await storage.setNode(key, { ...changeOf(key), version: versions[i] ?? 0 });
    }
    assert.deepEqual((await storage.readDelta(vector, 100)).nodes.map(({ key }) => key).sort(), late);
    assert.deepEqual((await storage.listChangedSince(0, 3)).map(({ version }) => version), [1, 2, 3]);
    assert.deepEqual((await storage.listChangedSince(7, 4)).map(({ version }) => version), [8, 9, 10, 11]);
  });
});

for (const [name, lacks] of [["index", false], ["table", true]] as const) {
  test(`readDelta() out of the ${name} misses no node that moves meanwhile, up or down`, async () => {
    await withClient(async (client) => {
      const tableName = newTableName();
      const writer = new DynamoDBStorage({ client, tableName, counter: "sequential" });
      const intermediary = new Intermediary(client);
      const reader = new DynamoDBStorage({ client: intermediary.client, tableName, counter: "sequential" });
      await writer.createTable();
      const chance = new SeededRandom(name);
      const keys = Array.from({ length: 50 }, (_, i) => `key:${i}`);
      await writer.applyChanges(changesOf("start"));
      const base: VersionVector = lacks ? new Map() : (await writer.readReplicaState()).vector;
      await writer.applyChanges(keys.map((key) => changeOf(key)));
      await flood(writer);
      const before = await writer.readReplicated(keys);
      let isOver = false;
      intermediary.between = async (action, input, ask) => {
        if (action !== "query") return await ask();
        // One row a page, and between any two pages nodes move.
        const answer = await ask({ ...input as object, Limit: 1 });
        if (!isOver && chance.happens(0.3)) await move(chance.pick(keys));
        return answer;
      };
      const { vector, nodes } = await reader.readDelta(base, 1000);
      isOver = true;
      const told = new Map(nodes.map((node) => [node.key, node]));
      for (const node of before.values()) {
        assert.ok(includesDot(vector, dotOf(node)));
        assert.ok(told.has(node.key), `${node.key} is not told`);
      }
      for (const node of (await writer.readDelta(vector, 1000)).nodes) told.set(node.key, node);
      // Nothing that was taken counts as seen: of those either may be told.
      const now = await writer.readReplicated(keys);
      for (const node of now.values()) {
        if (node.replicaId !== "other") assert.deepEqual(told.get(node.key), node);
      }
      await Promise.all([writer.close(), reader.close()]);

      async function move(key: string): Promise<void> {
        const stored = (await writer.readReplicated([key])).get(key);
        const lower = foreign(key, chance.between(1, 40));
        if (chance.happens(0.5)) await writer.applyChanges([changeOf(key, "moved")]);
        else await writer.mergeNodes([{ node: lower, replaces: stored ? dotOf(stored) : null }]);
      }

      function changesOf(prefix: string): NodeChange[] {
        return Array.from({ length: 50 }, (_, i) => changeOf(`${prefix}:${i}`));
      }
    });
  });
}

test("readDelta() goes on by key where a bucket has too many rows for one page", async () => {
  await withStorage(async (storage, { client }, tableName) => {
    const keys = Array.from({ length: 600 }, (_, i) => `key:${i}`).filter((key) => bucketOf(key) < 2);
    await storage.applyChanges(keys.map((key) => changeOf(key)));
    const { vector, replicaId } = await storage.readReplicaState();
    const again = keys.filter((_key, i) => i % 2);
    await storage.applyChanges(again.map((key) => changeOf(key, "2")));
    await flood(storage);
    await storage.applyChanges(keys.slice(-20).map((key) => changeOf(key, "3")));
    const reader = new TableReader(tableName, new ServiceClock({}, undefined));
    const call = new Call("readDelta", { ask: connect(client), tableName }, 8000);
    for (const base of [vector, new Map([[replicaId, 1]]), new Map<string, number>()]) {
      const expected = (await storage.readDelta(base, 1000)).nodes.map(({ key }) => key);
      for (const limit of [3, 40]) {
        const told: string[] = [];
        let [after, pages]: [string | undefined, number] = [undefined, 0];
        for (; after !== undefined || pages === 0; pages++) {
          const page = await readDelta(reader, call, { base, limit, after, maxRows: 11 });
          assert.ok(page.nodes.length <= limit);
          told.push(...page.nodes.map(({ key }) => key));
          after = page.next ?? undefined;
        }
        assert.deepEqual(told, expected.sort(compareKeys));
        assert.ok(pages >= told.length / limit);
      }
    }
    call.end();
  });
});

test("readDelta() refuses what cannot be the next of a page", async () => {
  await withStorage(async (storage) => {
    const message = /^Cannot read a page: expected the next of the page before/;
    for (const after of ["", "x".repeat(1025)]) {
      await assert.rejects(storage.readDelta(new Map(), 10, after), { name: "RangeError", message });
    }
    assert.deepEqual((await storage.readDelta(new Map(), 10, "{nonsense")).nodes, []);
  });
});

test("adoptVector() refuses more origins than the counter's item has room for", async () => {
  await withStorage(async (storage) => {
    const origins = (count: number) => new Map(Array.from({ length: count }, (_, i) => [`origin-${i}`, 1]));
    await assert.rejects(storage.adoptVector(origins(2000), "z"), {
      name: "RangeError",
      message: "Cannot join a version vector: expected at most 2000 replica ids, got 2001",
    });
    await storage.adoptVector(origins(1999), "z");
    assert.equal((await storage.readReplicaState()).vector.size, 2000);
    await storage.applyChanges([changeOf("a")]);
    assert.equal((await storage.getNode("a"))?.version, 2);
  });
});

test("a storage set back to an earlier state publishes nothing below what others have seen of it", async () => {
  await withStorage(async (storage) => {
    const { replicaId } = await storage.getIdentity();
    await storage.applyChanges([changeOf("a")]);
    await storage.adoptVector(new Map([[replicaId, 50]]), "z");
    await storage.setNode("b", { key: "b", version: 30, hash: "h", updatedAt: 1 });
    const node = (await storage.readReplicated(["b"])).get("b");
    assert.ok(node?.version === 30 && node.dotVersion > 50, JSON.stringify(node));
    await storage.mergeNodes([{ node: foreign("c", 90, { replicaId }), replaces: null }]);
    await storage.setNode("d", { key: "d", version: 80, hash: "h", updatedAt: 1 });
    assert.ok(((await storage.readReplicated(["d"])).get("d")?.dotVersion ?? 0) > 90);
  });
});

/** Takes in all that another storage has, as a server does; gives how many nodes were written. */
async function pull(to: MeshStorage, from: MeshStorage, limit: number): Promise<number> {
  const { vector: base } = await to.readReplicaState();
  let [count, first, after]: [number, ReplicaState | undefined, string | undefined] = [
    0,
    undefined,
    undefined,
  ];
  do {
    const page = await from.readDelta(base, limit, after);
    first ??= page;
    for (let left = [...page.nodes]; left.length > 0;) {
      const mine = await to.readReplicated(left.map(({ key }) => key));
      const { vector, collected } = await to.readReplicaState();
      const knowledge = { mine: vector, theirs: first.vector, collected };
      const takes = left.map((node) => mergeNode(node, mine.get(node.key), knowledge))
        .filter((take): take is NodeMerge => take !== null);
      const written = await to.mergeNodes(takes);
      count += written.filter((meta) => meta !== null).length;
      const missed = new Set(takes.filter((_take, i) => written[i] === null).map(({ node }) => node.key));
      left = left.filter(({ key }) => missed.has(key));
    }
    after = page.next ?? undefined;
  } while (after !== undefined);
  await to.adoptVector(first.vector, first.epoch);
  return count;
}

for (const round of [1, 2, 3]) {
  test(`two tables and a memory that exchange while all write end equal, run ${round}`, async () => {
    const chance = new SeededRandom(`exchange ${drawSeed()}`);
    const order = (count: number) => chance.shuffle([...Array(count).keys()]);
    const service = new TornService(order, () => Promise.resolve());
    await withClient(async (client) => {
      const open = (tableName: string) => {
        const intermediary = new Intermediary(client);
        intermediary.between = service.between;
        const storage = new DynamoDBStorage({
          client: intermediary.client,
          tableName,
          operationTimeout: 30_000,
        });
        storage.countByClock();
        return storage;
      };
      const [one, other] = [newTableName(), newTableName()];
      const tables = [one, one, other, other].map(open);
      await tables[0]?.createTable();
      await tables[2]?.createTable();
      const memory = new MemoryStorage({ counter: "clock" });
      const storages: MeshStorage[] = [...tables, memory];
      const keys = Array.from({ length: 9 }, (_, i) => `key:${i}`);
      const run = async (storage: MeshStorage, own: SeededRandom) => {
        for (let i = 0; i < 14; i++) {
          const change = changeOf(own.pick(keys), `${own.between(0, 1e9)}`);
          const what = own.next();
          if (what < 0.2) await storage.deleteNode(change.key);
          else if (what < 0.35) {
            const version = await storage.incrementVersion(change.key);
            await storage.setNode(change.key, { ...change, version });
          } else if (what < 0.75) await (storage as DynamoDBStorage).applyChanges([change]);
          else await pull(storage, own.pick(storages), own.pick([2, 100]));
        }
      };
      await Promise.all(storages.map((storage, i) => run(storage, chance.fork(i))));
      const apart = [tables[0], tables[3], memory] as MeshStorage[];
      let rounds = 0;
      for (let written = 1; written > 0; rounds++) {
        assert.ok(rounds < 8, "it does not come to an end");
        written = 0;
        for (const to of apart) for (const from of apart) if (to !== from) written += await pull(to, from, 4);
      }
      const [expected, ...rest] = await Promise.all(apart.map((storage) => storage.readReplicated(keys)));
      for (const nodes of rest) {
        assert.deepEqual(byKey(nodes.values()), byKey(expected?.values() ?? []));
      }
      const [seen, ...others] = await Promise.all(
        apart.map(async (storage) => (await storage.readReplicaState()).vector),
      );
      for (const each of others) {
        assert.deepEqual(each, new Map([...each.keys()].map((key) => [key, seen?.get(key)])));
      }
      await Promise.all(tables.map((storage) => storage.close()));
    });
  });
}
