/**
 * What the counter's item of a DynamoDB table tells: written and read again, trimmed, and swept.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  createState,
  isSwept,
  MAX_COMMITS_TEXT,
  type NewNode,
  nextState,
  type State,
  sweptVersionAt,
  tellsAfter,
  tellsSince,
  trimCommits,
  untilWhen,
} from "../../../storage/dynamodb_state.ts";
import { formatNode, formatState, keyOf, parseNode, parseState } from "../../../storage/dynamodb_table.ts";
import { test } from "../../harness.ts";

const NOW = Date.UTC(2026, 0, 1);
const EMPTY = createState({ epoch: "e", origin: "o" }, 0);

function nodeOf(key: string, version: number, until?: number): NewNode {
  const node = { key, version, hash: "h", updatedAt: NOW };
  return until === undefined ? node : { ...node, deleted: true, until };
}

/** A state after commits of one node each. */
function stateOf(count: number, key: (version: number) => string = (version) => `key:${version}`): State {
  let state = EMPTY;
  for (let version = 1; version <= count; version++) {
    state = nextState(state, { nodes: [nodeOf(key(version), version)], counter: version }, NOW);
  }
  return state;
}

test("parseState() and parseNode() read what formatState() and formatNode() wrote", () => {
  const node = fc.record({
    key: fc.string({ minLength: 1, unit: "grapheme" }),
    version: fc.maxSafeNat(),
    hash: fc.string({ unit: "grapheme" }),
    updatedAt: fc.maxSafeInteger(),
  });
  const stored = fc.oneof(
    node,
    node.map((meta) => ({ ...meta, deleted: true as const })),
    fc.tuple(node, fc.integer({ min: 1, max: 2 ** 40 })).map(([meta, until]) => ({
      ...meta,
      deleted: true as const,
      until,
    })),
  );
  fc.assert(fc.property(fc.array(fc.array(stored, { maxLength: 3 }), { maxLength: 4 }), (drafts) => {
    let state = EMPTY;
    for (const nodes of drafts) state = nextState(state, { nodes, counter: state.counter }, NOW);
    const read = parseState(formatState(state));
    assert.deepEqual({ ...read, turn: undefined }, { ...state, turn: undefined });
    for (const node of state.commits.flatMap(({ nodes }) => nodes)) {
      assert.deepEqual(parseNode(formatNode(node)), node);
    }
  }));
});

test("tellsSince() is true as far back as commits are told", () => {
  const all = stateOf(5);
  const late = { ...all, commits: all.commits.slice(3) };
  assert.deepEqual([1, 2, 3, 4, 5].map((count) => tellsSince(late, stateOf(count))), [
    false,
    false,
    true,
    true,
    true,
  ]);
  assert.equal(tellsSince(late, { ...stateOf(4), epoch: "another" }), false);
  assert.equal(tellsSince(stateOf(4), all), false);
});

test("tellsAfter() is true from the version before the first commit told", () => {
  const all = stateOf(5);
  const late = { ...all, commits: all.commits.slice(3) };
  assert.deepEqual([0, 2, 3, 4, 5, 9].map((version) => tellsAfter(late, version)), [
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
  assert.equal(tellsAfter(EMPTY, 0), true);
});

test("trimCommits() keeps what fits, the last commit always, and none out of the middle", () => {
  const [few] = trimCommits(stateOf(3), () => true);
  assert.equal(few.commits.length, 3);
  const [some] = trimCommits(stateOf(100), () => true);
  assert.ok(some.commits.length > 3 && some.commits.length < 20);
  assert.ok((formatState(some).commits?.S ?? "").length <= MAX_COMMITS_TEXT);
  assert.equal(some.commits.at(-1)?.revision, 100);
  const [one] = trimCommits(stateOf(4, (version) => `${version}`.repeat(600)), () => true);
  assert.equal(one.commits.length, 1);
});

test("trimCommits() keeps every commit from the first one on that is not settled, and names those too many", () => {
  const state = stateOf(40);
  const [kept, unsettled] = trimCommits(state, (revision) => revision !== 12 && revision !== 39);
  assert.equal(kept.commits[0]?.revision, 12);
  assert.equal(kept.commits.length, 29);
  assert.deepEqual(unsettled.map(({ revision }) => revision), [12]);
});

test("untilWhen() is never too early, and few moments lie ahead at any time", () => {
  assert.equal(untilWhen(NOW, Infinity), undefined);
  for (const timeout of [0, 1, 1000, 3_600_000, 86_400_000, 1e15]) {
    const moments = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      const now = NOW + Math.floor(i * timeout / 1000);
      const until = untilWhen(now, timeout) ?? 0;
      assert.ok(until * 1000 >= now + timeout);
      assert.ok(until * 1000 <= now + timeout * 9 / 8 + 1000);
      moments.add(until);
    }
    assert.ok(moments.size <= 10, `${moments.size} moments`);
  }
  assert.ok(Number.isSafeInteger(untilWhen(NOW, Number.MAX_VALUE)));
});

test("nextState() sweeps what is over, once, and never what is not", () => {
  const [soon, late] = [NOW / 1000 + 10, NOW / 1000 + 20];
  let state = nextState(EMPTY, { nodes: [nodeOf("a", 1, soon), nodeOf("b", 2, late)], counter: 2 }, NOW);
  assert.deepEqual([state.sweptVersion, state.graves.length], [0, 2]);
  const tombstones = state.commits[0]?.nodes ?? [];
  state = nextState(state, { nodes: [nodeOf("c", 3)], counter: 3 }, NOW + 10_000);
  assert.deepEqual([state.sweptVersion, state.graves], [1, [{ until: late, version: 2 }]]);
  assert.deepEqual(tombstones.map((node) => isSwept(node, state.sweptVersion, NOW + 10_000)), [true, false]);
  // Nobody wrote since, yet DynamoDB may have taken it away.
  assert.equal(sweptVersionAt(state, NOW + 20_000), 1);
  assert.equal(sweptVersionAt(state, NOW + 20_000 + 86_400_000), 2);
});

test("nextState() counts nodes that take their place in the past", () => {
  const state = stateOf(5);
  assert.equal(state.late, 0);
  const after = nextState(state, { nodes: [nodeOf("late", 3), nodeOf("new", 9)], counter: 9 }, NOW);
  assert.deepEqual([after.late, after.maxVersion, after.commits.at(-1)?.before], [1, 9, 5]);
});

test("keyOf() spreads keys evenly over the buckets, the same way for ever", () => {
  const counts = new Map<string, number>();
  for (let i = 0; i < 16_000; i++) {
    const bucket = keyOf(`chat:room:${i}`).bucket?.S ?? "";
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  assert.equal(counts.size, 16);
  assert.ok([...counts.values()].every((count) => count > 800 && count < 1200));
  const keys = ["a", "chat:room:general", "😀", "__proto__"];
  assert.deepEqual(keys.map((key) => keyOf(key).bucket?.S), ["0", "4", "9", "c"]);
});
