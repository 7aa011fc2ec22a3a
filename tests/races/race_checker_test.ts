/**
 * The checker of races: it accepts correct races, and finds each kind of fault.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import type { Acknowledged, Page, Read, Sight } from "./journal.ts";
import { checkRace, type Race } from "./race_checker.ts";

function acknowledge(
  version: number,
  key: string,
  hash: string,
  [asked, answered]: readonly [number, number],
  written: string = hash,
): Acknowledged {
  return { kind: "acknowledged", key, hash, asked, answered, version, written };
}

function page(answered: number, ...sights: Sight[]): Page {
  return { kind: "page", answered, sights };
}

function read(asked: number, keys: readonly string[], ...sights: Sight[]): Read {
  return { kind: "read", asked, keys, sights };
}

/** Two processes, p and q, and two keys; p's second and third change went in as one. */
const right: Race = {
  acknowledged: [
    acknowledge(1, "a", "p.0", [10, 12]),
    acknowledge(2, "b", "q.0", [11, 13]),
    acknowledge(3, "a", "p.2", [20, 22]),
    acknowledge(3, "a", "p.1", [20, 22], "p.2"),
  ],
  failed: [],
  reads: [read(13, ["a", "b"], ["a", 1, "p.0"]), read(30, ["a", "c"], ["a", 3, "p.2"])],
  pages: [page(14, ["a", 1, "p.0"]), page(25, ["b", 2, "q.0"], ["a", 3, "p.2"])],
  stored: [["b", 2, "q.0"], ["a", 3, "p.2"]],
  killed: [],
  ordered: true,
};

function testFault(name: string, change: Partial<Race>, fault: RegExp): void {
  test(`checkRace() finds ${name}`, () => {
    const faults = checkRace({ ...right, ...change });
    assert.ok(faults.some((text) => fault.test(text)), `expected ${fault}, got ${faults.join("; ")}`);
  });
}

test("checkRace() accepts a correct race", () => {
  assert.deepEqual(checkRace(right), []);
});

testFault("a version that two keys have", {
  acknowledged: [...right.acknowledged, acknowledge(2, "c", "q.1", [11, 13])],
}, /^Version 2 was given to b .* and to c/);
testFault("a version that two processes received for one key", {
  acknowledged: [...right.acknowledged, acknowledge(3, "a", "q.1", [20, 22])],
}, /^Version 3 was given to a .* and to a as q.1/);
testFault("an earlier change that replaced a later one of the same moment", {
  acknowledged: [
    ...right.acknowledged.slice(0, 2),
    acknowledge(3, "a", "p.1", [20, 22]),
    acknowledge(3, "a", "p.2", [20, 22], "p.1"),
  ],
}, /^Version 3 of a holds p.1, though p.2 came later/);
testFault("a version that did not grow although its change was requested later by another process", {
  acknowledged: [...right.acknowledged, acknowledge(1.5, "c", "q.1", [14, 15])],
}, /^q.1 of c got version 1.5 after 2 was acknowledged/);
testFault("a hash that was seen under another's version", {
  reads: [read(30, ["a"], ["a", 3, "p.0"])],
}, /^Version 3 was a as p.2 and was seen as a as p.0/);
testFault("two hashes that were seen under one version that was never acknowledged", {
  reads: [read(30, ["c"], ["c", 9, "q.5"]), read(30, ["c"], ["c", 9, "q.6"])],
}, /^Version 9 was c as q.5 and was seen as c as q.6/);
testFault("a sync that received an older version", {
  reads: [read(23, ["a"], ["a", 1, "p.0"])],
}, /^A sync was told version 1 of a after 3 was acknowledged/);
testFault("a sync that did not receive an existing key", {
  reads: [read(14, ["b"])],
}, /^A sync was told version 0 of b after 2/);
testFault(
  "a change that is not stored",
  { stored: [["a", 3, "p.2"]] },
  /^b was acknowledged as 2, q.0, and is/,
);
testFault("a stored node that no process wrote", {
  stored: [["b", 2, "q.0"], ["a", 4, "p.3"]],
}, /^a was acknowledged as 3, p.2, and is stored as 4, p.3/);
testFault("a version that the history never contained", {
  pages: [page(25, ["a", 1, "p.0"], ["a", 3, "p.2"])],
}, /^Version 2 of b was never told/);
testFault("a version that the history skipped before another one replaced it", {
  pages: [page(14, ["b", 2, "q.0"]), page(25, ["a", 3, "p.2"])],
}, /^Version 1 of a was passed over, before 3/);
testFault("a history out of order", {
  pages: [page(25, ["b", 2, "q.0"], ["a", 1, "p.0"], ["a", 3, "p.2"])],
}, /^The history told version 1 after 2/);

test("checkRace() accepts changes of a killed process, or failed ones, without an acknowledgement", () => {
  const stored: Sight[] = [["b", 2, "q.0"], ["a", 4, "p.3"]];
  const pages = [...right.pages, page(40, ["a", 4, "p.3"])];
  assert.deepEqual(checkRace({ ...right, stored, pages, killed: ["p"] }), []);
  assert.deepEqual(
    checkRace({ ...right, stored, pages, failed: [{ kind: "failed", key: "a", hash: "p.3" }] }),
    [],
  );
});

test("checkRace() expects no order of a history that guarantees none", () => {
  assert.deepEqual(checkRace({ ...right, ordered: false, pages: [page(25, ["a", 3, "p.2"])] }), []);
});
