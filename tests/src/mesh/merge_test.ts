import assert from "node:assert/strict";
import fc from "fast-check";
import {
  changesOf,
  fingerprintOf,
  JOIN_MARK,
  joinedHash,
  mergeMissing,
  mergeNode,
  unite,
} from "../../../src/mesh/merge.ts";
import {
  coversVector,
  dotOf,
  includesDot,
  isSameDot,
  type NodeMerge,
  type ReplicatedNode,
  RESIDUES,
  type VersionVector,
} from "../../../src/store/contract.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";

const NONE: VersionVector = new Map();

/** Two storages that do not know each other. */
const STRANGERS = { mine: NONE, theirs: NONE, collected: NONE };

function node(version: number, origin: string, rest: Partial<ReplicatedNode> = {}): ReplicatedNode {
  return {
    key: "k",
    version,
    hash: `${version}${origin}`,
    updatedAt: version,
    replicaId: origin,
    dotVersion: version,
    ...rest,
  };
}

/** The node of a storage after a merge. A new change gets the storage's next number. */
function written(
  take: NodeMerge | null,
  mine: ReplicatedNode | undefined,
  origin: string,
): ReplicatedNode | undefined {
  if (take === null) return mine;
  if ("replicaId" in take.node) return take.node;
  const version = (take.above ?? 0) + 1;
  return { ...take.node, version, dotVersion: version, replicaId: origin };
}

/** Numbers as storages assign them: those of one storage have the same remainder. */
const numbers = fc.integer({ min: 1, max: 9 }).map((count) => count * RESIDUES);
const changes = fc.uniqueArray(fc.tuple(numbers, fc.constantFrom("a", "b", "c")), {
  selector: String,
  minLength: 1,
  maxLength: 40,
});
/** Nodes of one key, by applications or joined. */
const nodes = fc.tuple(
  changes,
  fc.integer({ min: 10 * RESIDUES, max: 99 * RESIDUES }),
  fc.constantFrom("a", "b", "c"),
  fc.boolean(),
)
  .map(([all, version, origin, deleted]) => {
    const [[number, by]] = all as [[number, string], ...[number, string][]];
    const rest: Partial<ReplicatedNode> = deleted ? { deleted: true } : {};
    if (all.length === 1) return node(number, by, deleted ? { ...rest, hash: "" } : rest);
    const prints = all.map(([version, origin]) => fingerprintOf({ version, replicaId: origin }));
    return node(version, origin, { ...rest, hash: joinedHash(unite(prints, [])) });
  });

/** Leaves out impossible pairs: two different nodes with one dot. */
function assumeStamps(...nodes: ReplicatedNode[]): void {
  fc.pre(nodes.every((a) => nodes.every((b) => a === b || !isSameDot(dotOf(a), dotOf(b)))));
}

test("mergeNode() joins two nodes to the same changes on both sides", () => {
  fc.assert(fc.property(nodes, nodes, (a, b) => {
    assumeStamps(a, b);
    const [left, right] = [mergeNode(a, b, STRANGERS), mergeNode(b, a, STRANGERS)];
    const [here, there] = [written(left, b, "x"), written(right, a, "y")];
    assert.deepEqual(changesOf(here!), changesOf(there!));
    assert.equal(here!.deleted, there!.deleted);
    // Either both keep the same node, or both write a hash that is the same.
    assert.equal(here!.hash, there!.hash);
  }));
});

test("mergeNode() joins three nodes to the same hash in any order", () => {
  fc.assert(fc.property(nodes, nodes, nodes, (a, b, c) => {
    const pair = (x: ReplicatedNode, y: ReplicatedNode) => written(mergeNode(x, y, STRANGERS), y, "x")!;
    assumeStamps(a, b, c);
    const all = unite(unite(changesOf(a), changesOf(b)), changesOf(c));
    assert.deepEqual(changesOf(pair(pair(a, b), c)), all);
    assert.deepEqual(changesOf(pair(a, pair(b, c))), all);
  }));
});

test("mergeNode() keeps a joined node when it is merged with a change that it stands for, whatever its version", () => {
  fc.assert(fc.property(nodes, nodes, (a, b) => {
    assumeStamps(a, b);
    const joined = written(mergeNode(a, b, STRANGERS), b, "x")!;
    for (const part of [a, b, joined]) {
      if (part.version < joined.version) assert.equal(mergeNode(part, joined, STRANGERS), null);
      else {assert.deepEqual(
          changesOf(written(mergeNode(part, joined, STRANGERS), joined, "y")!),
          changesOf(joined),
        );}
    }
  }));
});

