import { deepEqual, equal, ok } from "node:assert/strict";
import { systemClock } from "../../../src/clock.ts";
import { Changes } from "../../../src/store/changes.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import { type Delta, mergedBySender, type Message } from "../../../src/mesh/message.ts";
import { AntiEntropy } from "../../../src/mesh/anti_entropy.ts";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import type { MeshStorage, ReplicatedNode } from "../../../src/store/contract.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";

function setUp(storage: MeshStorage) {
  const batch = { clock: systemClock, timeout: 1_000, onOutcome: () => {} };
  const changes = new Changes(new WriteBatcher(storage, batch, () => {}), systemClock, {
    limits: DEFAULT_LIMITS,
    isMeshed: true,
    report: () => {},
  });
  const woken: (readonly string[] | null)[] = [];
  const antiEntropy = new AntiEntropy({
    storage,
    callStorage: (_operation, call) => call(),
    getChanges: () => changes,
    wake: (keys) => woken.push(keys),
  });
  return { antiEntropy, woken };
}

/** The message of a peer that has these nodes. */
function messageOf(nodes: readonly ReplicatedNode[], more: Partial<Message> = {}): Message {
  const seen = new Map<string, number>();
  for (const { replicaId, dotVersion } of nodes) {
    seen.set(replicaId, Math.max(dotVersion, seen.get(replicaId) ?? 0));
  }
  const delta = { base: new Map(), full: false, after: null, next: null, nodes };
  return {
    id: "b",
    incarnation: "r",
    replicaId: "ob",
    epoch: "zzz",
    peers: new Map(),
    vector: seen,
    delta,
    ...more,
  };
}

function nodeOf(key: string, version: number): ReplicatedNode {
  return { key, version, hash: "theirs", updatedAt: 1, replicaId: "ob", dotVersion: version };
}

test("merge() adopts the version vector after the last page, not before", async () => {
  const storage = new MemoryStorage();
  const { antiEntropy } = setUp(storage);
  const message = messageOf([nodeOf("x", 5), nodeOf("y", 7)]);
  const [x, y] = message.delta!.nodes as [ReplicatedNode, ReplicatedNode];
  const first = { ...message, delta: { ...message.delta!, nodes: [x], next: "1" } };
  const { incoming } = await antiEntropy.merge(undefined, first);
  equal((await storage.readReplicaState()).vector.has("ob"), false);
  const last = {
    ...message,
    vector: new Map([["ob", 9]]),
    delta: { ...message.delta!, nodes: [y], after: "1" },
  };
  equal((await antiEntropy.merge(undefined, last)).isMerged, false);
  await antiEntropy.merge(incoming, last);
  equal((await storage.readReplicaState()).vector.get("ob"), 7);
});

test("merge() ignores the next page after the sender, or this server, has got another storage", async () => {
  for (const replaced of ["sender", "receiver"] as const) {
    const storage = new MemoryStorage();
    const { antiEntropy } = setUp(storage);
    const message = messageOf([nodeOf("x", 5), nodeOf("y", 7)]);
    const [x] = message.delta!.nodes as [ReplicatedNode, ReplicatedNode];
    const { incoming } = await antiEntropy.merge(undefined, {
      ...message,
      delta: { ...message.delta!, nodes: [x], next: "1" },
    });
    if (replaced === "receiver") {
      const read = storage.readReplicaState.bind(storage);
      storage.readReplicaState = async () => ({ ...await read(), replicaId: "oz" });
    }
    const { isMerged } = await antiEntropy.merge(incoming, {
      ...message,
      replicaId: replaced === "sender" ? "oc" : message.replicaId,
      delta: { ...message.delta!, nodes: [], after: "1" },
    });
    equal(isMerged, false, replaced);
    equal((await storage.readReplicaState()).vector.has("ob"), false, replaced);
  }
});

