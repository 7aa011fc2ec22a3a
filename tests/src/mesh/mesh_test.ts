import { deepEqual, equal, match, ok } from "node:assert/strict";
import { MemoryStorage, type PeerError } from "../../../mod.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { Servers, urlOf } from "./servers.ts";

const SECRET = "nobody else knows this one";

/** Runs with servers that are closed afterwards, however it ends. */
async function withServers(servers: Servers, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    await servers.close();
  }
}

for (const meshSecret of [undefined, SECRET]) {
  const how = meshSecret === undefined ? "called back" : "signed";
  test(`updateNode() wakes clients that wait on a server with another storage (${how})`, async () => {
    const servers = new Servers(["a", "b", "c"], { meshSecret });
    await withServers(servers, async () => {
      await servers.meet();
      const waiting = ["b", "c"].map((id) => servers.get(id).handleSync({ known: { k: 0 }, wait: 20_000 }));
      await settle();
      await servers.get("a").updateNode("k", "h1");
      for (const answer of await Promise.all(waiting)) {
        deepEqual(answer.changed.k, await servers.get("a").getNode("k"));
      }
    });
  });
}

test("updateNode() costs one request to each known peer", async () => {
  const servers = new Servers(["a", "b", "c", "d"], { meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    deepEqual(servers.calls.slice(before).map(({ from, to }) => from + to).sort(), ["ab", "ac", "ad"]);
  });
});

test("deleteNode() deletes the node on servers with other storages", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.get("b").deleteNode("k");
    await servers.reach("k", (node) => node === null);
  });
});

test("two concurrent changes of one key are joined to the same node on all servers", async () => {
  const servers = new Servers(["a", "b", "c"]);
  await withServers(servers, async () => {
    await servers.meet();
    servers.cut = () => true;
    await servers.get("a").updateNode("k", "of a");
    await servers.get("b").updateNode("k", "of b");
    const held = [await servers.get("a").getNode("k"), await servers.get("b").getNode("k")];
    servers.cut = () => false;
    // A client of a that moves to b may know a version that b does not have.
    const highest = Math.max(...held.map((node) => node!.version));
    await servers.reach("k", (node) => node !== null && node.version > highest);
    await servers.rest();
    const nodes = await Promise.all(["a", "b", "c"].map((id) => servers.get(id).getNode("k")));
    equal(new Set(nodes.map((node) => JSON.stringify(node))).size, 1);
    ok(nodes[0]!.hash.startsWith("\u0001"));
    for (const before of held) ok(nodes[0]!.version > before!.version);
  });
});

test("a server with an empty storage asks its peers before its first answer", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.get("b").close();
    const restarted = servers.start("b");
    const { changed, epoch } = await restarted.handleSync({ known: { k: 0 } });
    equal(changed.k?.hash, "h1");
    equal(epoch, (await servers.get("a").getStats()).epoch);
  });
});

test("a server with an empty storage and unreachable peers starts with an epoch of its own", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], {
    clock,
    mesh: { fetch: () => Promise.reject(new Error("away")) },
  });
  servers.cut = () => true;
  await withServers(servers, async () => {
    const answer = servers.get("a").handleSync({ known: { k: 0 } });
    await clock.advance(2_000);
    deepEqual(Object.keys((await answer).changed), []);
  });
});

test("handleSync() asks the peers if a client knows a higher version than this server", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    servers.cut = (from) => from === "a";
    await servers.get("a").updateNode("k", "h2");
    const { version } = (await servers.get("a").getNode("k"))!;
    const { changed } = await servers.get("b").handleSync({ known: { k: version } });
    deepEqual(Object.keys(changed), []);
    equal((await servers.get("b").getNode("k"))?.hash, "h2");
  });
});

test("handleSync() reports the current version to a client that knows a higher one than all reachable servers", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    servers.cut = () => true;
    const node = await servers.get("b").getNode("k");
    const { changed } = await servers.get("b").handleSync({ known: { k: node!.version + 1 } });
    deepEqual(changed.k, node);
  });
});

test("a change reaches a server through a third one if the direct connection is cut", async () => {
  const servers = new Servers(["a", "b", "c"]);
  await withServers(servers, async () => {
    await servers.meet();
    servers.cut = (from, to) => from === "a" && to === "c" || from === "c" && to === "a";
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
  });
});

test("a change reaches servers that its server does not list", async () => {
  const servers = new Servers([], { meshSecret: SECRET });
  for (const [id, peer] of [["a", "b"], ["b", "c"], ["c", "a"]] as const) {
    servers.start(id, { meshPeers: [urlOf(peer)] });
  }
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
  });
});

