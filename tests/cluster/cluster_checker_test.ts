/**
 * The checker of clusters: it accepts correct runs, and finds each kind of fault.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import type { Change, Final, Isolation, Journal, Read, Sight } from "./journal.ts";
import { checkCluster, checkPiece } from "./cluster_checker.ts";

type Moments = readonly [asked: number, answered: number];

function update(server: number, key: string, version: number, [asked, answered]: Moments): Change {
  return { server, key, hash: `${key}.${version}`, isDeletion: false, asked, answered, version };
}

function deletion(server: number, key: string, [asked, answered]: Moments): Change {
  return { server, key, hash: "", isDeletion: true, asked, answered, version: 0 };
}

function read(server: number, [asked, answered]: Moments, ...sights: Sight[]): Read {
  return { server, asked, answered, sights };
}

function finals(entries: Record<string, Final>): Map<string, Final> {
  return new Map(Object.entries(entries));
}

const GONE: Final = { version: 0, hash: "" };

/** Server 0 is cut off from servers 1 and 2, which share a storage. */
const isolation: Isolation = { servers: [0], begin: 100, end: 200 };

/** A key that is changed once, one that is deleted, one that is changed on both sides, one deleted on one side. */
const right: Journal = {
  storages: [0, 1, 1],
  isolations: [isolation],
  changes: [
    update(0, "a", 10, [10, 12]),
    update(1, "a", 20, [20, 22]),
    update(2, "gone", 30, [30, 32]),
    deletion(1, "gone", [40, 42]),
    update(0, "both", 40, [110, 112]),
    update(1, "both", 41, [111, 113]),
    update(0, "half", 50, [90, 92]),
    deletion(0, "half", [130, 132]),
    update(2, "half", 60, [140, 142]),
  ],
  reads: [
    read(0, [13, 14], { key: "a", version: 10, hash: "a.10" }),
    read(1, [15, 16], { key: "a", version: 10 }),
    read(2, [23, 24], { key: "a", version: 20, hash: "a.20" }),
    // The change has not arrived here yet.
    read(0, [23, 24], { key: "a", version: 10 }),
    read(0, [115, 116], { key: "both", version: 40 }, { key: "half", version: 50 }),
    read(0, [135, 136], { key: "half", version: 0, hash: "" }),
    read(2, [125, 126], { key: "both", version: 41 }),
    read(1, [43, 44], { key: "gone", version: 0, hash: "" }),
  ],
  finals: finals({
    a: { version: 20, hash: "a.20" },
    gone: GONE,
    both: { version: 70, hash: "\u0001both" },
    half: { version: 71, hash: "\u0001half" },
  }),
};

function testFault(name: string, change: Partial<Journal>, fault: RegExp): void {
  test(`checkCluster() finds ${name}`, () => {
    const faults = checkCluster({ ...right, ...change });
    assert.ok(faults.some((text) => fault.test(text)), `expected ${fault}, got ${faults.join("; ")}`);
  });
}

test("checkCluster() accepts a correct cluster", () => {
  assert.deepEqual(checkCluster(right), []);
});

