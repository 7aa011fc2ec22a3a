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
const seens: fc.Arbitrary<VersionVector> = fc.array(fc.tuple(replicaIds, fc.nat(20))).map((pairs) =>
  new Map(pairs)
);
const stamps = fc.record({ version: fc.integer({ min: 1, max: 20 }), replicaId: replicaIds });

/** What either says, an replicaId left out being one with 0. */
function same(a: VersionVector, b: VersionVector): boolean {
  return coversVector(a, b) && coversVector(b, a);
}

test("joinSeen() is the same from both sides", () => {
  fc.assert(fc.property(seens, seens, (a, b) => assert.ok(same(joinVectors(a, b), joinVectors(b, a)))));
});

test("joinSeen() is the same in any order of three", () => {
  fc.assert(fc.property(seens, seens, seens, (a, b, c) => {
    assert.ok(same(joinVectors(joinVectors(a, b), c), joinVectors(a, joinVectors(b, c))));
  }));
});

test("joinSeen() with what is known already changes nothing, and changes neither of the two", () => {
  fc.assert(fc.property(seens, seens, (a, b) => {
    const [before, joined] = [new Map(a), joinVectors(a, b)];
    assert.deepEqual(joinVectors(joined, b), joined);
    assert.deepEqual(joinVectors(a, a), before);
    assert.deepEqual(a, before);
  }));
});

test("joinSeen() is the least that covers both", () => {
  fc.assert(fc.property(seens, seens, seens, (a, b, other) => {
    const joined = joinVectors(a, b);
    assert.ok(coversVector(joined, a) && coversVector(joined, b));
    if (coversVector(other, a) && coversVector(other, b)) assert.ok(coversVector(other, joined));
  }));
});

test("coversSeen() says of each stamp what hasSeen() says", () => {
  fc.assert(fc.property(seens, seens, stamps, (a, b, stamp) => {
    if (coversVector(a, b) && includesDot(b, stamp)) assert.ok(includesDot(a, stamp));
    assert.equal(includesDot(joinVectors(a, b), stamp), includesDot(a, stamp) || includesDot(b, stamp));
  }));
});

test("lowestUnseen() lies below every stamp that is seen there and not here", () => {
  fc.assert(fc.property(seens, seens, stamps, (base, seen, stamp) => {
    const lowest = lowestMissing(base, seen);
    if (includesDot(seen, stamp) && !includesDot(base, stamp)) assert.ok(stamp.version > lowest);
    assert.equal(lowest === Infinity, coversVector(base, seen));
  }));
});

test("stampOf() is the number and the replicaId, not the version", () => {
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

test("isSameStamp() compares number and replicaId, and nothing only with nothing", () => {
  assert.ok(isSameDot({ version: 1, replicaId: "a" }, { version: 1, replicaId: "a" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, { version: 1, replicaId: "b" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, { version: 2, replicaId: "a" }));
  assert.ok(!isSameDot(null, { version: 1, replicaId: "a" }));
  assert.ok(!isSameDot({ version: 1, replicaId: "a" }, null));
  assert.ok(isSameDot(null, null));
});