test("mergeNode() assigns a version above both, unless the higher one stands for all changes", () => {
  fc.assert(fc.property(nodes, nodes, (a, b) => {
    assumeStamps(a, b);
    const kept = written(mergeNode(a, b, STRANGERS), b, "x")!;
    const highest = Math.max(a.version, b.version);
    assert.ok(kept.version >= highest);
    const lacks = (node: ReplicatedNode) => changesOf(kept).some((print) => !changesOf(node).includes(print));
    for (const side of [a, b]) if (lacks(side)) assert.notEqual(kept.version, side.version);
  }));
});

test("mergeNode() keeps a node that was deleted on one side only", () => {
  fc.assert(fc.property(nodes, nodes, (a, b) => {
    const take = mergeNode(a, b, STRANGERS);
    if (take === null || "replicaId" in take.node) return;
    assert.equal(take.node.deleted === true, a.deleted === true && b.deleted === true);
    assert.ok(take.node.hash.startsWith(JOIN_MARK));
  }));
});

test("mergeNode() writes a new node unchanged, and one whose sender knew the node here", () => {
  const [mine, theirs] = [node(3, "here"), node(2, "there")];
  assert.deepEqual(mergeNode(theirs, undefined, STRANGERS), { node: theirs, replaces: null });
  const knew = { ...STRANGERS, theirs: new Map([["here", 3]]) };
  assert.deepEqual(mergeNode(theirs, mine, knew), { node: theirs, replaces: dotOf(mine) });
});

test("mergeNode() ignores a node whose dot is covered or already here", () => {
  const [mine, theirs] = [node(3, "here"), node(2, "there")];
  assert.equal(mergeNode(theirs, mine, { ...STRANGERS, mine: new Map([["there", 2]]) }), null);
  assert.equal(mergeNode(theirs, undefined, { ...STRANGERS, mine: new Map([["there", 2]]) }), null);
  assert.equal(mergeNode(mine, mine, STRANGERS), null);
});

test("mergeNode() joins a node with a collected deletion that its sender did not know", () => {
  const theirs = node(5, "there");
  const take = mergeNode(theirs, undefined, { ...STRANGERS, collected: new Map([["here", 7]]) });
  assert.ok(
    take !== null && !("replicaId" in take.node) && take.node.hash !== theirs.hash && take.above === 5,
  );
  const heard = { ...STRANGERS, collected: new Map([["here", 7]]), theirs: new Map([["here", 7]]) };
  assert.deepEqual(mergeNode(theirs, undefined, heard), { node: theirs, replaces: null });
});

test("mergeNode() joins a node with a tombstone if such a deletion was collected as well", () => {
  const [theirs, mine] = [node(5, "there"), node(4, "here", { hash: "", deleted: true })];
  const collected = new Map([["elsewhere", 7]]);
  const take = mergeNode(theirs, mine, {
    ...STRANGERS,
    theirs: new Map([["here", 4]]),
    collected,
  });
  assert.ok(take !== null && !("replicaId" in take.node) && !take.node.deleted && take.above === 5);
  const heard = { ...STRANGERS, theirs: new Map([["here", 4], ["elsewhere", 7]]), collected };
  assert.deepEqual(mergeNode(theirs, mine, heard), { node: theirs, replaces: dotOf(mine) });
});

test("mergeMissing() deletes a node that the sender of a full copy knew", () => {
  const mine = node(5, "here");
  const take = mergeMissing(mine, { ...STRANGERS, theirs: new Map([["here", 5]]) });
  assert.ok(take !== null && !("replicaId" in take.node) && take.node.deleted);
  assert.deepEqual(take.replaces, dotOf(mine));
});

test("mergeMissing() creates tombstones of a collected deletion that stand for the same changes on all servers", () => {
  const lost = node(5, "here");
  const knowledge = { ...STRANGERS, theirs: new Map([["here", 5]]), collected: new Map([["there", 9]]) };
  const a = written(mergeMissing(lost, knowledge), lost, "a")!;
  const b = written(mergeMissing(lost, knowledge), lost, "b")!;
  assert.ok(a.deleted && b.deleted);
  assert.deepEqual(changesOf(a), changesOf(b));
  const [low, high] = a.version < b.version || a.version === b.version && a.replicaId > b.replicaId
    ? [a, b]
    : [b, a];
  assert.equal(mergeNode(low, high, STRANGERS), null);
  assert.deepEqual(mergeNode(high, low, STRANGERS), { node: high, replaces: dotOf(low) });
});