testFault("a client that is left with an old version by the server which acknowledged a change", {
  reads: [...right.reads, read(1, [25, 26], { key: "a", version: 10 })],
}, /^a was left at 10, .* server 1 at 25\.0, after a\.20/);
testFault("the same at another server on that storage", {
  reads: [...right.reads, read(2, [25, 26], { key: "a", version: 10, hash: "a.10" })],
}, /^a was left at 10, .* server 2/);
testFault("a deletion that is not seen where it was acknowledged", {
  reads: [...right.reads, read(2, [45, 46], { key: "gone", version: 30 })],
}, /^gone was left at 30, .* after a deletion/);
testFault("a missing node though no client deleted it", {
  reads: [...right.reads, read(1, [25, 26], { key: "a", version: 0, hash: "" })],
}, /^a was not there .* after a\.20/);
testFault("a node that was deleted before it was written, and is not there", {
  changes: [...right.changes, deletion(1, "a", [17, 18])],
  reads: [...right.reads, read(1, [25, 26], { key: "a", version: 0, hash: "" })],
}, /^a was not there/);
testFault("a key that ends as it was before a change", {
  finals: finals({ ...Object.fromEntries(right.finals), a: { version: 10, hash: "a.10" } }),
}, /^a ended at 10, sent at 12\.0, before a\.20/);
testFault("a key that ends as it was before a deletion", {
  finals: finals({ ...Object.fromEntries(right.finals), gone: { version: 30, hash: "gone.30" } }),
}, /^gone ended at 30, .* before a deletion/);
testFault("a change that won although the other side never received it", {
  finals: finals({ ...Object.fromEntries(right.finals), both: { version: 41, hash: "both.41" } }),
}, /^both ended at 41, sent at 113\.0 by storage 1, cut off .* from both\.40/);
testFault("the same the other way round", {
  finals: finals({ ...Object.fromEntries(right.finals), both: { version: 40, hash: "both.40" } }),
}, /^both ended at 40, .* by storage 0, cut off .* from both\.41/);
testFault("a change that won over a deletion of which it cannot have known", {
  finals: finals({ ...Object.fromEntries(right.finals), half: { version: 60, hash: "half.60" } }),
}, /^half ended at 60, .* from a deletion/);
testFault("a deletion that won over a change of which it cannot have known", {
  finals: finals({ ...Object.fromEntries(right.finals), half: GONE }),
}, /^half ended deleted, but no deletion knew of half\.60/);
testFault("a key that ends deleted though no client deleted it", {
  finals: finals({ ...Object.fromEntries(right.finals), a: GONE }),
}, /^a ended deleted/);
testFault("a hash that no client wrote", {
  finals: finals({ ...Object.fromEntries(right.finals), a: { version: 21, hash: "made up" } }),
}, /^a ended as made up/);
testFault("a key without a final state", { finals: new Map() }, /^The final state of a was not read/);

test("checkCluster() accepts a change without an acknowledgement, applied or not", () => {
  const lost = { ...update(1, "a", 0, [50, Infinity]), hash: "a.lost" };
  const changes = [...right.changes, lost];
  assert.deepEqual(checkCluster({ ...right, changes }), []);
  const came = finals({ ...Object.fromEntries(right.finals), a: { version: 80, hash: "a.lost" } });
  assert.deepEqual(checkCluster({ ...right, changes, finals: came }), []);
});

/** All servers share a storage, of whose history more is known. */
const shared: Journal = {
  storages: [0, 0, 0],
  isolations: [],
  changes: [update(0, "a", 1, [10, 12]), deletion(1, "a", [20, 22]), update(2, "b", 3, [30, 32])],
  reads: [read(0, [13, 14], { key: "a", version: 1, hash: "a.1" })],
  finals: finals({ a: GONE, b: { version: 3, hash: "b.3" } }),
};

test("checkCluster() accepts a correct storage", () => {
  assert.deepEqual(checkCluster(shared), []);
});

test("checkCluster() finds a version that was seen with two hashes in one storage", () => {
  const other = read(2, [13, 14], { key: "a", version: 1, hash: "another" });
  assert.match(
    checkCluster({ ...shared, reads: [...shared.reads, other] }).join(),
    /^Version 1 of a was seen as/,
  );
});

test("checkCluster() finds a node that came back after its deletion in one storage", () => {
  const back = finals({ ...Object.fromEntries(shared.finals), a: { version: 4, hash: "\u0001a" } });
  assert.match(checkCluster({ ...shared, finals: back }).join(), /^a is there after a deletion/);
});

test("checkPiece() finds a client that missed a change, and needs no final state", () => {
  const { storages, changes, reads } = right;
  assert.deepEqual(checkPiece({ storages, changes, reads }), []);
  const left = read(2, [23, 24], { key: "a", version: 10 });
  const before = read(1, [15, 16], { key: "a", version: 10, hash: "a.10" });
  const [fault = "", ...others] = checkPiece({ storages, changes, reads: [before, left] });
  assert.match(
    fault,
    /^a was left at 10, sent at 12\.0, for a client that asked server 2 at 23\.0, after a\.20/,
  );
  assert.deepEqual(others, []);
});
