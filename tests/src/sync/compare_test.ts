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

/** What is told about one key, as `version` or `null`. */
function told(stored: number | null, known: number, sameEpoch = true): number | null {
  const found = stored === null ? nodes() : nodes(["k", stored]);
  return compare(knows({ k: known }), found, sameEpoch) === null ? null : metaOf(found, "k").version;
}

test("compare() tells a node that is newer than the client's", () => {
  equal(told(6, 5), 6);
  equal(told(1, 0), 1);
});

test("compare() is quiet about the version that the client has", () => equal(told(6, 6), null));

test("compare() is quiet about a key that was never there", () => equal(told(null, 0), null));

test("compare() tells that a node is gone", () => {
  deepEqual(compare(knows({ k: 4 }), nodes(), true), ["k"]);
  deepEqual(metaOf(nodes(), "k"), { key: "k", version: 0, hash: "", updatedAt: 0, deleted: true });
});

test("compare() tells a node that is older than the client's, with what there is", () =>
  equal(told(3, 9), 3));

test("compare() tells everything that is not 0 on both sides when the epoch is another", () => {
  equal(told(6, 6, false), 6);
  equal(told(6, 0, false), 6);
  equal(told(null, 6, false), 0);
  equal(told(null, 0, false), null);
});

test("compare() treats names from Object.prototype like any key", () => {
  const known = JSON.parse('{"__proto__":1,"constructor":1,"hasOwnProperty":1}');
  const changed = compare(knows(known), nodes(["__proto__", 2], ["constructor", 1]), true);
  deepEqual(changed, ["__proto__", "hasOwnProperty"]);
});

test("metaOf() hands out nothing that the storage keeps beside the meta", () => {
  const node = { key: "k", version: 2, hash: "h", updatedAt: 5, origin: "secret" };
  deepEqual(metaOf(new Map([["k", node]]), "k"), { key: "k", version: 2, hash: "h", updatedAt: 5 });
});