test("mergeMissing() joins a node once with a deletion that the sender of a full copy may have collected", () => {
  const mine = node(5, "here");
  const knowledge = { ...STRANGERS, collected: new Map([["there", 7]]) };
  const anew = written(mergeMissing(mine, knowledge), mine, "here")!;
  assert.ok(anew.version > mine.version && !anew.deleted);
  assert.equal(mergeMissing(anew, knowledge), null);
  assert.equal(mergeMissing(mine, { ...knowledge, mine: new Map([["there", 7]]) }), null);
  assert.equal(mergeMissing(node(5, "here", { deleted: true }), knowledge), null);
});

test("changesOf() lists as many changes as a hash can hold, and one fingerprint for more", () => {
  const prints = Array.from({ length: 22 }, (_, i) => fingerprintOf({ version: 2 ** 52, replicaId: `${i}` }));
  const hash = (count: number) => joinedHash(unite(prints.slice(0, count), []));
  assert.equal(changesOf(node(9, "x", { hash: hash(21) })).length, 21);
  assert.equal(changesOf(node(9, "x", { hash: hash(22) })).length, 1);
  for (const count of [2, 21, 22]) assert.ok(new TextEncoder().encode(hash(count)).length <= 256);
});

test("unite() keeps the last change of each replica, as the numbers say", () => {
  fc.assert(fc.property(fc.array(fc.nat(2 ** 44), { minLength: 1 }), (counts) => {
    const prints = counts.map((count) => fingerprintOf({ version: count * RESIDUES + 7, replicaId: "a" }));
    const last = fingerprintOf({ version: Math.max(...counts) * RESIDUES + 7, replicaId: "a" });
    assert.deepEqual(unite(prints, []), [last]);
    const other = fingerprintOf({ version: 7, replicaId: "b" });
    assert.deepEqual(unite(prints, [other]), [last, other].sort());
  }));
});

test("a later change of a replica does not stand for a deletion of it that was collected elsewhere", () => {
  // Who collected a tombstone of "there" need not have merged all its earlier changes, of this key among them.
  const collected = new Map([["there", 9 * RESIDUES]]);
  const joined = written(mergeNode(node(5, "here"), undefined, { ...STRANGERS, collected }), undefined, "x")!;
  for (const number of [8, 9, 10]) {
    const theirs = node(number * RESIDUES, "there");
    const both = written(mergeNode(theirs, joined, STRANGERS), joined, "y")!;
    assert.equal(changesOf(both).length, 3);
    assert.ok(both.version > Math.max(theirs.version, joined.version));
  }
});

test("fingerprintOf() differs for different dots", () => {
  const prints = new Set<string>();
  for (let version = 1; version <= 5000; version++) {
    for (const origin of ["a", "b", "ab"]) prints.add(fingerprintOf({ version, replicaId: origin }));
  }
  assert.equal(prints.size, 15_000);
});

/** One step of three storages: a change, a deletion, or a delta from one to another with an earlier base. */
type Move =
  | { readonly kind: "write" | "delete"; readonly at: number; readonly key: string }
  | { readonly kind: "send"; readonly at: number; readonly to: number }
  | { readonly kind: "receive"; readonly letter: number };

const places = fc.nat(2);
const keys = fc.constantFrom("k", "l");
const moves: fc.Arbitrary<Move[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom("write" as const, "delete" as const), at: places, key: keys }),
    fc.record({ kind: fc.constant("send" as const), at: places, to: places }),
    fc.record({ kind: fc.constant("receive" as const), letter: fc.nat(30) }),
  ),
  { maxLength: 40 },
);

interface Letter {
  readonly to: number;
  readonly base: VersionVector;
  readonly vector: VersionVector;
  readonly epoch: string;
  readonly nodes: readonly ReplicatedNode[];
}

async function write(from: MemoryStorage, base: VersionVector, to: number): Promise<Letter> {
  const { vector, epoch, nodes } = await from.readDelta(base, 1000);
  return { to, base, vector, epoch, nodes };
}

async function read(here: MemoryStorage, { base, vector, epoch, nodes }: Letter): Promise<void> {
  const { vector: mine, collected } = await here.readReplicaState();
  if (!coversVector(mine, base)) return;
  for (const node of nodes) {
    const own = (await here.readReplicated([node.key])).get(node.key);
    const take = mergeNode(node, own, { mine, theirs: vector, collected });
    if (take !== null) await here.mergeNodes([take]);
  }
  await here.adoptVector(vector, epoch);
}