test("merge() ignores a page of an earlier delta that arrives late, after the first page of another one", async () => {
  const base = new Map([["ob", 4]]);
  const late: [string, Partial<Message>, Partial<Delta>][] = [
    ["less merged", { vector: base }, {}],
    ["less collected", { collected: new Map() }, {}],
    ["a full copy", {}, { full: true }],
  ];
  for (const [name, fields, page] of late) {
    const storage = new MemoryStorage();
    const { antiEntropy } = setUp(storage);
    await antiEntropy.merge(undefined, messageOf([nodeOf("x", 3), nodeOf("y", 4)]));
    const more = { vector: new Map([["ob", 6]]), collected: new Map([["ob", 2]]) };
    const first = messageOf([nodeOf("x", 5)], more);
    const last = messageOf([nodeOf("y", 6)], more);
    const { incoming } = await antiEntropy.merge(undefined, {
      ...first,
      delta: { ...first.delta!, base, next: "1" },
    });
    const { isMerged } = await antiEntropy.merge(incoming, {
      ...last,
      ...fields,
      delta: { ...last.delta!, after: "1", nodes: [nodeOf("y", 4)], ...page },
    });
    equal(isMerged, false, name);
    equal((await storage.readReplicaState()).vector.get("ob"), 4, name);
    await antiEntropy.merge(incoming, { ...last, delta: { ...last.delta!, base, after: "1" } });
    deepEqual([(await storage.getNode("x"))?.version, (await storage.getNode("y"))?.version], [5, 6], name);
  }
});

test("merge() ignores a delta whose base is not covered here", async () => {
  const storage = new MemoryStorage();
  const { antiEntropy, woken } = setUp(storage);
  const message = messageOf([nodeOf("x", 5)]);
  const { isMerged } = await antiEntropy.merge(undefined, {
    ...message,
    delta: { ...message.delta!, base: new Map([["ob", 3]]) },
  });
  deepEqual([isMerged, woken], [false, []]);
  equal(await storage.getNode("x"), null);
});

test("merge() ignores a delta of a peer that has collected a dot that is not covered here", async () => {
  const { antiEntropy } = setUp(new MemoryStorage());
  const { isMerged } = await antiEntropy.merge(
    undefined,
    messageOf([nodeOf("x", 5)], { vector: new Map([["oa", 5], ["oc", 2]]), collected: new Map([["oc", 2]]) }),
  );
  equal(isMerged, false);
});

test("merge() merges a delta of a peer that has collected a dot which it does not cover either", async () => {
  const storage = new MemoryStorage();
  const { antiEntropy } = setUp(storage);
  const message = messageOf([nodeOf("x", 5)], {
    vector: new Map([["oa", 5]]),
    collected: new Map([["oc", 2]]),
  });
  equal((await antiEntropy.merge(undefined, message)).isMerged, true);
  const { vector, collected } = await storage.readReplicaState();
  deepEqual([vector.get("oa"), vector.get("oc"), collected.get("oc")], [5, undefined, undefined]);
});

test("merge() does not say that it has nodes which were lost when a backup was restored meanwhile", async () => {
  for (const full of [false, true]) {
    const storage = new MemoryStorage();
    const { antiEntropy } = setUp(storage);
    const mergeNodes = storage.mergeNodes.bind(storage);
    storage.mergeNodes = async (...merges) => {
      const metas = await mergeNodes(...merges);
      // Of the restored data only the other names matter here.
      await storage.newEpoch();
      return metas;
    };
    const message = messageOf([nodeOf("x", 5)], { epoch: "0", collected: new Map([["oc", 2]]) });
    await antiEntropy.merge(undefined, { ...message, delta: { ...message.delta!, full } });
    const state = await storage.readReplicaState();
    const adopted = [state.vector.has("ob"), state.collected.has("oc"), state.epoch === "0"];
    deepEqual(adopted, [false, false, false], `full: ${full}`);
  }
});

test("merge() wakes the waiters of the keys of a page, also when it fails halfway", async () => {
  const storage = new MemoryStorage();
  const { antiEntropy, woken } = setUp(storage);
  await antiEntropy.merge(undefined, messageOf([nodeOf("x", 5)]));
  deepEqual(woken.splice(0).flat(), ["x"]);
  storage.adoptVector = () => Promise.reject(new Error("away"));
  await antiEntropy.merge(undefined, messageOf([nodeOf("y", 9)])).catch(() => {});
  deepEqual(woken.flat(), ["y"]);
});

