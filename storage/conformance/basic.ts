/**
 * The kit: nodes go in and come back unchanged, each under its own key.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "./assert.ts";
import { type Kit, metaOf, write } from "./kit.ts";

const METHODS = [
  "applyChanges",
  "readNodes",
  "readChanges",
  "getIdentity",
  "newEpoch",
  "subscribe",
  "close",
] as const;

/** Keys that a driver or database might confuse with one another, or change. */
const AWKWARD_KEYS = [
  "user:1",
  "User:1",
  "USER:1",
  "usér:1",
  "use\u0301r:1",
  "user：1",
  "straße",
  "strasse",
  "i",
  "ı",
  "İ",
  "K", // the letter
  "\u212a", // the Kelvin sign
  "ﬁ",
  "fi",
  "a b",
  "a  b",
  "a\u00a0b",
  "0",
  "00",
  "1",
  "1.0",
  "1e3",
  "1000",
  "-1",
  "NaN",
  "null",
  "undefined",
  "true",
  "__proto__",
  "constructor",
  "hasOwnProperty",
  "toString",
  "'",
  "''",
  '"',
  '""',
  "`",
  "\\",
  "\\\\",
  "\\n",
  "\\u0041",
  "A",
  "%",
  "_",
  "%25",
  "?",
  "$1",
  ":key",
  "@key",
  "';--",
  "'); DROP TABLE reality_nodes;--",
  '{"a":1}',
  "[1]",
  "$[0]",
  "<b>",
  "😀",
  "😁",
  "👩‍👩‍👧",
  "👩",
  "\u200b",
  "\ufeff",
  "\uffff",
  "\u{10ffff}",
  "日本語",
  "עברית",
];
const EDGE_KEYS = ["edge", " edge", "edge ", "edge  ", " ", "  "];