test("with many peers, a few are told directly and forward to the others, each once", async () => {
  const ids = [..."abcdefghijklmnopq"];
  const servers = new Servers(ids, { meshSecret: SECRET, mesh: { fanout: 2 } });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    const calls = servers.calls.slice(before);
    deepEqual(calls.map(({ to }) => to).sort(), ids.slice(1));
    equal(calls.filter(({ from }) => from === "a").length, 2);
  });
});

test("a peer that refuses a message as too large still forwards it to the servers it was asked to tell", async () => {
  const clock = new FakeClock();
  const ids = ["a", "b", "c"];
  const servers = new Servers(ids, {
    meshSecret: SECRET,
    clock,
    limits: { maxBodyBytes: 3_000 },
    mesh: { fanout: 1 },
  });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    await servers.get("a").updateMany(Array.from({ length: 40 }, (_, i) => ({ key: `key:${i}`, hash: "h" })));
    // No time passes, so there are no retries and no heartbeats.
    await servers.rest();
    for (const id of ids) ok(await servers.get(id).getNode("key:39"), id);
    const direct = new Set(
      servers.calls.slice(before).filter(({ from }) => from === "a").map(({ to }) => to),
    );
    equal(direct.size, 1, "one was told directly");
  });
});

test("a peer that turns out to share the storage still forwards the invalidation, and reads the storage", async () => {
  const clock = new FakeClock();
  // With this random value b is told directly, and c through b.
  clock.randomValue = 0.9;
  const servers = new Servers(["a", "b", "c"], { meshSecret: SECRET, clock, mesh: { fanout: 1 } });
  const storage = new MemoryStorage();
  servers.start("a", { storage });
  await withServers(servers, async () => {
    await servers.meet();
    const first = servers.get("b");
    servers.start("b", { storage });
    const before = servers.calls.length;
    // More than one page: the forwards are sent with the last one only.
    await servers.get("a").updateMany(
      Array.from({ length: 1_200 }, (_, i) => ({ key: `key:${i}`, hash: "h" })),
    );
    // No time passes, so there are no retries and no heartbeats.
    await servers.rest();
    equal(servers.calls[before]!.to, "b");
    ok(await servers.get("c").getNode("key:1199"), "c has the change");
    const looks = servers.calls.slice(before).filter(({ to, body }) =>
      to === "b" && JSON.parse(String(body.gossip.message ?? "{}")).look !== undefined
    );
    equal(looks.length, 1, "b was told to look");
    await first.close();
  });
});

test("servers that share a storage receive invalidations and no nodes", async () => {
  const storage = new MemoryStorage();
  const servers = new Servers(["a", "b"], { storage });
  await withServers(servers, async () => {
    await servers.meet();
    const waiting = servers.get("b").handleSync({ known: { k: 0 }, wait: 20_000 });
    await settle();
    const before = servers.calls.length;
    await servers.get("a").updateNode("k", "h1");
    equal((await waiting).changed.k?.hash, "h1");
    await servers.rest();
    const messages = servers.calls.slice(before).map(({ body }) => JSON.parse(String(body.gossip.message)));
    equal(messages.length, 1);
    deepEqual(messages[0].look.keys, ["k"]);
    equal(messages[0].delta, undefined);
  });
});

test("servers on a storage with only the eight methods exchange invalidations", async () => {
  const storage = new NaiveStorage();
  const servers = new Servers(["a", "b"], { storage });
  await withServers(servers, async () => {
    await servers.meet();
    const waiting = servers.get("b").handleSync({ known: { k: 0 }, wait: 20_000 });
    await settle();
    await servers.get("a").updateNode("k", "h1");
    equal((await waiting).changed.k?.hash, "h1");
  });
});

test("a storage that two servers share and one of a third server converge", async () => {
  const shared = new MemoryStorage();
  const servers = new Servers(["a", "b", "c"]);
  for (const id of ["a", "b"]) {
    await servers.get(id).close();
    servers.start(id, { storage: shared });
  }
  await withServers(servers, async () => {
    await servers.meet();
    await servers.get("c").updateNode("of c", "h1");
    await servers.get("a").updateNode("of a", "h1");
    await servers.reach("of c", (node) => node !== null);
    await servers.reach("of a", (node) => node !== null);
  });
});

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

