import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { RealityServer } from "../../../src/server.ts";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import { Changes } from "../../../src/store/changes.ts";
import { dotOf, type ReplicatedNode } from "../../../src/store/contract.ts";
import { Groups } from "../../../src/store/groups.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import { openSQLite } from "../../../storage/sql/sqlite/sqlite_storage.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { setUp } from "./batcher_kit.ts";

/** "chat:general:42" is in "chat:general:*" and "chat:*". */
function prefixes(key: string): string[] {
  const parts = key.split(":").slice(0, -1);
  return parts.map((_, i) => [...parts.slice(0, parts.length - i), "*"].join(":"));
}

function serve(storage = new HeldStorage(), groups: (key: string) => readonly string[] = prefixes) {
  return {
    storage,
    server: new RealityServer({ storage, clock: new FakeClock(), groups, writeTokens: ["t".repeat(16)] }),
  };
}

/** The keys and versions of each commit. */
function keysOf({ commits }: HeldStorage): string[] {
  return commits.map((commit) => commit.map(({ key, unless }) => key + (unless ? "?" : "")).join(" "));
}

test("each way to change a key changes its groups in the same commit, after the key", async () => {
  const { storage, server } = serve();
  await server.updateNode("chat:general:42", "1");
  await server.updateMany([{ key: "chat:general:1", hash: "1" }, { key: "chat:2", hash: "1" }, {
    key: "alone",
    hash: "1",
  }]);
  await server.invalidate("chat:general:42");
  await server.deleteNode("chat:general:42");
  const handler = server.getFetchHandler();
  const headers = { "content-type": "application/json", authorization: `Bearer ${"t".repeat(16)}` };
  const body = JSON.stringify({ key: "chat:2", hash: "2" });
  const response = await handler(
    new Request("http://localhost/reality/update", { method: "POST", headers, body }),
  );
  deepEqual(Object.keys((await response.json()).versions), ["chat:2"]);
  deepEqual(keysOf(storage), [
    "chat:general:42 chat:general:* chat:*",
    "chat:general:1 chat:2 alone chat:general:* chat:*",
    "chat:general:42 chat:general:* chat:*",
    "chat:general:42 chat:general:* chat:*",
    "chat:2 chat:*",
  ]);
  const hashes = storage.commits.map((commit) => commit.at(-1)?.hash);
  equal(new Set(hashes).size, hashes.length);
  await server.close();
});

test("a client that follows a group is told of each change in it, and not of other changes", async () => {
  for (const storage of [new MemoryStorage(), new NaiveStorage(), openSQLite(":memory:")]) {
    const server = new RealityServer({ storage, groups: prefixes });
    await server.updateNode("chat:general:42", "1");
    const { changed } = await server.handleSync({ known: { "chat:*": 0 } });
    const version = changed["chat:*"]?.version ?? 0;
    const waiting = server.handleSync({ known: { "chat:*": version }, wait: 20_000 });
    await server.updateNode("user:7", "1");
    await server.updateMany([{ key: "chat:other:1", hash: "1" }, { key: "chat:other:2", hash: "1" }]);
    const told = (await waiting).changed["chat:*"]?.version ?? 0;
    equal(told > version, true);
    deepEqual(
      (await server.handleSync({ known: { "chat:*": told, "user:*": 1 } })).changed["chat:*"],
      undefined,
    );
    await server.close();
    if ("close" in storage) await storage.close();
  }
});

test("a group is not expanded: a change of a key that ends in * changes nothing else", async () => {
  const { storage, server } = serve(undefined, (key) => key.startsWith("a:") ? ["a:*"] : ["b:*"]);
  await server.updateNode("a:*", "1");
  await server.updateNode("a:1", "1");
  deepEqual(keysOf(storage), ["a:*", "a:1 a:*"]);
  await server.close();
});

test("a group that is changed by itself in the same commit keeps that hash, and comes after its members", async () => {
  const { storage, server } = serve();
  const metas = await server.updateMany([{ key: "chat:*", hash: "own" }, { key: "chat:1", hash: "1" }]);
  deepEqual(keysOf(storage), ["chat:1 chat:*"]);
  deepEqual(metas.map(({ key, hash }) => [key, hash]), [["chat:*", "own"], ["chat:1", "1"]]);
  await server.close();
});