/** Registers these tests. */
export function testBasic({ check, supports }: Kit): void {
  check("has the methods and features that supports lists, and no others", async (storage) => {
    for (const method of METHODS) {
      assertEquals(typeof storage[method] === "function", supports[method], `supports.${method}`);
    }
    const recent = (await storage.readNodes?.([]))?.recent;
    assertEquals(recent !== undefined, supports.recent, "supports.recent");
    assertEquals(storage.outbox !== undefined, supports.outbox !== false, "supports.outbox");
    assertEquals(storage.features?.ordered === true, supports.ordered, "supports.ordered");
    assertEquals(storage.features?.tombstones === true, supports.tombstones, "supports.tombstones");
    assertEquals(storage.features?.conditions === true, supports.conditions, "supports.conditions");
    assertEquals(await storage.isHealthy(), true, "isHealthy()");
  });

  check("getNode() returns null for a key that was never written", async (storage) => {
    assertEquals(await storage.getNode("nobody"), null, "getNode()");
    await write(storage, "somebody");
    assertEquals(await storage.getNode("nobody"), null, "getNode() beside another node");
    assertEquals(await storage.getNode("__proto__"), null, "getNode() of a name that objects have");
  });

  check("getNodes() returns the stored nodes, and an empty map for no keys", async (storage) => {
    const one = await write(storage, "one");
    const two = await write(storage, "two");
    const found = await storage.getNodes(["two", "nobody", "one", "two"]);
    assert(found instanceof Map, "Expected a Map");
    assertEquals(found, new Map([["one", one], ["two", two]]), "getNodes()");
    assertEquals(await storage.getNodes([]), new Map(), "getNodes() of nothing");
    assertEquals(await storage.getNodes(["nobody"]), new Map(), "getNodes() of a key never written");
  });

  check("setNode() publishes: every read method returns the same", async (storage) => {
    const meta = { key: "a", version: 7, hash: "abc", updatedAt: 1_699_876_543_210 };
    await storage.setNode("a", meta);
    assertEquals(await storage.getNode("a"), meta, "getNode()");
    assertEquals(await storage.getNodes(["a"]), new Map([["a", meta]]), "getNodes()");
    assertEquals(await storage.listChangedSince(0), [meta], "listChangedSince()");
    assertEquals(await storage.getMaxVersion(), 7, "getMaxVersion()");
  });

  check("setNode() replaces an older node by a newer one", async (storage) => {
    await write(storage, "a");
    const second = await write(storage, "a");
    assertEquals(await storage.getNode("a"), second, "getNode()");
    assertEquals(await storage.listChangedSince(0), [second], "listChangedSince()");
  });

  check("deleteNode() deletes one node and no other", async (storage) => {
    await write(storage, "a");
    const other = await write(storage, "b");
    await storage.deleteNode("a");
    assertEquals(await storage.getNode("a"), null, "getNode() of the deleted key");
    assertEquals(await storage.getNodes(["a", "b"]), new Map([["b", other]]), "getNodes()");
  });

  check("deleteNode() of a missing key does not fail", async (storage) => {
    await storage.deleteNode("nobody");
    await write(storage, "a");
    await storage.deleteNode("a");
    await storage.deleteNode("a");
    assertEquals(await storage.getNodes(["nobody", "a"]), new Map(), "getNodes()");
  });

  check("a deleted node can be written again", async (storage) => {
    await write(storage, "a");
    await storage.deleteNode("a");
    const again = await write(storage, "a");
    assertEquals(await storage.getNode("a"), again, "getNode()");
    assertEquals(await storage.listChangedSince(0), [again], "listChangedSince()");
  });

  check("hashes and times come back unchanged", async (storage) => {
    const hashes = ["", "a", "A", " a ", "'\"\\%", "😀".repeat(64), "x".repeat(256), "00", "1e3", "null"];
    for (const [i, hash] of hashes.entries()) {
      const updatedAt = [0, 1, 1_699_876_543_210, 8_640_000_000_000_000][i % 4] ?? 0;
      const meta = { key: "a", version: i + 1, hash, updatedAt };
      await storage.setNode("a", meta);
      assertEquals(await storage.getNode("a"), meta, "getNode()");
    }
  });

  check("similar keys are different nodes, and each is returned as it was written", async (storage) => {
    const edges = supports.edgeSpaces ? EDGE_KEYS : [];
    const all = [...AWKWARD_KEYS, ...edges, ...longestKeys(supports.maxKeyBytes)];
    const keys = all.filter((key) => supports.byteOrderMark || !key.startsWith("\ufeff"));
    const metas = keys.map((key, i) => metaOf(key, i + 1));
    for (const meta of metas) await storage.setNode(meta.key, meta);
    for (const meta of metas) assertEquals(await storage.getNode(meta.key), meta, "getNode()");
    assertEquals(await storage.getNodes(keys), new Map(metas.map((meta) => [meta.key, meta])), "getNodes()");
    assertEquals(await storage.listChangedSince(0), metas, "listChangedSince()");
    const gone = keys.filter((_key, i) => i % 2 === 0);
    for (const key of gone) await storage.deleteNode(key);
    const left = metas.filter((_meta, i) => i % 2 === 1);
    assertEquals(
      await storage.getNodes(keys),
      new Map(left.map((meta) => [meta.key, meta])),
      "after deleting",
    );
  });

  check("a key does not exist because a similar one does", async (storage) => {
    const written = [
      "user:1",
      "usér:1",
      "i",
      "k",
      "fi",
      "a b",
      "straße",
      "0",
      "1",
      "1000",
      "A",
      "😀",
      "edge",
    ];
    const metas = written.map((key, i) => metaOf(key, i + 1));
    for (const meta of metas) await storage.setNode(meta.key, meta);
    const edges = supports.edgeSpaces ? EDGE_KEYS : [];
    const others = [...AWKWARD_KEYS, ...edges].filter((key) => !written.includes(key));
    for (const key of others) {
      assertEquals(await storage.getNode(key), null, `getNode() of ${JSON.stringify(key)}`);
    }
    assertEquals(await storage.getNodes(others), new Map(), "getNodes()");
    for (const key of others) await storage.deleteNode(key);
    assertEquals(
      await storage.getNodes(written),
      new Map(metas.map((meta) => [meta.key, meta])),
      "after deleting",
    );
  });

  if (!supports.edgeSpaces) {
    check(
      "setNode() rejects keys with a leading or trailing space, which it could not distinguish",
      async (storage) => {
        const meta = await write(storage, "edge");
        for (const key of EDGE_KEYS.filter((key) => key !== "edge")) {
          await assertRejects(
            () => storage.setNode(key, metaOf(key, 100)),
            `setNode() of ${JSON.stringify(key)}`,
          );
        }
        assertEquals(await storage.getNode("edge"), meta, "getNode()");
      },
    );
  }

  if (supports.maxKeyBytes < 512) {
    check("setNode() rejects a key that is too long, and does not truncate it", async (storage) => {
      const key = "x".repeat(supports.maxKeyBytes + 1);
      await assertRejects(() => storage.setNode(key, metaOf(key, 1)), "setNode()");
      assertEquals(await storage.listChangedSince(0), [], "listChangedSince()");
    });
  }

  check("getNodes() accepts as many keys as a sync request", async (storage) => {
    const metas = [...Array(300).keys()].map((i) => metaOf(`key:${i}`, i + 1));
    for (const meta of metas) await storage.setNode(meta.key, meta);
    const keys = [...Array(10_000).keys()].map((i) => `key:${i}`);
    const found = await storage.getNodes(keys);
    assertEquals(found, new Map(metas.map((meta) => [meta.key, meta])), "getNodes()");
  });
}

/** Keys of the full length that differ only at the very end. */
function longestKeys(bytes: number): string[] {
  return ["a", "b"].flatMap((
    end,
  ) => ["x".repeat(bytes - 1) + end, "😀".repeat((bytes - 4) / 4) + `xyz${end}`]);
}
