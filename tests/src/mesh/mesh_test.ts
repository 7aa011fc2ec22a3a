/**
 * Changes and invalidations between servers: who is told, and what each server then has.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { MemoryStorage } from "../../../mod.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { Servers, urlOf } from "./servers.ts";
import { SECRET, withServers } from "./with_servers.ts";

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

test("after a page that was refused as too large, the next one has a quarter of its nodes", async () => {
  const servers = new Servers(["a", "b"], {
    meshSecret: SECRET,
    clock: new FakeClock(),
    limits: { maxBodyBytes: 3_000 },
  });
  await withServers(servers, async () => {
    await servers.meet();
    const before = servers.calls.length;
    await servers.get("a").updateMany(Array.from({ length: 40 }, (_, i) => ({ key: `key:${i}`, hash: "h" })));
    await servers.rest();
    ok(await servers.get("b").getNode("key:39"));
    const pages = servers.calls.slice(before).filter(({ from }) => from === "a").map(({ body }) =>
      JSON.parse(String(body.gossip.message ?? "{}")).delta?.nodes.length
    );
    deepEqual(pages.filter((nodes) => nodes !== 0), [40, 10, 10, 10, 10]);
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
