/**
 * Tests of how changes and merges are placed above the counter.
 *
 * @module
 */
import assert from "node:assert/strict";
import { marksOf } from "../../../src/store/history.ts";
import type { NodeMerge } from "../../../src/store/contract.ts";
import { mergedMeta, placeMerges } from "../../../storage/sql/placement.ts";
import { test } from "../../harness.ts";

test("placeMerges() raises the counter to all versions and dots, and places own changes above it in order", () => {
  const replica = { key: "a", version: 7, hash: "x", updatedAt: 1, replicaId: "other", dotVersion: 9 };
  const own = { key: "b", hash: "", updatedAt: 1, deleted: true } as const;
  const merges: NodeMerge[] = [
    { node: replica, replaces: null },
    {
      node: { ...replica, key: "c", version: 4, dotVersion: 4 },
      replaces: { version: 3, replicaId: "other" },
    },
  ];
  const { placed, bounds } = placeMerges(merges, { floor: 0, step: 1 }, 50);
  const marks = marksOf(["a", "c"]);
  assert.deepEqual(bounds, { floor: 9, step: 1, total: 0, lowest: 4, highest: 7, marks });
  assert.deepEqual(placed[0], {
    ...{ kind: "replica", key: "a", version: 7, dot: { version: 9, replicaId: "other" } },
    ...{ hash: "x", updatedAt: 1, expiresAt: null, replaces: null },
  });
  const owns: NodeMerge[] = [{ node: own, replaces: null, above: 20 }, {
    node: { ...own, key: "d" },
    replaces: null,
  }];
  const more = placeMerges([...merges, ...owns], { floor: 0, step: 256 }, 50);
  assert.deepEqual([more.bounds.floor, more.bounds.total], [20, 512]);
  const fields = { kind: "own", hash: "", updatedAt: 1, expiresAt: 50, replaces: null };
  assert.deepEqual(more.placed.slice(2), [
    { ...fields, key: "b", offset: 256 },
    { ...fields, key: "d", offset: 512 },
  ]);
  assert.equal(placeMerges(owns, { floor: 1000, step: 256 }, 50).bounds.floor, 1000);
});

test("mergedMeta() keeps a replica's version, and adds an own change's offset to the base", () => {
  const fields = { key: "a", hash: "x", updatedAt: 1, replaces: null } as const;
  const replica = {
    ...{ kind: "replica", version: 7, dot: { version: 9, replicaId: "other" } } as const,
    ...{ ...fields, expiresAt: null },
  };
  assert.deepEqual(mergedMeta(replica, 1000), { key: "a", version: 7, hash: "x", updatedAt: 1 });
  const own = { kind: "own", offset: 256, ...fields, hash: "", expiresAt: 50 } as const;
  const deleted = { key: "a", version: 1256, hash: "", updatedAt: 1, deleted: true };
  assert.deepEqual(mergedMeta(own, 1000), deleted);
});
