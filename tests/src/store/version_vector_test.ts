import assert from "node:assert/strict";
import fc from "fast-check";
import {
  coversSeen,
  hasSeen,
  isSameStamp,
  joinSeen,
  lowestUnseen,
  type Seen,
  type StampedNode,
  stampOf,
} from "../../../src/store/version_vector.ts";
import { test } from "../../harness.ts";

const origins = fc.constantFrom("a", "b", "c", "__proto__");
const seens: fc.Arbitrary<Seen> = fc.array(fc.tuple(origins, fc.nat(20))).map((pairs) => new Map(pairs));
const stamps = fc.record({ version: fc.integer({ min: 1, max: 20 }), origin: origins });

/** What either says, an origin left out being one with 0. */
function same(a: Seen, b: Seen): boolean {
  return coversSeen(a, b) && coversSeen(b, a);
}

test("joinSeen() is the same from both sides", () => {
  fc.assert(fc.property(seens, seens, (a, b) => assert.ok(same(joinSeen(a, b), joinSeen(b, a)))));
});

test("joinSeen() is the same in any order of three", () => {
  fc.assert(fc.property(seens, seens, seens, (a, b, c) => {
    assert.ok(same(joinSeen(joinSeen(a, b), c), joinSeen(a, joinSeen(b, c))));
  }));
});

test("joinSeen() with what is known already changes nothing, and changes neither of the two", () => {
  fc.assert(fc.property(seens, seens, (a, b) => {
    const [before, joined] = [new Map(a), joinSeen(a, b)];
    assert.deepEqual(joinSeen(joined, b), joined);
    assert.deepEqual(joinSeen(a, a), before);
    assert.deepEqual(a, before);
  }));
});

test("joinSeen() is the least that covers both", () => {
  fc.assert(fc.property(seens, seens, seens, (a, b, other) => {
    const joined = joinSeen(a, b);
    assert.ok(coversSeen(joined, a) && coversSeen(joined, b));
    if (coversSeen(other, a) && coversSeen(other, b)) assert.ok(coversSeen(other, joined));
  }));
});

test("coversSeen() says of each stamp what hasSeen() says", () => {
  fc.assert(fc.property(seens, seens, stamps, (a, b, stamp) => {
    if (coversSeen(a, b) && hasSeen(b, stamp)) assert.ok(hasSeen(a, stamp));
    assert.equal(hasSeen(joinSeen(a, b), stamp), hasSeen(a, stamp) || hasSeen(b, stamp));
  }));
});

test("lowestUnseen() lies below every stamp that is seen there and not here", () => {
  fc.assert(fc.property(seens, seens, stamps, (base, seen, stamp) => {
    const lowest = lowestUnseen(base, seen);
    if (hasSeen(seen, stamp) && !hasSeen(base, stamp)) assert.ok(stamp.version > lowest);
    assert.equal(lowest === Infinity, coversSeen(base, seen));
  }));
});

test("stampOf() is the number and the origin, not the version", () => {
  const node: StampedNode = { key: "a", version: 3, hash: "", updatedAt: 1, origin: "here", stamp: 9 };
  assert.deepEqual(stampOf(node), { version: 9, origin: "here" });
});

test("isSameStamp() compares number and origin, and nothing only with nothing", () => {
  assert.ok(isSameStamp({ version: 1, origin: "a" }, { version: 1, origin: "a" }));
  assert.ok(!isSameStamp({ version: 1, origin: "a" }, { version: 1, origin: "b" }));
  assert.ok(!isSameStamp({ version: 1, origin: "a" }, { version: 2, origin: "a" }));
  assert.ok(!isSameStamp(null, { version: 1, origin: "a" }));
  assert.ok(!isSameStamp({ version: 1, origin: "a" }, null));
  assert.ok(isSameStamp(null, null));
});
