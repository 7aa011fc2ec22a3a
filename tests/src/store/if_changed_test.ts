import { deepEqual, equal, rejects } from "node:assert/strict";
import type { RealityServerOptions } from "../../../src/options.ts";
import { RealityServer } from "../../../src/server.ts";
import type { AppliedMeta, NodeChange } from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { FakeIORedis, FakeRedis } from "../redis/fake_redis.ts";
import { type Batchers, setUp as setUpBatchers } from "./batcher_kit.ts";

/** A writer on a storage that decides conditions, in which the node "a" has the hash A. */
async function setUp(
  storage?: HeldStorage,
): Promise<Batchers & { ifChanged: (hash: string) => Promise<RealityNodeMeta> }> {
  const batchers = setUpBatchers(storage);
  Object.assign(batchers.storage.features, { conditions: true });
  await batchers.update("a", "A");
  batchers.woken.length = batchers.storage.commits.length = 0;
  const ifChanged = async (hash: string) =>
    await batchers.writer.write({ key: "a", hash, updatedAt: batchers.clock.now(), ifChanged: true });
  return { ...batchers, ifChanged };
}

/** The commits, each change as key=hash, with ? where it has a condition. */
function commitsOf({ storage }: Batchers): string[] {
  return storage.commits.map((commit) =>
    commit.map(({ key, hash, unless }) => `${key}=${hash}${unless ? "?" : ""}`).join()
  );
}

test("a change with ifChanged to the stored hash wakes no client and returns the stored meta", async () => {
  const { clock, storage, ifChanged, woken } = await setUp();
  const stored = await storage.getNode("a");
  await clock.advance(10);
  deepEqual(await ifChanged("A"), stored);
  deepEqual(woken, []);
  equal(await storage.getMaxVersion(), 1);
  equal((await ifChanged("B")).version, 2);
  deepEqual(woken, [["a"]]);
});

test("of several changes in one commit, only the written ones wake waiters", async () => {
  const { ifChanged, update, woken } = await setUp();
  const [same, other] = await Promise.all([ifChanged("A"), update("b", "1")]);
  deepEqual([same.version, other.version], [1, 3]);
  deepEqual(woken, [["b"]]);
});

const MERGES: [string, (batchers: Awaited<ReturnType<typeof setUp>>) => Promise<unknown>[], string][] = [
  ["B, then A with ifChanged", ({ update, ifChanged }) => [update("a", "B"), ifChanged("A")], "a=A"],
  ["A, then A with ifChanged", ({ update, ifChanged }) => [update("a", "A"), ifChanged("A")], "a=A"],
  ["B with ifChanged, then A with ifChanged", ({ ifChanged }) => [ifChanged("B"), ifChanged("A")], "a=A"],
  ["A, B and A, each with ifChanged", ({ ifChanged }) => ["A", "B", "A"].map(ifChanged), "a=A"],
  ["A with ifChanged, then A", ({ update, ifChanged }) => [ifChanged("A"), update("a", "A")], "a=A"],
  ["a deletion, then A with ifChanged", ({ writer, ifChanged }) => [
    Promise.resolve(writer.write({ key: "a", hash: "", updatedAt: 1, deleted: true })),
    ifChanged("A"),
  ], "a=A"],
  ["A with ifChanged twice", ({ ifChanged }) => [ifChanged("A"), ifChanged("A")], "a=A?"],
];

for (const [title, make, commit] of MERGES) {
  test(`${title}, in one commit: ${commit.endsWith("?") ? "remains conditional" : "written in any case"}`, async () => {
    const batchers = await setUp();
    await Promise.all(make(batchers));
    deepEqual(commitsOf(batchers), [commit]);
    equal(await batchers.storage.getMaxVersion(), commit.endsWith("?") ? 1 : 2);
  });
}

test("a change with ifChanged waits for an unanswered change of its key, and finds what that wrote", async () => {
  const batchers = await setUp();
  const { storage, update, ifChanged } = batchers;
  const release = storage.hold();
  const changes = [update("a", "B")];
  await settle();
  changes.push(ifChanged("A"));
  await settle();
  release();
  const metas = await Promise.all(changes);
  deepEqual(metas.map(({ version, hash }) => [version, hash]), [[2, "B"], [3, "A"]]);
  deepEqual(commitsOf(batchers), ["a=B", "a=A?"]);
});

test("after a change that failed, the next one of its key is written in any case, and the one after it is not", async () => {
  const batchers = await setUp();
  const { storage, update, ifChanged } = batchers;
  storage.failure = new Error("disk full");
  await rejects(update("a", "B"), /disk full/);
  storage.failure = undefined;
  equal((await ifChanged("A")).version, 2);
  equal((await ifChanged("A")).version, 2);
  deepEqual(commitsOf(batchers), ["a=B", "a=A", "a=A?"]);
});

test("after a change that was given up before it was sent, the next one of its key is written in any case", async () => {
  const batchers = await setUp();
  const { clock, storage, update, ifChanged } = batchers;
  Object.assign(storage.features, { maxChanges: 1 });
  const release = storage.hold();
  // Each of the first three blocks the next one for 500 ms.
  const refused = ["x", "y", "z"].map((key) => rejects(update(key, "1"), /1000 ms/));
  await clock.advance(1);
  refused.push(rejects(update("a", "B"), /1000 ms/));
  await clock.advance(3000);
  await Promise.all(refused);
  release();
  await settle();
  equal(commitsOf(batchers).includes("a=B"), false);
  equal((await ifChanged("A")).hash, "A");
  equal(commitsOf(batchers).at(-1), "a=A");
});

