/* Tags that must not count as fresh, because nothing in them tells that the data changed; and tags of joined stamps. */
import assert from "node:assert/strict";
import {
  joinStamps,
  MemoryStorage,
  type RealityNodeMeta,
  RealityServer,
  type RealityStorage,
  type Stamp,
} from "../../../mod.ts";
import { test } from "../../harness.ts";

const get = ({ etag }: Stamp) => new Headers({ "if-none-match": etag });

/** A storage with the eight required methods. A deletion does not raise its counter, which the contract allows. */
function createMinimalStorage(): RealityStorage {
  const nodes = new Map<string, RealityNodeMeta>();
  let [reserved, highest] = [0, 0];
  const list = () => [...nodes.values()].sort((one, other) => one.version - other.version);
  return {
    getNode: (key) => Promise.resolve(nodes.get(key) ?? null),
    setNode(key, meta) {
      nodes.set(key, meta);
      highest = Math.max(highest, meta.version);
      return Promise.resolve();
    },
    incrementVersion: () => Promise.resolve(++reserved),
    listChangedSince: (version) => Promise.resolve(list().filter((node) => node.version > version)),
    getNodes: (keys) =>
      Promise.resolve(new Map(list().filter(({ key }) => keys.includes(key)).map((n) => [n.key, n]))),
    getMaxVersion: () => Promise.resolve(highest),
    deleteNode(key) {
      nodes.delete(key);
      return Promise.resolve();
    },
    isHealthy: () => Promise.resolve(true),
  };
}

test("a stamp without keys is never fresh, for nothing tells that its data changed", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const stamp = await server.stamp([]);
  assert.equal((await server.stamp([])).isFresh(get(stamp)), false);
  await server.close();
});

test("on a storage that reports no late nodes, a key without a node is never fresh", async () => {
  const storage = createMinimalStorage();
  const server = new RealityServer({ storage });
  const write = (key: string, version: number) =>
    storage.setNode(key, { key, version, hash: "1", updatedAt: 0 });
  await write("b", 2);
  const stamp = await server.stamp(["a"]);
  await write("a", 1); // reserved before b, published after it; the data of the answer is read here
  await server.deleteNode("a");
  assert.equal((await server.stamp(["a"])).isFresh(get(stamp)), false);
  const present = await server.stamp(["b"]);
  assert.equal((await server.stamp(["b"])).isFresh(get(present)), true);
  await server.close();
});

test("the tag of joined stamps says each of their tags once, in any order", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  const [a, b] = [await server.stamp(["a"]), await server.stamp(["b"])];
  const joined = joinStamps(a, b);
  assert.equal(joinStamps(b, a, b, joined).etag, joined.etag);
  assert.equal(joinStamps(...Array.from({ length: 200 }, () => a)).etag, a.etag);
  await server.close();
});

test("a joined tag that would be too long for a header is never fresh", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const keys = Array.from({ length: 100 }, (_, i) => `a-key-that-is-not-so-short-${i}`);
  await server.updateMany(keys.map((key) => ({ key, hash: "1" })));
  const stamps = await Promise.all(keys.map((key) => server.stamp([key])));
  const joined = joinStamps(...stamps);
  assert.ok(joined.etag.length <= 2048, `it has ${joined.etag.length} bytes`);
  assert.equal(joinStamps(...stamps).isFresh(get(joined)), false);
  await server.close();
});

test("joined stamps of two epochs tell also of a key that had no node in either", async () => {
  const storage = new MemoryStorage();
  const server = new RealityServer({ storage });
  const one = await server.stamp(["a"]);
  await storage.newEpoch();
  const { epoch, versions } = joinStamps(one, await server.stamp(["a"])).toJSON();
  assert.deepEqual(Object.keys((await server.handleSync({ known: { ...versions }, epoch })).changed), ["a"]);
  await server.close();
});
