/**
 * What the counter's item of a DynamoDB table tells: written and read again, trimmed, and swept.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { MAX_COMMITS_TEXT } from "../../../storage/dynamodb/commits.ts";
import { collectedAt, collectedVersionAt, expiryOf, isCollected } from "../../../storage/dynamodb/expiry.ts";
import { nextState, trimCommits } from "../../../storage/dynamodb/next_state.ts";
import {
  completeTo,
  containsCommitsSince,
  containsDotsAfter,
  containsVersionsAfter,
  createState,
  maxReportedDot,
  type State,
  vectorOf,
} from "../../../storage/dynamodb/state.ts";
import {
  dotFields,
  indexPositionOf,
  keepIndexPosition,
  type NewNode,
} from "../../../storage/dynamodb/stored_node.ts";
import {
  bucketOf,
  compareKeys,
  formatNode,
  formatState,
  keyOf,
  parseNode,
  parseState,
} from "../../../storage/dynamodb/table.ts";
import { test } from "../../harness.ts";

const NOW = Date.UTC(2026, 0, 1);
const EMPTY = createState({ epoch: "e", replicaId: "o" }, 0);

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

test("parseState() and parseNode() parse what formatState() and formatNode() format", () => {
  const node = fc.record({
    key: fc.string({ minLength: 1, unit: "grapheme" }),
    version: fc.maxSafeNat(),
    hash: fc.string({ unit: "grapheme" }),
    updatedAt: fc.maxSafeInteger(),
  });
  const kept = fc.oneof(
    node,
    node.map((meta) => ({ ...meta, deleted: true as const })),
    fc.tuple(node, fc.integer({ min: 1, max: 2 ** 40 })).map(([meta, until]) => ({
      ...meta,
      deleted: true as const,
      until,
    })),
  );
  const origin = fc.constantFrom("o", "x", "__proto__");
  const trace = fc.record(
    { dotVersion: fc.maxSafeNat(), replicaId: origin, indexPosition: fc.maxSafeNat() },
    {
      requiredKeys: [],
    },
  );
  const stored = fc.tuple(kept, trace).map(([node, trace]) => ({
    ...node,
    ...dotFields(node.version, trace),
  }));
  const seen = fc.array(fc.tuple(origin, fc.maxSafeNat())).map((pairs) => new Map(pairs));
  const draft = fc.record({
    nodes: fc.array(stored, { maxLength: 3 }),
    counter: fc.maxSafeNat(),
    vector: seen,
    collected: seen,
    epoch: fc.string(),
  }, { requiredKeys: ["nodes", "counter"] });
  fc.assert(fc.property(fc.array(draft, { maxLength: 4 }), (drafts) => {
    let state = EMPTY;
    for (const draft of drafts) state = nextState(state, draft, NOW);
    const read = parseState(formatState(state));
    assert.deepEqual({ ...read, turn: undefined }, { ...state, turn: undefined });
    for (const node of state.commits.flatMap(({ nodes }) => nodes)) {
      assert.deepEqual(parseNode(formatNode(node)), node);
    }
  }));
});

test("containsCommitsSince() is true as far back as the item has commits", () => {
  const all = stateOf(5);
  const late = { ...all, commits: all.commits.slice(3) };
  assert.deepEqual([1, 2, 3, 4, 5].map((count) => containsCommitsSince(late, stateOf(count))), [
    false,
    false,
    true,
    true,
    true,
  ]);
  assert.equal(containsCommitsSince(late, { ...stateOf(4), replicaId: "another" }), false);
  assert.equal(containsCommitsSince(stateOf(4), all), false);
});

test("containsVersionsAfter() is true from the version before the first commit", () => {
  const all = stateOf(5);
  const late = { ...all, commits: all.commits.slice(3) };
  assert.deepEqual([0, 2, 3, 4, 5, 9].map((version) => containsVersionsAfter(late, version)), [
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
  assert.equal(containsVersionsAfter(EMPTY, 0), true);
});

test("trimCommits() keeps the commits that fit, always the last one, without a gap", () => {
  const [few] = trimCommits(stateOf(3), () => true);
  assert.equal(few.commits.length, 3);
  const [some] = trimCommits(stateOf(100), () => true);
  assert.ok(some.commits.length > 3 && some.commits.length < 20);
  assert.ok((formatState(some).commits?.S ?? "").length <= MAX_COMMITS_TEXT);
  assert.equal(some.commits.at(-1)?.revision, 100);
  const [one] = trimCommits(stateOf(4, (version) => `${version}`.repeat(600)), () => true);
  assert.equal(one.commits.length, 1);
});

test("trimCommits() keeps every commit from the first unsettled one on, and returns those that do not fit", () => {
  const state = stateOf(40);
  const [kept, unsettled] = trimCommits(state, (revision) => revision !== 12 && revision !== 39);
  assert.equal(kept.commits[0]?.revision, 12);
  assert.equal(kept.commits.length, 29);
  assert.deepEqual(unsettled.map(({ revision }) => revision), [12]);
});

test("expiryOf() is never too early, and has few different values at any time", () => {
  assert.equal(expiryOf(NOW, Infinity), undefined);
  for (const timeout of [0, 1, 1000, 3_600_000, 86_400_000, 1e15]) {
    const moments = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      const now = NOW + Math.floor(i * timeout / 1000);
      const until = expiryOf(now, timeout) ?? 0;
      assert.ok(until * 1000 >= now + timeout);
      assert.ok(until * 1000 <= now + timeout * 9 / 8 + 1000);
      moments.add(until);
    }
    assert.ok(moments.size <= 10, `${moments.size} moments`);
  }
  assert.ok(Number.isSafeInteger(expiryOf(NOW, Number.MAX_VALUE)));
});

test("nextState() collects expired tombstones once, and no others", () => {
  const [soon, late] = [NOW / 1000 + 10, NOW / 1000 + 20];
  let state = nextState(EMPTY, { nodes: [nodeOf("a", 1, soon), nodeOf("b", 2, late)], counter: 2 }, NOW);
  assert.deepEqual([state.collectedVersion, state.expiring.length], [0, 2]);
  const tombstones = state.commits[0]?.nodes ?? [];
  state = nextState(state, { nodes: [nodeOf("c", 3)], counter: 3 }, NOW + 10_000);
  const group = { until: late, version: 2, vector: new Map([["o", 2]]) };
  assert.deepEqual([state.collectedVersion, state.expiring], [1, [group]]);
  assert.deepEqual(tombstones.map((node) => isCollected(node, state, NOW + 10_000)), [true, false]);
  // There was no write since, but DynamoDB may have deleted the row.
  assert.equal(collectedVersionAt(state, NOW + 20_000), 1);
  assert.equal(collectedVersionAt(state, NOW + 20_000 + 86_400_000), 2);
});

test("nextState() records for each replica what it collects", () => {
  const until = NOW / 1000 + 10;
  const nodes = [
    nodeOf("a", 3, until),
    { ...nodeOf("b", 2, until), dotVersion: 9 },
    { ...nodeOf("c", 40, until), replicaId: "x" },
    { ...nodeOf("d", 30, until), replicaId: "x", dotVersion: 50 },
    { ...nodeOf("e", 60), replicaId: "y" },
  ];
  const state = nextState(EMPTY, { nodes, counter: 60 }, NOW);
  assert.deepEqual(collectedAt(state, NOW + 20_000), new Map());
  const expected = new Map([["o", 9], ["x", 50]]);
  assert.deepEqual(collectedAt(state, NOW + 10_000 + 86_400_000), expected);
  const collected = nextState(state, { nodes: [], counter: 60 }, NOW + 10_000);
  assert.deepEqual([collected.collected, collected.collectedVersion, collected.expiring], [expected, 40, []]);
  const [own] = nodes as [NewNode];
  assert.ok(isCollected(own, collected, NOW + 10_000));
  // One that was told of for no origin is still there.
  assert.ok(!isCollected({ ...own, replicaId: "z" }, collected, NOW + 10_000));
  assert.ok(!isCollected({ ...own, replicaId: "x", version: 3, dotVersion: 51 }, collected, NOW + 10_000));
  const adopted = nextState(
    collected,
    { nodes: [], counter: 60, collected: new Map([["x", 70], ["o", 1]]) },
    NOW,
  );
  assert.deepEqual(adopted.collected, new Map([["o", 9], ["x", 70]]));
});

test("nextState() records pending tombstones under a new replica id as well", () => {
  const until = NOW / 1000 + 10;
  const state = nextState(EMPTY, { nodes: [nodeOf("a", 3, until)], counter: 3 }, NOW);
  const renamed = nextState(state, { nodes: [], counter: 3, epoch: "f", replicaId: "p" }, NOW);
  const collected = nextState(renamed, { nodes: [], counter: 3 }, NOW + 10_000);
  assert.deepEqual(collected.collected, new Map([["o", 3], ["p", 3]]));
  assert.ok(isCollected(nodeOf("a", 3, until), collected, NOW + 10_000));
});

test("vectorOf() returns the highest own dot that is visible, and the merged dots of others", () => {
  let state = nextState(EMPTY, { nodes: [nodeOf("a", 1), nodeOf("b", 4)], counter: 9 }, NOW);
  state = nextState(state, { nodes: [{ ...nodeOf("c", 20), replicaId: "x" }], counter: 20 }, NOW);
  assert.deepEqual([vectorOf(state), state.maxVersion], [new Map([["o", 4]]), 20]);
  state = nextState(state, { nodes: [], counter: 20, vector: new Map([["x", 20], ["y", 3], ["o", 2]]) }, NOW);
  assert.deepEqual(vectorOf(state), new Map([["x", 20], ["y", 3], ["o", 4]]));
  state = nextState(state, { nodes: [{ ...nodeOf("d", 2), dotVersion: 21 }], counter: 21 }, NOW);
  assert.deepEqual([vectorOf(state).get("o"), maxReportedDot(state)], [21, 21]);
});

test("maxReportedDot() includes dots that others know, even if the storage was set back", () => {
  let state = nextState(EMPTY, { nodes: [nodeOf("a", 5)], counter: 5 }, NOW);
  state = nextState(state, { nodes: [{ ...nodeOf("b", 40), replicaId: "o" }], counter: 40 }, NOW);
  assert.deepEqual([vectorOf(state).get("o"), maxReportedDot(state)], [5, 40]);
  state = nextState(state, { nodes: [], counter: 70, vector: new Map([["o", 70]]) }, NOW);
  assert.deepEqual([vectorOf(state).get("o"), maxReportedDot(state)], [5, 70]);
  state = nextState(state, { nodes: [nodeOf("c", 71)], counter: 71 }, NOW);
  assert.deepEqual([vectorOf(state).get("o"), maxReportedDot(state), state.vector], [71, 71, new Map()]);
});

test("keepIndexPosition() puts no node below its dot or below the earlier position of its key", () => {
  const places: [NewNode, NewNode | undefined, number][] = [
    [nodeOf("a", 7), undefined, 7],
    [nodeOf("a", 7), nodeOf("a", 5), 7],
    [nodeOf("a", 5), nodeOf("a", 7), 7],
    [{ ...nodeOf("a", 5), dotVersion: 9 }, nodeOf("a", 7), 9],
    [nodeOf("a", 8), { ...nodeOf("a", 5), dotVersion: 9 }, 9],
    [nodeOf("a", 8), { ...nodeOf("a", 5), dotVersion: 9, indexPosition: 12 }, 12],
  ];
  for (const [node, other, place] of places) {
    assert.equal(indexPositionOf(keepIndexPosition(node, other)), place);
  }
});

test("completeTo() stops before every node whose index position is above its version", () => {
  const strays = fc.array(fc.tuple(fc.nat(200), fc.nat(200)), { maxLength: 30 });
  fc.assert(fc.property(strays, fc.nat(400), (pairs, place) => {
    let state = EMPTY;
    const nodes = pairs.map(([version, above], i) => ({
      ...nodeOf(`${i}`, version + 1),
      dotVersion: version + 1 + above,
    }));
    for (const node of nodes) state = nextState(state, { nodes: [node], counter: 500 }, NOW);
    assert.ok(state.displaced.length <= 8);
    const end = completeTo(state, place);
    assert.ok(end <= place);
    for (const node of nodes) assert.ok(indexPositionOf(node) <= place || node.version > end);
  }));
});

test("containsDotsAfter() is true if the item has every commit with a dot above", () => {
  let state = nextState(stateOf(5), { nodes: [{ ...nodeOf("late", 3), dotVersion: 6 }], counter: 6 }, NOW);
  state = { ...state, commits: [] };
  assert.deepEqual([4, 5, 6].map((version) => containsVersionsAfter(state, version)), [false, true, true]);
  assert.deepEqual([4, 5, 6].map((stamp) => containsDotsAfter(state, stamp)), [false, false, true]);
});

test("compareKeys() orders by bucket, then by the bytes of the keys", () => {
  const bytes = new TextEncoder();
  const key = fc.oneof(
    fc.string({ minLength: 1, unit: "binary" }),
    fc.string({ minLength: 1, unit: fc.constantFrom("a", "\u{ffff}", "\u{10000}", "\u{d7ff}", "\u{e000}") }),
  );
  fc.assert(fc.property(key, key, (a, b) => {
    const [one, other] = [bytes.encode(a), bytes.encode(b)];
    const differs = one.findIndex((byte, i) => byte !== other[i]);
    const order = differs === -1 ? one.length - other.length : (one[differs] ?? 0) - (other[differs] ?? -1);
    assert.equal(Math.sign(compareKeys(a, b)), Math.sign(bucketOf(a) - bucketOf(b) || order));
  }));
});

test("nextState() counts nodes that are published below the counter", () => {
  const state = stateOf(5);
  assert.equal(state.late, 0);
  const after = nextState(state, { nodes: [nodeOf("late", 3), nodeOf("new", 9)], counter: 9 }, NOW);
  assert.deepEqual([after.late, after.maxVersion, after.commits.at(-1)?.before], [1, 9, 5]);
});

test("keyOf() spreads keys evenly over the buckets, always in the same way", () => {
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
