/**
 * How the endurance run checks answers, deletions above all: correct answers pass, and each kind of missed
 * invalidation is found.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Acks } from "./acks.ts";
import { Record } from "./record.ts";
import { test } from "../harness.ts";

/** A key that was changed, deleted and created again: each change is requested and acknowledged 1 ms later. */
function history(): Acks {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  acks.beginDeletion("a", 200)(201);
  acks.note("a", { version: 20, asked: 300, at: 301 });
  return acks;
}

test("Acks accept answers that report each change in time", () => {
  const acks = history();
  assert.equal(acks.untold("a", 0, 50), undefined);
  assert.equal(acks.untold("a", 10, 150), undefined);
  assert.equal(acks.untold("a", 0, 250), undefined);
  assert.equal(acks.untold("a", 20, 350), undefined);
  // A change in flight may be applied or not.
  assert.equal(acks.untold("a", 10, 200.5), undefined);
  assert.equal(acks.untold("a", 0, 200.5), undefined);
  assert.equal(acks.untold("a", 20, 250), undefined);
});

test("Acks find a client that still holds a deleted key", () => {
  assert.equal(history().untold("a", 10, 250), "its deletion was acknowledged");
});

test("Acks find a client that lacks a key created again, or holds its old version", () => {
  assert.equal(history().untold("a", 0, 350), "20 was acknowledged");
  assert.equal(history().untold("a", 10, 350), "20 was acknowledged");
});

test("Acks find a client that is told of a deletion which did not happen", () => {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  assert.equal(acks.untold("a", 0, 150), "10 was acknowledged");
});

test("Acks accept a deletion without an answer as applied or not", () => {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  acks.beginDeletion("a", 200);
  assert.equal(acks.untold("a", 0, 300), undefined);
  assert.equal(acks.untold("a", 10, 300), undefined);
});

test("Acks date an invalidation by the change that caused it: a deletion, or a change after one", () => {
  const acks = history();
  assert.equal(acks.firstNews("a", 0, 10), 101);
  assert.equal(acks.firstNews("a", 10, 0), 201);
  assert.equal(acks.firstNews("a", 0, 20), 301);
  assert.equal(acks.firstNews("a", 10, 20), 301);
});

/** The violations of a client that held a version of "a", sent a sync at 250 and got an answer. */
function violationsOf(held: number, version: number): string[] {
  const record = new Record(() => {});
  const change = { key: "a", server: 0, asked: 100, answered: 101, version: 10 };
  record.change({ ...change, hash: "10", isDeletion: false });
  record.acks.beginDeletion("a", 200)(201);
  record.change({ ...change, hash: "", isDeletion: true, asked: 200, answered: 201, version: 0 });
  record.read({ server: 1, asked: 250, answered: 251, sights: [{ key: "a", version }], held: [held] });
  assert.deepEqual([record.acknowledged, record.deleted], [2, 1]);
  return record.violations.map(({ what }) => what);
}

test("Record accepts a key reported as gone, and counts a missing deletion as a violation", () => {
  assert.deepEqual(violationsOf(10, 0), []);
  const [untold, ...others] = violationsOf(10, 10);
  assert.match(untold ?? "", /its deletion was acknowledged before/);
  assert.deepEqual(others, []);
});
