/**
 * What an SQL storage keeps of the storages beside it, as text and back, and how takes are numbered.
 *
 * @module
 */
import fc from "fast-check";
import assert from "node:assert/strict";
import { marksOf } from "../../../src/store/history.ts";
import { joinVectors, type NodeMerge } from "../../../src/store/contract.ts";
import {
  adoptNotes,
  type MeshNotes,
  placeMerges,
  readNotes,
  writeNotes,
} from "../../../storage/sql/mesh_row.ts";
import { NO_MESH } from "../../../storage/sql/dialect.ts";
import { test } from "../../harness.ts";

const drawSeen = fc.array(
  fc.tuple(fc.constantFrom("a", "b", "own", "__proto__", "10", '"\\'), fc.integer({ min: 1, max: 2 ** 52 })),
).map((entries) => new Map(entries));

test("writeNotes() writes what readNotes() reads, whatever the origins are called", () => {
  assert.deepEqual(readNotes(NO_MESH), { vector: new Map(), collected: new Map() });
  assert.equal(writeNotes(readNotes(NO_MESH)), NO_MESH);
  fc.assert(fc.property(drawSeen, drawSeen, (vector, collected) => {
    assert.deepEqual(readNotes(writeNotes({ vector: vector, collected: collected })), { vector, collected });
  }));
});

test("adoptNotes() joins in any order and however often, and leaves the own origin out", () => {
  const drawNotes = fc.record({ vector: drawSeen, collected: drawSeen });
  fc.assert(fc.property(drawNotes, drawNotes, (first, second) => {
    const adopt = (...all: MeshNotes[]) =>
      all.reduce((notes, more) => adoptNotes(notes, more, "own"), readNotes(NO_MESH));
    const vector = joinVectors(first.vector, second.vector);
    vector.delete("own");
    const expected = { vector, collected: joinVectors(first.collected, second.collected) };
    assert.deepEqual(adopt(first, second), expected);
    assert.deepEqual(adopt(second, first, second), expected);
    assert.equal(writeNotes(adopt(first, second, first)), writeNotes(adopt(first, second)));
  }));
});

test("placeTakes() lifts the counter to all that come, and places own changes above it in order", () => {
  const foreign = { key: "a", version: 7, hash: "x", updatedAt: 1, replicaId: "other", dotVersion: 9 };
  const own = { key: "b", hash: "", updatedAt: 1, deleted: true } as const;
  const takes: NodeMerge[] = [
    { node: foreign, replaces: null },
    {
      node: { ...foreign, key: "c", version: 4, dotVersion: 4 },
      replaces: { version: 3, replicaId: "other" },
    },
  ];
  const { placed, bounds } = placeMerges(takes, { floor: 0, step: 1 }, 50);
  const marks = marksOf(["a", "c"]);
  assert.deepEqual(bounds, { floor: 9, step: 1, total: 0, lowest: 4, highest: 7, marks });
  assert.deepEqual(placed[0], {
    ...{ key: "a", place: 7, stamp: { version: 9, replicaId: "other" } },
    ...{ hash: "x", updatedAt: 1, expiresAt: null, replaces: null },
  });
  const owns: NodeMerge[] = [{ node: own, replaces: null, above: 20 }, {
    node: { ...own, key: "d" },
    replaces: null,
  }];
  const more = placeMerges([...takes, ...owns], { floor: 0, step: 256 }, 50);
  const [, , first, second] = more.placed;
  assert.ok(first && second);
  assert.deepEqual([more.bounds.floor, first.place, second.place, more.bounds.total], [20, 256, 512, 512]);
  assert.deepEqual([first.stamp, first.expiresAt], [null, 50]);
  assert.equal(placeMerges(owns, { floor: 1000, step: 256 }, 50).bounds.floor, 1000);
});
