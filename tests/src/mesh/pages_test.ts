/**
 * Deltas of several pages, and full copies.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { MemoryStorage } from "../../../mod.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";
import { Servers } from "./servers.ts";
import { withServers } from "./with_servers.ts";

test("more nodes than fit into a page are exchanged in both directions", async () => {
  const servers = new Servers(["a", "b"]);
  servers.cut = () => true;
  await withServers(servers, async () => {
    const update = (id: string) =>
      Array.from({ length: 1_300 }, (_, i) => ({ key: `${id}:${i}`, hash: "h" }));
    await servers.get("a").updateMany(update("a"));
    await servers.get("b").updateMany(update("b"));
    servers.cut = () => false;
    await servers.get("a").updateNode("last", "h");
    await servers.reach("last", (node) => node !== null);
    for (const id of ["a", "b"]) {
      const known = Object.fromEntries([...update("a"), ...update("b")].map(({ key }) => [key, 0]));
      await servers.reach("a:1299", (node) => node !== null);
      await servers.reach("b:1299", (node) => node !== null);
      await servers.rest();
      equal(Object.keys((await servers.get(id).handleSync({ known })).changed).length, 2_600);
    }
  });
});

test("an interrupted delta continues with the unanswered page", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock });
  await withServers(servers, async () => {
    await servers.meet();
    servers.cut = () => true;
    const keys = Array.from({ length: 5_000 }, (_, i) => `key:${i}`);
    for (let i = 0; i < 5; i++) {
      await servers.get("a").updateMany(
        keys.slice(i * 1_000, i * 1_000 + 1_000).map((key) => ({ key, hash: "h" })),
      );
    }
    await servers.rest();
    // Of two pages one is lost, so no exchange comes to its third one.
    let pages = 0;
    servers.cut = (from) => {
      const isPage = JSON.stringify(servers.calls.at(-1)?.body).includes("key:");
      return from === "b" || isPage && ++pages % 2 === 0;
    };
    for (let at = 0; at < 240_000; at += 500) {
      await clock.advance(500);
      await servers.rest();
    }
    for (const key of keys) ok(await servers.get("b").getNode(key), key);
    ok(pages < 25, `${pages} pages`);
  });
});

test("pages of a lost storage are not continued by pages of another storage at the same URL", async () => {
  const servers = new Servers(["a", "b"], { meshSecret: "a secret of the mesh, long enough" });
  const [kept, gone, other] = [new MemoryStorage(), new MemoryStorage(), new MemoryStorage()];
  for (const storage of [gone, other]) storage.countByClock();
  const nodesOf = (names: readonly number[]) =>
    names.map((name) => ({ key: `key:${name}`.padStart(12, "0"), hash: "h", updatedAt: 1 }));
  for (let i = 0; i < 4; i++) {
    await gone.applyChanges(nodesOf(Array.from({ length: 500 }, (_, j) => i * 500 + j)));
  }
  await other.applyChanges(nodesOf([1_999]));
  const { replicaId } = await gone.getIdentity();
  servers.start("a", { storage: kept });
  const first = servers.start("b", { storage: gone });
  let isReplaced = false;
  servers.cut = (from) => {
    const isMore = JSON.stringify(servers.calls.at(-1)?.body).includes("more");
    if (from === "a" && isMore && !isReplaced) {
      isReplaced = true;
      servers.start("b", { storage: other });
    }
    return from === "b";
  };
  await withServers(servers, async () => {
    for (let i = 0; i < 5; i++) {
      await servers.get("a").updateNode("own", `${i}`);
      await servers.rest();
    }
    equal(isReplaced, true, "a page was asked for");
    equal((await kept.readReplicaState()).vector.get(replicaId), undefined);
    const { key } = nodesOf([1_999])[0]!;
    deepEqual(await kept.getNode(key), await other.getNode(key));
    await first.close();
  });
});

test("a deletion whose tombstone was collected reaches a server that missed it by a full copy", async () => {
  let now = Date.now();
  const storage = new MemoryStorage({ tombstoneTimeout: 1_000, now: () => now });
  const servers = new Servers(["a", "b"]);
  await servers.get("a").close();
  const a = servers.start("a", { storage });
  await withServers(servers, async () => {
    await a.updateMany([{ key: "gone", hash: "1" }, { key: "stays", hash: "1" }]);
    await servers.reach("gone", (node) => node !== null);
    await servers.rest();
    servers.cut = () => true;
    await a.deleteNode("gone");
    now += 2_000;
    await a.updateNode("other", "1");
    deepEqual([...(await storage.readDelta(new Map(), 10)).nodes].map(({ key }) => key).sort(), [
      "other",
      "stays",
    ]);
    servers.cut = () => false;
    const b = servers.get("b");
    const held = (await b.getNode("gone"))!.version;
    const waiting = b.handleSync({ known: { gone: held }, wait: 20_000 });
    await a.updateNode("other", "2");
    equal((await waiting).changed.gone?.deleted, true);
    await servers.reach("other", (node) => node?.hash === "2");
    equal((await b.getNode("stays"))?.hash, "1");
  });
});

test("two servers that both lack a deletion of a third one exchange one full copy, and no more", async () => {
  const storages = [new MemoryStorage(), new MemoryStorage()];
  for (const [i, storage] of storages.entries()) {
    // A delta of a lost storage was merged in part, and a tombstone in it was collected: more was collected than is covered.
    await storage.adoptVector(new Map([["gone", 50]]), "0-old", new Map([["gone", 100]]));
    storage.countByClock();
    const nodes = Array.from({ length: 1_300 }, (_, j) => ({ key: `${i}:${j}`, hash: "h", updatedAt: 1 }));
    await storage.applyChanges(nodes.slice(0, 1_000));
    await storage.applyChanges(nodes.slice(1_000));
  }
  const servers = new Servers(["a", "b"]);
  servers.start("a", { storage: storages[0]! });
  servers.start("b", { storage: storages[1]! });
  servers.cut = () => servers.calls.length > 500;
  await withServers(servers, async () => {
    await servers.get("a").updateNode("last", "h");
    await servers.rest();
    for (const storage of storages) {
      for (const key of ["last", "0:0", "0:1299", "1:0", "1:1299"]) ok(await storage.getNode(key), key);
    }
    ok(servers.calls.length < 40, `${servers.calls.length} requests`);
    const before = servers.calls.length;
    await servers.get("b").updateNode("last", "i");
    await servers.rest();
    equal((await storages[0]!.getNode("last"))?.hash, "i");
    ok(servers.calls.length - before < 20, `${servers.calls.length - before} requests`);
  });
});

test("a node that is created again after its tombstone was collected is reported to clients that hold it", async () => {
  let now = Date.now();
  const storage = new MemoryStorage({ tombstoneTimeout: 1_000, now: () => now });
  const servers = new Servers(["a", "b"]);
  await servers.get("a").close();
  const a = servers.start("a", { storage });
  await withServers(servers, async () => {
    await a.updateNode("k", "1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    servers.cut = () => true;
    await a.deleteNode("k");
    await servers.get("b").updateNode("k", "2");
    const held = (await servers.get("b").getNode("k"))!.version;
    now += 2_000;
    await a.updateNode("other", "1");
    servers.cut = () => false;
    await a.updateNode("other", "2");
    await servers.reach("k", (node) => node === null || node.version > held);
  });
});

test("nodes that a peer still lacks after several pushes are pushed again after growing pauses", async () => {
  /** Does not store the adopted version vector. */
  class Forgetful extends MemoryStorage {
    isForgetful = true;
    override adoptVector(...adopted: Parameters<MemoryStorage["adoptVector"]>): Promise<boolean> {
      return this.isForgetful ? Promise.resolve(false) : super.adoptVector(...adopted);
    }
  }
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock });
  const [kept, forgetful] = [new MemoryStorage(), new Forgetful()];
  servers.start("a", { storage: kept });
  servers.start("b", { storage: forgetful });
  const countCalls = async (ms: number) => {
    const before = servers.calls.length;
    for (let at = 0; at < ms; at += 50) await clock.advance(50);
    await servers.rest();
    return servers.calls.length - before;
  };
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.rest();
    const [first, second, third] = [
      await countCalls(1_000),
      await countCalls(10_000),
      await countCalls(10_000),
    ];
    ok(first > 0, "tried again");
    ok(second > 0 && third <= second && second < 30, `${second} and ${third} requests in 10 s each`);
    ok((await servers.get("a").getStats()).mesh!.peers[0]!.lag > 0);
    forgetful.isForgetful = false;
    await countCalls(60_000);
    const [seen, theirs] = [
      (await kept.readReplicaState()).vector,
      (await forgetful.readReplicaState()).vector,
    ];
    const { replicaId } = await kept.getIdentity();
    equal(theirs.get(replicaId), seen.get(replicaId));
    equal((await servers.get("a").getStats()).mesh!.peers[0]!.lag, 0);
    equal(await countCalls(60_000), 0);
  });
  equal(clock.timers, 0);
});

test("a restored storage with a new epoch gets the lost nodes from its peers, and sends them its own", async () => {
  const storages = { a: new MemoryStorage(), b: new MemoryStorage() };
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    for (const [id, storage] of Object.entries(storages)) {
      await servers.get(id).close();
      servers.start(id, { storage });
    }
    await servers.meet();
    await servers.get("a").updateNode("k", "kept");
    await servers.get("a").updateNode("l", "kept");
    await servers.reach("l", (node) => node?.hash === "kept");
    const before = await storages.a.getIdentity();
    const { replicaId } = await storages.a.newEpoch();
    await servers.get("a").updateNode("m", "new");
    await servers.reach("m", (node) => node?.hash === "new");
    await servers.rest();
    // The older epoch stays; the other names are the new ones, as the peer knows.
    deepEqual(await storages.a.getIdentity(), { epoch: before.epoch, replicaId });
    ok(((await storages.b.readReplicaState()).vector.get(replicaId) ?? 0) > 0);
    for (const key of ["k", "l", "m"]) {
      const node = await servers.get("b").getNode(key);
      deepEqual(await servers.get("a").getNode(key), node);
      ok(node);
    }
  });
});