test("an unreachable peer is suspect, then gone, and alive again after its own answer", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock });
  await withServers(servers, async () => {
    await servers.meet();
    servers.cut = (from) => from === "a";
    await servers.get("a").updateNode("k", "h1");
    const peer = async () => (await servers.get("a").getStats()).mesh!.peers[0]!;
    const until = async (state: string) => {
      for (let i = 0; (await peer()).state !== state; i++) {
        ok(i < 1_000, `the peer is ${(await peer()).state}`);
        await clock.advance(100);
      }
    };
    await until("suspect");
    deepEqual(await servers.get("a").getMeshPeers(), ["b"]);
    await until("gone");
    deepEqual(await servers.get("a").getMeshPeers(), []);
    ok((await peer()).lag > 0);
    servers.cut = () => false;
    await until("alive");
    equal((await peer()).lag, 0);
    await servers.reach("k", (node) => node !== null);
    const reports = servers.errors.filter(([id]) => id === "a").map(([, error]) => error as PeerError);
    deepEqual(reports.map(({ code, recovered }) => [code, recovered]), [
      ["ERR_REALITY_PEER_UNREACHABLE", false],
      ["ERR_REALITY_PEER_UNREACHABLE", true],
    ]);
    equal(reports[0]!.peer, "http://b:3000/reality/sync");
  });
});

test("an unreachable peer is tried with growing pauses, and then only when there is traffic", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock });
  await withServers(servers, async () => {
    await servers.meet();
    servers.cut = () => true;
    await servers.get("a").updateNode("k", "h1");
    for (let i = 0; i < 400; i++) await clock.advance(1_000);
    const tries = servers.calls.length;
    await clock.advance(3_600_000);
    equal(servers.calls.length, tries);
    equal(clock.timers, 0);
    servers.cut = () => false;
    await servers.get("a").handleSync({ known: {} });
    await servers.reach("k", (node) => node !== null);
  });
});

test("updateNode() does not wait for peers", async () => {
  const servers = new Servers(["a", "b"]);
  await servers.get("a").close();
  const never = new Promise<Response>(() => {});
  const clock = new FakeClock();
  const server = servers.start("a", { clock });
  const b = servers.get("b");
  servers.all.set("b", { getFetchHandler: () => () => never } as never);
  await server.updateNode("k", "h1");
  equal((await server.getNode("k"))?.hash, "h1");
  const closing = Promise.all([server.close(), b.close()]);
  await clock.advance(2_000);
  await closing;
});

test("mesh.peers has ids and no URL, and their health for clients of the 1.x line", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    await servers.meet();
    const plain = await servers.get("a").handleSync({ known: {} });
    deepEqual(plain.mesh.peers, ["b"]);
    const legacy = await servers.get("a").handleSync({ known: {}, clientId: "1", mode: "m", hint: "h" });
    deepEqual(legacy.mesh.peers, { b: "healthy" });
    ok(!JSON.stringify([plain, legacy]).includes("http"));
  });
});

test("an unproven sender gets no data and changes nothing", async () => {
  const servers = new Servers(["a", "b"], { meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    const last = servers.calls.at(-1)!.body.gossip;
    const message = JSON.parse(String(last.message));
    message.delta = { base: {}, full: true, after: null, next: null, nodes: [] };
    for (
      const gossip of [
        last,
        { ...last, message: JSON.stringify(message) },
        { form: 1, message: JSON.stringify(message) },
        { form: 1, token: "a".repeat(26), message: JSON.stringify(message) },
        { form: 1 },
      ]
    ) {
      const response = await servers.get("b").getFetchHandler()(
        new Request("http://b/reality/sync", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ known: {}, gossip }),
        }),
      );
      equal(response.status, 401);
      deepEqual(Object.keys(await response.json()), ["error"]);
    }
    equal((await servers.get("b").getNode("k"))?.hash, "h1");
  });
});

test("a server that is listed among its own peers does not contact itself", async () => {
  const servers = new Servers(["a", "b"], { meshPeers: [urlOf("a"), urlOf("b")] });
  await withServers(servers, async () => {
    await servers.meet();
    deepEqual(await servers.get("a").getMeshPeers(), ["b"]);
    deepEqual(servers.errors, []);
  });
});

test("two servers with the same serverId are reported", async () => {
  const servers = new Servers(["a", "b"], { serverId: "twin", meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.get("a").updateNode("k", "h1");
    while (servers.errors.length === 0) await settle();
    match(servers.errors[0]![1].message, /it has this server's own serverId \("twin"\)/);
  });
});

test("with discovery a server learns the URLs of others from a proven peer", async () => {
  const servers = new Servers([], { meshSecret: SECRET, mesh: { discovery: true } });
  servers.start("a", { meshPeers: [urlOf("b")] });
  servers.start("b", { meshPeers: [urlOf("a"), urlOf("c")] });
  servers.start("c", { meshPeers: [urlOf("b")] });
  await withServers(servers, async () => {
    await servers.get("b").handleSync({ known: {} });
    await servers.rest();
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.get("a").updateNode("k", "h2");
    await servers.reach("k", (node) => node?.hash === "h2");
    await servers.rest();
    ok(servers.calls.some(({ from, to }) => from === "a" && to === "c"));
  });
});

test("without discovery no URL that a peer sends is called", async () => {
  const servers = new Servers([], { meshSecret: SECRET });
  servers.start("a", { meshPeers: [urlOf("b")] });
  servers.start("b", { meshPeers: [urlOf("a"), urlOf("c")], mesh: { discovery: true } });
  servers.start("c", { meshPeers: [urlOf("b")] });
  await withServers(servers, async () => {
    await servers.get("b").handleSync({ known: {} });
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    ok(!servers.calls.some(({ from, to }) => from === "a" && to === "c"));
  });
});

test("mesh.interval makes servers exchange messages without changes", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock, mesh: { interval: 500 } });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    for (let i = 0; i < 8; i++) {
      await clock.advance(500);
      await servers.rest();
    }
    ok(servers.calls.length >= before + 10);
  });
  equal(clock.timers, 0);
});