async function stateOf(storage: MemoryStorage): Promise<unknown> {
  const { nodes, vector, epoch } = await storage.readDelta(NONE, 1000);
  const known = [...vector].filter(([, stamp]) => stamp > 0).sort();
  return { nodes: [...nodes].sort((a, b) => a.key < b.key ? -1 : 1), known, epoch };
}

test("deltas merged in any order, late and repeatedly, converge on all servers", async () => {
  await fc.assert(
    fc.asyncProperty(moves, async (moves) => {
      let now = Date.UTC(2026, 0, 1);
      const storages = [0, 1, 2].map(() => new MemoryStorage({ counter: "clock", now: () => now }));
      const letters: Letter[] = [];
      for (const [i, move] of moves.entries()) {
        now += i % 3;
        if (move.kind === "receive") {
          const letter = letters[move.letter % Math.max(1, letters.length)];
          if (letter) await read(storages[letter.to]!, letter);
        } else if (move.kind === "send") {
          const { vector } = await storages[move.to]!.readReplicaState();
          letters.push(await write(storages[move.at]!, vector, move.to));
        } else {
          const change = { key: move.key, updatedAt: now };
          await storages[move.at]!.applyChanges([
            move.kind === "delete" ? { ...change, hash: "", deleted: true } : { ...change, hash: `w${i}` },
          ]);
        }
      }
      for (let round = 0; round < 4; round++) {
        for (const [from, to] of [[0, 1], [1, 2], [2, 0], [1, 0], [2, 1], [0, 2]] as const) {
          const { vector } = await storages[to]!.readReplicaState();
          await read(storages[to]!, await write(storages[from]!, vector, to));
        }
      }
      const [first, ...others] = await Promise.all(storages.map(stateOf));
      const isSomething = moves.some(({ kind }) => kind === "write" || kind === "delete");
      if (isSomething) { for (const other of others) assert.deepEqual(other, first); }
      const { nodes, vector } = await storages[0]!.readDelta(NONE, 1000);
      for (const node of nodes) assert.ok(includesDot(vector, dotOf(node)));
      // Delivering all deltas once more changes nothing.
      for (const letter of letters) await read(storages[letter.to]!, letter);
      assert.deepEqual(await stateOf(storages[0]!), first);
    }),
    { numRuns: 200 },
  );
});

test("storages stop joining a key that all of them have changed many times at once", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = new SeededRandom(`joins ${seed}`);
  const now = Date.UTC(2026, 0, 1);
  const storages = Array.from({ length: 12 }, (_, i) => new MemoryStorage({ now: () => now + i }));
  for (const storage of storages) storage.countByClock();
  const isOutdated = new Set<string>();
  const letters = new Map<string, Letter>();
  /** As in a mesh, one message at a time is on its way between two storages. */
  const send = async (from: number, to: number) => {
    const pair = `${from} ${to}`;
    if (letters.has(pair)) return void isOutdated.add(pair);
    isOutdated.delete(pair);
    const { vector } = await storages[to]!.readReplicaState();
    letters.set(pair, await write(storages[from]!, vector, to));
  };
  const tellAll = async (from: number) => {
    for (const to of storages.keys()) if (to !== from) await send(from, to);
  };
  let changes = 0;
  for (let delivered = 0; changes < 300 || letters.size > 0; delivered++) {
    assert.ok(delivered < 20_000, `They still join nodes after ${delivered} messages, with seed ${seed}`);
    if (changes < 300) {
      const at = random.between(0, 11);
      await storages[at]!.applyChanges([{ key: "k", hash: `w${changes++}`, updatedAt: now }]);
      await tellAll(at);
    }
    const [pair, letter] = random.pick([...letters]);
    letters.delete(pair);
    const storage = storages[letter.to]!;
    await storage.avoidResidues(letter.vector);
    const { maxVersion } = await storage.readReplicaState();
    await read(storage, letter);
    const node = (await storage.readReplicated(["k"])).get("k");
    const { replicaId } = await storage.getIdentity();
    const isJoined = node !== undefined && node.version > maxVersion && node.replicaId === replicaId;
    if (isJoined) await tellAll(letter.to);
    if (isOutdated.has(pair)) await send(Number(pair.split(" ")[0]), letter.to);
  }
  const found = await Promise.all(
    storages.map(async (storage) => (await storage.readReplicated(["k"])).get("k")),
  );
  for (const node of found) assert.deepEqual(node, found[0], `seed ${seed}`);
});