test("with ifChanged, groups change only with one of their members", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), groups: prefixes });
  const version = async (key: string) => (await server.getNode(key))?.version;
  const update = (...hashes: string[]) =>
    server.updateMany(hashes.map((hash, i) => ({ key: `chat:${"ab"[i]}:1`, hash, ifChanged: true })));
  await update("1", "1");
  const before = [await version("chat:a:*"), await version("chat:b:*"), await version("chat:*")];
  await update("1", "1");
  await server.updateNode("chat:a:1", "1", { ifChanged: true });
  deepEqual([await version("chat:a:*"), await version("chat:b:*"), await version("chat:*")], before);
  const [, b] = await update("1", "2");
  equal(await version("chat:a:*"), before[0]);
  equal((await version("chat:b:*"))! > b!.version, true);
  equal((await version("chat:*"))! > b!.version, true);
  await server.close();
});

test("a group that is changed by itself with ifChanged changes with its members as well", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), groups: prefixes });
  await server.updateMany([{ key: "chat:*", hash: "own" }, { key: "chat:1", hash: "1" }]);
  const own = { key: "chat:*", hash: "own", ifChanged: true };
  const version = async () => (await server.getNode("chat:*"))!.version;
  const before = await version();
  await server.updateMany([own, { key: "chat:1", hash: "1", ifChanged: true }]);
  equal(await version(), before);
  await server.updateMany([own, { key: "chat:1", hash: "2", ifChanged: true }]);
  const between = await version();
  equal(between > before, true);
  await server.updateMany([own, { key: "chat:1", hash: "2" }]);
  equal(await version() > between, true);
  await server.close();
});

test("a change without ifChanged changes its groups, whatever other members of the commit do", async () => {
  const { storage, server } = serve();
  Object.assign(storage.features, { conditions: true });
  await server.updateMany([{ key: "chat:a", hash: "1" }, { key: "chat:b", hash: "1" }]);
  await server.updateMany([{ key: "chat:a", hash: "1", ifChanged: true }, { key: "chat:b", hash: "1" }]);
  await server.updateMany(["a", "b"].map((name) => ({ key: `chat:${name}`, hash: "1", ifChanged: true })));
  deepEqual(keysOf(storage), ["chat:a chat:b chat:*", "chat:a? chat:b chat:*", "chat:a? chat:b? chat:*?"]);
  storage.commits.length = 0;
  await server.updateMany([{ key: "chat:a", hash: "1" }, { key: "chat:b", hash: "1", ifChanged: true }]);
  deepEqual(keysOf(storage), ["chat:a chat:b? chat:*"]);
  await server.close();
});

const WRONG: [string, (key: string) => unknown, RegExp][] = [
  ["throws", () => {
    throw new Error("no room");
  }, /^Option "groups" is wrong for the key "bad": it threw "no room"$/],
  ["returns nothing", () => undefined, /for the key "bad": expected an array of keys, got nothing/],
  [
    "returns a promise",
    () => Promise.resolve([]),
    /for the key "bad": expected an array of keys, got a promise/i,
  ],
  ["returns an empty key", () => ["a:*", ""], /for the key "bad": .*empty/i],
  ["returns a number", () => [7], /for the key "bad": expected a string/],
  ["returns a key without *", () => ["all"], /for the key "bad": expected keys that end in \*, got "all"/],
  [
    "returns too many",
    () => Array.from({ length: 17 }, (_, i) => `${i}*`),
    /for the key "bad": at most 16 groups, got 17/,
  ],
];

for (const [title, groups, message] of WRONG) {
  test(`a change fails before anything is written if groups ${title}`, async () => {
    const { storage, server } = serve(undefined, (key) => (key === "bad" ? groups(key) : []) as string[]);
    const updates = [{ key: "good", hash: "1" }, { key: "bad", hash: "1" }];
    for (
      const call of [
        () => server.updateNode("bad", "1"),
        () => server.updateMany(updates),
        () => server.deleteNode("bad"),
        () => server.invalidate("bad"),
      ]
    ) {
      await rejects(call(), { name: "TypeError", message });
    }
    equal(storage.commits.length, 0);
    await server.updateNode("good", "1");
    await server.close();
  });
}

test("the option groups is refused where a key and its groups do not fit into a commit, or if it is no function", () => {
  const storage = new HeldStorage();
  Object.assign(storage.features, { maxChanges: 16 });
  const create = (groups: unknown) => () => new RealityServer({ storage, groups: groups as () => string[] });
  match(
    String(attempt(create(() => []))),
    /Option "groups" is wrong: a key and its 16 groups are one commit/,
  );
  match(String(attempt(create(["a:*"]))), /Option "groups" is wrong: expected a function/);
});