test("merge() joins a node whose deletion is collected here during the merge", async () => {
  for (const moment of ["readReplicated", "readReplicaState", "mergeNodes"] as const) {
    let now = Date.now();
    const storage = new MemoryStorage({ counter: "clock", tombstoneTimeout: 1_000, now: () => now });
    const { antiEntropy } = setUp(storage);
    await storage.applyChanges([{ key: "k", hash: "", updatedAt: now, deleted: true }]);
    const tombstone = (await storage.readReplicated(["k"])).get("k")!;
    let left = 1;
    const original = storage[moment].bind(storage) as (argument: never) => Promise<never>;
    storage[moment] = (async (argument: never) => {
      const answer = moment === "mergeNodes" ? undefined : await original(argument);
      if (left-- === 1) {
        // The tombstone has expired, and the next write of another process collects it.
        now += 2_000;
        await storage.applyChanges([{ key: "other", hash: "h", updatedAt: now }]);
      }
      return answer ?? await original(argument);
    }) as never;
    const { ownChanges } = await antiEntropy.merge(
      undefined,
      messageOf([nodeOf("k", tombstone.version - 500)]),
    );
    const node = await storage.getNode("k");
    ok(node === null || node.version > tombstone.version, `${moment}: ${JSON.stringify(node)}`);
    equal(ownChanges.length, 1, moment);
  }
});

test("merge() does not add a node whose key was changed, deleted and collected since it was merged", async () => {
  let now = Date.now();
  const storage = new MemoryStorage({ counter: "clock", tombstoneTimeout: 0, now: () => now });
  const { antiEntropy } = setUp(storage);
  const original = storage.mergeNodes.bind(storage);
  let deleted = 0;
  storage.mergeNodes = async (takes, swept) => {
    if (deleted === 0) {
      await storage.applyChanges([{ key: "k", hash: "own", updatedAt: now }]);
      const [meta] = await storage.applyChanges([{ key: "k", hash: "", updatedAt: now, deleted: true }]);
      deleted = meta!.version;
      now += 60_000;
      // Collects the tombstone: the key has no trace of the change any more.
      await storage.applyChanges([{ key: "other", hash: "h", updatedAt: now }]);
      equal((await storage.readReplicated(["k"])).size, 0);
    }
    return await original(takes, swept);
  };
  const { ownChanges } = await antiEntropy.merge(undefined, messageOf([nodeOf("k", 5)]));
  // A client that received version 5 from the peer does not know the change here: it must be told.
  const node = await storage.getNode("k");
  ok(node !== null && node.version > deleted, JSON.stringify(node));
  equal(ownChanges.length, 1);
});

test("what a storage has forgotten counts as merged, and is not adopted again", async () => {
  const storage = new MemoryStorage();
  storage.countByClock();
  const { antiEntropy } = setUp(storage);
  await storage.applyChanges([{ key: "x", hash: "mine", updatedAt: 1 }]);
  await storage.adoptVector(new Map([["ob", 9]]), "zzz", new Map([["ob", 4]]));
  const { replicaId, vector } = await storage.readReplicaState();
  await storage.forgetReplicas(new Map([["ob", 9]]), { replicaId, version: vector.get(replicaId)! });
  // A node that was replaced here, and a delta on the base that this storage tells.
  const base = new Map([["ob", 9]]);
  const message = messageOf([nodeOf("x", 5)]);
  const merged = await antiEntropy.merge(undefined, {
    ...message,
    collected: new Map([["ob", 4]]),
    delta: { ...message.delta!, base },
  });
  deepEqual([merged.isMerged, merged.written, merged.ownChanges], [true, [], []]);
  equal((await storage.getNode("x"))?.hash, "mine");
  equal((await storage.readReplicaState()).vector.has("ob"), false);
  // The same node with a later number is new, and neither knew of the other.
  const { ownChanges } = await antiEntropy.merge(undefined, messageOf([nodeOf("x", 10)]));
  deepEqual(ownChanges.map(({ key }) => key), ["x"]);
  equal((await storage.readReplicaState()).vector.get("ob"), 10);
});

test("compose() offers no nodes, and no full copy, to a peer that has merged all and forgotten a part of it", async () => {
  const storage = new MemoryStorage();
  storage.countByClock();
  const { antiEntropy } = setUp(storage);
  await storage.adoptVector(new Map([["ob", 9], ["oc", 12]]), "zzz", new Map([["ob", 4]]));
  const { vector } = await storage.readReplicaState();
  const theirs = new Map([...vector].filter(([replicaId]) => replicaId !== "ob"));
  const told = { ...messageOf([]), vector: theirs, forgotten: new Map([["ob", 9]]) };
  equal((await antiEntropy.compose(mergedBySender(told), 10)).delta, undefined);
  equal((await antiEntropy.compose(theirs, 10)).delta?.full, true);
});