test("an event stream that reconnects to a server with peers receives the state of every key", async () => {
  const servers = new Servers(["a", "b"]);
  await withServers(servers, async () => {
    const b = servers.get("b");
    await b.updateMany([{ key: "k", hash: "1" }, { key: "other", hash: "1" }]);
    const visit = async (headers: Record<string, string>) => {
      const request = new Request("http://b/events", { headers });
      const reader = (await b.handleSSECompat(request, { keys: ["k"] })).body!.getReader();
      const text = new TextDecoder().decode((await reader.read()).value);
      await reader.cancel();
      return text;
    };
    const [, id = ""] = /^id: (.*)$/m.exec(await visit({})) ?? [];
    const text = await visit({ "last-event-id": id });
    match(text, /event: resync/);
    match(text, /"key":"k"/);
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

test("close() sends pending updates to the peers", async () => {
  const servers = new Servers(["a", "b"], { meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    const change = servers.get("a").updateNode("k", "h1");
    await servers.get("a").close();
    await change;
    equal((await servers.get("b").getNode("k"))?.hash, "h1");
  });
});

test("close() waits for running exchanges and leaves no timer", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b"], { clock, mesh: { interval: 500 } });
  servers.cut = () => true;
  await servers.get("a").updateNode("k", "h1");
  while (servers.calls.length === 0) await settle();
  await servers.close();
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

test("a version that no server has costs one round of exchanges, and many such versions a bounded number", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b", "c"], { meshSecret: SECRET, clock });
  await withServers(servers, async () => {
    await servers.meet();
    await clock.advance(60_000);
    await servers.rest();
    const countCalls = async (known: (i: number) => Record<string, number>, times: number) => {
      const before = servers.calls.length;
      for (let i = 0; i < times; i++) {
        const { changed } = await servers.get("a").handleSync({ known: known(i) });
        equal(changed[Object.keys(known(i))[0]!]?.deleted, true, "the client is told what there is");
        await servers.rest();
      }
      return servers.calls.length - before;
    };
    const first = await countCalls(() => ({ k: Number.MAX_SAFE_INTEGER }), 1);
    ok(first > 0);
    equal(await countCalls(() => ({ k: Number.MAX_SAFE_INTEGER }), 20), 0);
    // Another impossible version causes a round.
    ok(await countCalls(() => ({ k: 7 }), 1) > 0);
    ok(await countCalls((i) => ({ [`other:${i}`]: 1 }), 100) <= 20 * first);
    await clock.advance(10_000);
    ok(await countCalls(() => ({ k: Number.MAX_SAFE_INTEGER }), 1) > 0, "asked again after a while");
    // A version that the peers do have is fetched, however many impossible ones there were.
    await clock.advance(1_000);
    servers.cut = (from) => from === "b";
    await servers.get("b").updateNode("k", "h1");
    const { version } = (await servers.get("b").getNode("k"))!;
    deepEqual({ ...(await servers.get("a").handleSync({ known: { k: version } })).changed }, {});
  });
});

test("a server that merges nodes of another storage sends an invalidation to servers on its own storage", async () => {
  const clock = new FakeClock();
  const servers = new Servers(["a", "b", "c"], { meshSecret: SECRET, clock });
  const [shared, other] = [new MemoryStorage(), new MemoryStorage()];
  for (const id of ["a", "b"]) servers.start(id, { storage: shared });
  servers.start("c", { storage: other });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    // c does not receive it, so c notifies no server, although it reaches both.
    await other.applyChanges([{ key: "k", hash: "h", updatedAt: 1 }]);
    const { version } = (await other.getNode("k"))!;
    await servers.get("b").handleSync({ known: { k: version } });
    await servers.rest();
    equal((await shared.getNode("k"))?.version, version);
    const looks = servers.calls.slice(before).filter(({ from, to }) => from === "b" && to === "a")
      .map(({ body }) => JSON.parse(String(body.gossip.message ?? "{}")).look?.keys);
    deepEqual(looks, [["k"]]);
  });
});