function attempt(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

test("a commit never has more changes and conditions than the storage takes, groups included", async () => {
  const { storage, writer } = setUp();
  Object.assign(storage.features, { maxChanges: 20, conditions: true });
  const groups = Array.from({ length: 4 }, (_, i) => `g${i}:*`);
  const change = (i: number) => ({ key: `k${i}`, hash: "1", updatedAt: 1, groups: [...groups, `own${i}:*`] });
  await Promise.all(writer.writeMany(Array.from({ length: 30 }, (_, i) => change(i))));
  for (const commit of storage.commits) {
    equal(commit.length <= 20 && groups.every((key) => commit.some((one) => one.key === key)), true);
  }
  storage.commits.length = 0;
  const again = Array.from({ length: 30 }, (_, i) => ({ ...change(i), ifChanged: true as const }));
  await Promise.all(writer.writeMany(again));
  for (const commit of storage.commits) equal(commit.flatMap(({ unless = [] }) => unless).length <= 20, true);
});

test("a commit that fails, and one that answers late, wakes the followers of the groups as well", async () => {
  const { clock, storage, writer, woken } = setUp();
  const change = { key: "chat:1", hash: "1", updatedAt: 1, groups: ["chat:*"] };
  storage.failure = new Error("disk full");
  await rejects(async () => await writer.write(change), /disk full/);
  storage.failure = undefined;
  const release = storage.hold();
  const refused = rejects(async () => await writer.write(change), /1000 ms/);
  await clock.advance(1000);
  await refused;
  release();
  await settle();
  deepEqual(woken, Array(3).fill(["chat:1", "chat:*"]));
});

/** Merges nodes of another storage, of which none was seen before, and returns the keys that are stored then. */
async function merge(
  nodes: ReplicatedNode[],
  stored: ReplicatedNode[] = [],
): Promise<Record<string, number>> {
  const storage = new MemoryStorage();
  const reports: string[] = [];
  const options = { clock: new FakeClock(), timeout: 1000, onOutcome: () => {} };
  const changes = new Changes(new WriteBatcher(storage, options, () => {}), new FakeClock(), {
    limits: DEFAULT_LIMITS,
    isMeshed: true,
    groups: new Groups(
      { of: (key) => key === "bad" ? undefined as never : prefixes(key) },
      DEFAULT_LIMITS,
      () => {},
    ),
    report: (error) => reports.push(error.message),
  });
  for (const some of [stored, nodes]) {
    await changes.merge(
      some,
      () => ({ merge: (node, mine) => ({ node, replaces: mine ? dotOf(mine) : null }) }),
    );
  }
  const { nodes: found } = await storage.readDelta(new Map(), 100);
  equal(reports.length, nodes.some(({ key }) => key === "bad") ? 1 : 0);
  return Object.fromEntries(
    found.map((
      { key, replicaId, version },
    ) => [key, replicaId === "other" || replicaId === "third" ? version : -1]),
  );
}

function nodeOf(key: string, version: number, replicaId = "other"): ReplicatedNode {
  return { key, version, hash: "h", updatedAt: 1, replicaId, dotVersion: version };
}

test("a node of a server without groups changes its groups here, and a node that comes with its groups does not", async () => {
  deepEqual(await merge([nodeOf("a:1", 5)]), { "a:1": 5, "a:*": -1 });
  deepEqual(await merge([nodeOf("a:1", 5), nodeOf("a:*", 6)]), { "a:1": 5, "a:*": 6 });
  deepEqual(await merge([nodeOf("a:1", 5)], [nodeOf("a:*", 6)]), { "a:1": 5, "a:*": 6 });
});

test("a change of the group before the node, or by another storage, does not stand for the node", async () => {
  deepEqual(await merge([nodeOf("a:1", 7)], [nodeOf("a:*", 6)]), { "a:1": 7, "a:*": -1 });
  deepEqual(await merge([nodeOf("a:1", 5), nodeOf("a:2", 7)], [nodeOf("a:*", 6)]), {
    "a:1": 5,
    "a:2": 7,
    "a:*": -1,
  });
  deepEqual(await merge([nodeOf("a:1", 5)], [nodeOf("a:*", 6, "third")]), { "a:1": 5, "a:*": -1 });
});

test("a merged group changes nothing else, and a key for which groups fails is merged and reported", async () => {
  deepEqual(await merge([nodeOf("a:b:*", 5)]), { "a:b:*": 5 });
  deepEqual(await merge([nodeOf("bad", 5), nodeOf("a:1", 6)]), { "bad": 5, "a:1": 6, "a:*": -1 });
});

test("several changes of a key in one commit change the groups of each", async () => {
  const { storage, writer } = setUp();
  const change = (...groups: string[]) => ({ key: "k", hash: "1", updatedAt: 1, groups });
  await Promise.all(writer.writeMany([change("a:*"), change("b:*")]));
  deepEqual(storage.commits.map((commit) => commit.map(({ key }) => key)), [["k", "a:*", "b:*"]]);
});
