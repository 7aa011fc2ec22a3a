/**
 * When servers contact their peers, and which peers.
 *
 * @module
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { PeerError } from "../../../mod.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { Servers, urlOf } from "./servers.ts";
import { SECRET, withServers } from "./with_servers.ts";

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
