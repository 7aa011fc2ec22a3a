import assert from "node:assert/strict";
import fc from "fast-check";
import {
  coversVector,
  dotOf,
  includesDot,
  isSameDot,
  joinVectors,
  lowestMissing,
  type ReplicatedNode,
  type VersionVector,
} from "../../../src/store/version_vector.ts";
import { test } from "../../harness.ts";

const replicaIds = fc.constantFrom("a", "b", "c", "__proto__");
const vectors: fc.Arbitrary<VersionVector> = fc.array(fc.tuple(replicaIds, fc.nat(20))).map((pairs) =>
  new Map(pairs)
);
const dots = fc.record({ version: fc.integer({ min: 1, max: 20 }), replicaId: replicaIds });

/** Compares two vectors; a missing replica id counts as 0. */
function same(a: VersionVector, b: VersionVector): boolean {
  return coversVector(a, b) && coversVector(b, a);
}

test("joinVectors() is commutative", () => {
  fc.assert(fc.property(vectors, vectors, (a, b) => assert.ok(same(joinVectors(a, b), joinVectors(b, a)))));
});

test("joinVectors() is associative", () => {
  fc.assert(fc.property(vectors, vectors, vectors, (a, b, c) => {
    assert.ok(same(joinVectors(joinVectors(a, b), c), joinVectors(a, joinVectors(b, c))));
  }));
});

test("joinVectors() with an included vector changes nothing, and mutates neither of the two", () => {
  fc.assert(fc.property(vectors, vectors, (a, b) => {
    const [before, joined] = [new Map(a), joinVectors(a, b)];
    assert.deepEqual(joinVectors(joined, b), joined);
    assert.deepEqual(joinVectors(a, a), before);
    assert.deepEqual(a, before);
  }));
});

test("joinVectors() is the least vector that covers both", () => {
  fc.assert(fc.property(vectors, vectors, vectors, (a, b, other) => {
    const joined = joinVectors(a, b);
    assert.ok(coversVector(joined, a) && coversVector(joined, b));
    if (coversVector(other, a) && coversVector(other, b)) assert.ok(coversVector(other, joined));
  }));
});

test("coversVector() agrees with includesDot() for each dot", () => {
  fc.assert(fc.property(vectors, vectors, dots, (a, b, dot) => {
    if (coversVector(a, b) && includesDot(b, dot)) assert.ok(includesDot(a, dot));
    assert.equal(includesDot(joinVectors(a, b), dot), includesDot(a, dot) || includesDot(b, dot));
  }));
});

test("lowestMissing() is below every dot that is included there and not here", () => {
  fc.assert(fc.property(vectors, vectors, dots, (base, vector, dot) => {
    const lowest = lowestMissing(base, vector);
    if (includesDot(vector, dot) && !includesDot(base, dot)) assert.ok(dot.version > lowest);
    assert.equal(lowest === Infinity, coversVector(base, vector));
  }));
});

test("dotOf() is the dot version and replica id, not the version", () => {
  const node: ReplicatedNode = {
    key: "a",
    version: 3,
    hash: "",
    updatedAt: 1,
    replicaId: "here",
    dotVersion: 9,
  };
  assert.deepEqual(dotOf(node), { version: 9, replicaId: "here" });
});

test("isSameDot() compares number and replica id, and null equals only null", () => {
  assert.ok(isSameDot({ version: 1, replicaId: "a" }, { version: 1, replicaId: "a" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, { version: 1, replicaId: "b" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, { version: 2, replicaId: "a" }));
  assert.ok(!isSameDot(null, { version: 1, replicaId: "a" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, null));
  assert.ok(isSameDot(null, null));
});
