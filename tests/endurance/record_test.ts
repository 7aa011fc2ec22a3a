/**
 * How the endurance run judges what a client is told, deletions above all: right answers pass, and each kind of missed
 * news is found.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Acks } from "./acks.ts";
import { Record } from "./record.ts";
import { test } from "../harness.ts";

/** A key that was changed, deleted and made anew: each row is asked for and acknowledged a moment later. */
function history(): Acks {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  acks.beginDeletion("a", 200)(201);
  acks.note("a", { version: 20, asked: 300, at: 301 });
  return acks;
}

test("Acks find nothing wrong with who is told of each change in its time", () => {
  const acks = history();
  assert.equal(acks.untold("a", 0, 50), undefined);
  assert.equal(acks.untold("a", 10, 150), undefined);
  assert.equal(acks.untold("a", 0, 250), undefined);
  assert.equal(acks.untold("a", 20, 350), undefined);
  // What is under way may be there already, or not yet.
  assert.equal(acks.untold("a", 10, 200.5), undefined);
  assert.equal(acks.untold("a", 0, 200.5), undefined);
  assert.equal(acks.untold("a", 20, 250), undefined);
});

test("Acks find who is left with a key that was deleted", () => {
  assert.equal(history().untold("a", 10, 250), "its deletion was acknowledged");
});

test("Acks find who is left with nothing, or with the old version, of a key that was made anew", () => {
  assert.equal(history().untold("a", 0, 350), "20 was acknowledged");
  assert.equal(history().untold("a", 10, 350), "20 was acknowledged");
});

test("Acks find who is told that a key is gone which nobody deleted since", () => {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  assert.equal(acks.untold("a", 0, 150), "10 was acknowledged");
});

test("Acks let a deletion without an answer be there or not", () => {
  const acks = new Acks();
  acks.note("a", { version: 10, asked: 100, at: 101 });
  acks.beginDeletion("a", 200);
  assert.equal(acks.untold("a", 0, 300), undefined);
  assert.equal(acks.untold("a", 10, 300), undefined);
});

test("Acks date news by the change that made it: a deletion, or what came after one", () => {
  const acks = history();
  assert.equal(acks.firstNews("a", 0, 10), 101);
  assert.equal(acks.firstNews("a", 10, 0), 201);
  assert.equal(acks.firstNews("a", 0, 20), 301);
  assert.equal(acks.firstNews("a", 10, 20), 301);
});

/** What a record says of a client that held a version of "a", asked at 250 and was answered. */
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

test("Record takes a key that is told as gone for no step back, and a server that keeps quiet for a violation", () => {
  assert.deepEqual(violationsOf(10, 0), []);
  const [untold, ...others] = violationsOf(10, 10);
  assert.match(untold ?? "", /its deletion was acknowledged before/);
  assert.deepEqual(others, []);
});