/** A storage that makes a held change only when it is let go. */
class LateStorage extends HeldStorage {
  override async applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
    this.commits.push([...changes]);
    await this.gate;
    return await MemoryStorage.prototype.applyChanges.call(this, changes);
  }
}

test("after a change that was given up and arrived late, the next one of its key is written in any case", async () => {
  const batchers = await setUp(new LateStorage());
  const { clock, storage, update, ifChanged } = batchers;
  const release = storage.hold();
  const refused = rejects(update("a", "B"), /1000 ms/);
  await clock.advance(1000);
  await refused;
  storage.pass();
  equal((await update("a", "A")).version, 2);
  release();
  await settle();
  equal((await storage.getNode("a"))?.hash, "B");
  // Clients were told of the late change, and fetched the data that A describes.
  equal((await ifChanged("B")).version, 4);
  equal((await ifChanged("B")).version, 4);
  deepEqual(commitsOf(batchers), ["a=B", "a=A", "a=B", "a=B?"]);
});

test("while a change that was given up has no answer, all changes of its key are written", async () => {
  const batchers = await setUp(new LateStorage());
  const { clock, storage, update, ifChanged } = batchers;
  const release = storage.hold();
  const refused = rejects(update("a", "B"), /1000 ms/);
  await clock.advance(1000);
  await refused;
  storage.pass();
  await ifChanged("A");
  await ifChanged("A");
  release();
  await settle();
  await ifChanged("B");
  await ifChanged("B");
  deepEqual(commitsOf(batchers), ["a=B", "a=A", "a=A", "a=B", "a=B?"]);
});

test("a change that is answered after one that was given up, and was sent before that had arrived, is not trusted", async () => {
  const batchers = await setUp(new LateStorage());
  const { clock, storage, update, ifChanged } = batchers;
  const releaseFirst = storage.hold();
  const refused = rejects(update("a", "B"), /1000 ms/);
  await clock.advance(1000);
  await refused;
  const release = storage.hold();
  const change = update("a", "A");
  await settle();
  releaseFirst();
  await settle();
  release();
  await change;
  await ifChanged("A");
  await ifChanged("A");
  deepEqual(commitsOf(batchers), ["a=B", "a=A", "a=A", "a=A?"]);
});

test("with more failed keys than are remembered, every change is written", async () => {
  const batchers = await setUp();
  const { storage, writer, ifChanged } = batchers;
  storage.failure = new Error("disk full");
  const changes = Array.from({ length: 10_001 }, (_, i) => ({ key: `k${i}`, hash: "1", updatedAt: 1 }));
  await Promise.allSettled(writer.writeMany(changes));
  storage.failure = undefined;
  equal((await ifChanged("A")).version, 2);
});

async function update(options: Partial<RealityServerOptions> = {}): Promise<[number, number]> {
  const storage = options.storage ?? new MemoryStorage({ counter: "sequential" });
  const clock = new FakeClock();
  const server = new RealityServer({ clock, ...options, storage });
  const { version } = await server.updateNode("a", "A");
  const same = await server.updateNode("a", "A", { ifChanged: true });
  const closing = server.close();
  await clock.advance(60_000);
  await closing;
  return [version, same.version];
}

test("updateNode() with ifChanged answers no waiting request if the hash is the same", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), clock: new FakeClock() });
  const before = await server.updateNode("a", "A");
  let answers = 0;
  const waiting = server.handleSync({ known: { a: before.version }, wait: 10_000 }).then(({ changed }) => {
    answers++;
    return changed.a?.hash;
  });
  await settle();
  deepEqual(await server.updateNode("a", "A", { ifChanged: true }), before);
  deepEqual(await server.updateMany([{ key: "a", hash: "A", ifChanged: true }]), [before]);
  await settle();
  equal(answers, 0);
  await server.updateNode("a", "B", { ifChanged: true });
  equal(await waiting, "B");
  await server.close();
});

test("updateNode() with ifChanged always writes to a storage without features.conditions", async () => {
  deepEqual(await update({ storage: new HeldStorage() }), [1, 2]);
  deepEqual(await update({ storage: new NaiveStorage() }), [1, 2]);
});

test("updateNode() with ifChanged always writes if other storages may have told another hash", async () => {
  deepEqual(await update(), [1, 1]);
  const bus = new FakeRedis();
  const redis = { publisher: new FakeIORedis(bus), subscriber: new FakeIORedis(bus) };
  for (
    const options of [{ meshSecret: "x".repeat(32) }, { redis }, {
      meshPeers: ["http://127.0.0.1:9/reality"],
      serverId: "s",
    }]
  ) {
    const [version, again] = await update(options);
    equal(again > version, true);
  }
});

test("updateNode() refuses options that it does not know, and writes nothing", async () => {
  const storage = new HeldStorage();
  const server = new RealityServer({ storage });
  const call = (options: unknown) => server.updateNode("a", "A", options as { ifChanged: boolean });
  await rejects(
    call({ ifchanged: true }),
    /Unknown option "ifchanged" of updateNode\(\): known is ifChanged/,
  );
  await rejects(call(true), /expected an object, got/);
  await rejects(call({ ifChanged: 1 }), /Option "ifChanged" is wrong: expected true or false, got/);
  equal(storage.commits.length, 0);
  await server.close();
});
