import { deepEqual, equal } from "node:assert/strict";
import { compare, type Known, metaOf } from "../../../src/sync/compare.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { test } from "../../harness.ts";

function nodes(...metas: [string, number][]): Map<string, RealityNodeMeta> {
  return new Map(metas.map(([key, version]) => [key, { key, version, hash: `h${version}`, updatedAt: 1 }]));
}

function knows(versions: Record<string, number>): Known {
  return { keys: Object.keys(versions), versions: Object.values(versions) };
}

/** What is reported about one key: its `version`, or `null`. */
function reported(stored: number | null, known: number, sameEpoch = true): number | null {
  const found = stored === null ? nodes() : nodes(["k", stored]);
  return compare(knows({ k: known }), found, sameEpoch) === null ? null : metaOf(found, "k").version;
}

test("compare() reports a node that is newer than the client's", () => {
  equal(reported(6, 5), 6);
  equal(reported(1, 0), 1);
});

test("compare() does not report the version that the client has", () => equal(reported(6, 6), null));

test("compare() does not report a key that never existed", () => equal(reported(null, 0), null));

test("compare() reports a deleted node", () => {
  deepEqual(compare(knows({ k: 4 }), nodes(), true), ["k"]);
  deepEqual(metaOf(nodes(), "k"), { key: "k", version: 0, hash: "", updatedAt: 0, deleted: true });
});

test("compare() reports a node that is older than the client's, with the stored meta", () =>
  equal(reported(3, 9), 3));

test("compare() reports everything that is not 0 on both sides if the epoch differs", () => {
  equal(reported(6, 6, false), 6);
  equal(reported(6, 0, false), 6);
  equal(reported(null, 6, false), 0);
  equal(reported(null, 0, false), null);
});

test("compare() treats names from Object.prototype like any key", () => {
  const known = JSON.parse('{"__proto__":1,"constructor":1,"hasOwnProperty":1}');
  const changed = compare(knows(known), nodes(["__proto__", 2], ["constructor", 1]), true);
  deepEqual(changed, ["__proto__", "hasOwnProperty"]);
});

test("metaOf() returns no fields that the storage keeps beside the meta", () => {
  const node = { key: "k", version: 2, hash: "h", updatedAt: 5, origin: "secret" };
  deepEqual(metaOf(new Map([["k", node]]), "k"), { key: "k", version: 2, hash: "h", updatedAt: 5 });
});
