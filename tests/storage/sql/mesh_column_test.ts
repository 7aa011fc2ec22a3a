/**
 * Tests of the column `mesh`: what an SQL storage knows of other storages, as text and parsed.
 *
 * @module
 */
import fc from "fast-check";
import assert from "node:assert/strict";
import { joinVectors } from "../../../src/store/contract.ts";
import {
  EMPTY_MESH,
  formatMesh,
  joinMesh,
  type MeshState,
  parseMesh,
} from "../../../storage/sql/mesh_column.ts";
import { test } from "../../harness.ts";

const vectors = fc.array(
  fc.tuple(fc.constantFrom("a", "b", "own", "__proto__", "10", '"\\'), fc.integer({ min: 1, max: 2 ** 52 })),
).map((entries) => new Map(entries));

test("parseMesh() parses what formatMesh() formats, with any replica id", () => {
  assert.deepEqual(parseMesh(EMPTY_MESH), { vector: new Map(), collected: new Map() });
  assert.equal(formatMesh(parseMesh(EMPTY_MESH)), EMPTY_MESH);
  fc.assert(fc.property(vectors, vectors, (vector, collected) => {
    assert.deepEqual(parseMesh(formatMesh({ vector, collected })), { vector, collected });
  }));
});

test("joinMesh() joins in any order and any number of times, and drops the own replica id", () => {
  const states = fc.record({ vector: vectors, collected: vectors });
  fc.assert(fc.property(states, states, (first, second) => {
    const joinAll = (...all: MeshState[]) =>
      all.reduce((mesh, more) => joinMesh(mesh, more, "own"), parseMesh(EMPTY_MESH));
    const vector = joinVectors(first.vector, second.vector);
    vector.delete("own");
    const expected = { vector, collected: joinVectors(first.collected, second.collected) };
    assert.deepEqual(joinAll(first, second), expected);
    assert.deepEqual(joinAll(second, first, second), expected);
    assert.equal(formatMesh(joinAll(first, second, first)), formatMesh(joinAll(first, second)));
  }));
});
