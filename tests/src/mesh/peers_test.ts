import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { chooseTargets } from "../../../src/mesh/fan_out.ts";
import { type Peer, Peers, PendingUpdates } from "../../../src/mesh/peers.ts";
import { test } from "../../harness.ts";

function createPeers(count: number): readonly Peer[] {
  const peers = new Peers(Array.from({ length: count }, (_, i) => `http://s${i}`)).others;
  peers.forEach((peer, i) => peer.id = `s${i}`);
  return peers;
}

test("PendingUpdates lists the changed keys, each once, and the highest version", () => {
  const owed = new PendingUpdates();
  equal(owed.invalidation, undefined);
  owed.add(1_000, { keys: ["a", "b"], version: 3 });
  owed.add(2_000, { keys: ["b", "c"], version: 2 }, ["s1"]);
  deepEqual(owed.invalidation, { keys: ["a", "b", "c"], version: 3 });
  deepEqual([...owed.forwards], ["s1"]);
  equal(owed.since, 1_000);
});

test("PendingUpdates holds up to 500 keys, and then all", () => {
  const owed = new PendingUpdates();
  for (let i = 0; i < 500; i++) owed.add(0, { keys: [`k${i}`], version: i });
  equal(owed.invalidation?.keys?.length, 500);
  owed.add(0, { keys: ["one more"], version: 500 });
  deepEqual(owed.invalidation, { keys: null, version: 500 });
  owed.add(0, { keys: ["k1"], version: 1 });
  deepEqual(owed.invalidation, { keys: null, version: 500 });
});

test("PendingUpdates keeps an invalidation of all keys", () => {
  const owed = new PendingUpdates();
  owed.add(0, { keys: null, version: 0 });
  deepEqual(owed.invalidation, { keys: null, version: 0 });
});

test("Peer is suspect after a failure, gone after four, and alive only after its own answer", () => {
  const [peer] = createPeers(1) as [Peer];
  equal(peer.state, undefined);
  peer.recordAnswer(0);
  equal(peer.state, "alive");
  peer.recordFailure(0, 0.5);
  equal(peer.state, "suspect");
  for (let i = 0; i < 3; i++) peer.recordFailure(0, 0.5);
  equal(peer.state, "gone");
  peer.recordRequest();
  equal(peer.state, "gone");
  peer.recordAnswer(9);
  equal(peer.state, "alive");
  equal(peer.lastExchange, 9);
});

test("Peer has a longer pause after each failure, up to 30 s, and at random up to half as much again", () => {
  const [peer] = createPeers(1) as [Peer];
  const pauses = Array.from({ length: 12 }, () => {
    peer.recordFailure(0, 0.5);
    return peer.nextAttempt;
  });
  deepEqual(pauses.slice(0, 8), [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
  equal(pauses.at(-1), 30_000);
  peer.recordFailure(0, 0.999);
  ok(peer.nextAttempt < 45_000);
  peer.recordRequest();
  equal(peer.nextAttempt, 0);
});

test("Peers lists each URL once, and not the server itself", () => {
  const peers = new Peers(["http://a", "http://b", "http://a"]);
  equal(peers.others.length, 2);
  peers.add("http://b");
  equal(peers.others.length, 2);
  peers.others[0]!.isSelf = true;
  deepEqual(peers.others.map(({ url }) => url), ["http://b"]);
  peers.retryOwnAddresses(0);
  equal(peers.others.length, 2);
});

test("Peers learns up to 1,000 peers, and more in place of learned ones that are gone", () => {
  const peers = new Peers(["http://listed"]);
  for (let i = 0; i < 1_100; i++) peers.learn(`http://learned-${i}`);
  equal(peers.others.length, 1_000);
  const fail = (url: string, lastExchange: number | undefined) => {
    const peer = peers.findByURL(url)!;
    if (lastExchange !== undefined) peer.recordAnswer(lastExchange);
    for (let i = 0; i < 4; i++) peer.recordFailure(0, 0.5);
    return peer;
  };
  fail("http://listed", undefined);
  fail("http://learned-7", 70);
  fail("http://learned-5", 50);
  const busy = fail("http://learned-3", 30);
  busy.currentExchange = Promise.resolve();
  let cancelled = 0;
  peers.findByURL("http://learned-5")!.cancelRetry = () => cancelled++;
  peers.learn("http://learned-9");
  equal(cancelled, 0, "a known one needs no room");
  for (const host of ["new-1", "new-2", "new-3"]) peers.learn(`http://${host}`);
  const found = ["listed", "learned-3", "learned-5", "learned-7", "new-1", "new-2", "new-3"].map((host) =>
    peers.others.some(({ url }) => url === `http://${host}`)
  );
  deepEqual(found, [true, true, false, false, true, true, false]);
  deepEqual([peers.others.length, cancelled], [1_000, 1]);
});

test("Peers returns a new list of states after a change, and the same list until then", () => {
  const peers = new Peers(["http://a", "http://b"]);
  const [a, b] = peers.others as [Peer, Peer];
  const list = () => [...peers.states].map(([id, state]) => `${id} ${state}`);
  for (const peer of [a, b]) peer.recordAnswer(1);
  deepEqual(list(), []);
  [a.id, b.id] = ["a", "b"];
  deepEqual(list(), ["a alive", "b alive"]);
  const before = peers.states;
  a.recordAnswer(2);
  equal(peers.states, before);
  b.recordFailure(3, 0);
  deepEqual(list(), ["a alive", "b suspect"]);
  for (let i = 0; i < 3; i++) b.recordFailure(4, 0);
  deepEqual(list(), ["a alive", "b gone"]);
  a.isSelf = true;
  deepEqual(list(), ["b gone"]);
  peers.add("http://c");
  peers.others.at(-1)!.recordAnswer(5);
  peers.others.at(-1)!.id = "c";
  deepEqual(list(), ["b gone", "c alive"]);
  // The list that was returned before does not change.
  deepEqual([...before.values()], ["alive", "alive"]);
});

test("chooseTargets() reaches every peer once, directly or through a peer that is told directly", () => {
  fc.assert(fc.property(
    fc.nat(60),
    fc.integer({ min: 1, max: 20 }),
    fc.infiniteStream(fc.double({
      min: 0,
      max: 1,
      maxExcluded: true,
      noNaN: true,
    })),
    (count, fanout, chance) => {
      const peers = createPeers(count);
      const tellings = chooseTargets(peers, fanout, () => chance.next().value);
      equal(tellings.length, Math.min(count, fanout));
      const reached = tellings.flatMap(({ peer, forwards }) => [peer.id!, ...forwards]);
      deepEqual(reached.sort(), peers.map(({ id }) => id!).sort());
      const shares = tellings.map(({ forwards }) => forwards.length);
      ok(Math.max(0, ...shares) - Math.min(...shares, Infinity) <= 1);
    },
  ));
});

test("chooseTargets() tells peers without an id directly, and prefers peers that are alive", () => {
  const peers = createPeers(9);
  peers[0]!.id = undefined;
  for (const peer of peers.slice(5)) peer.recordAnswer(0);
  for (const peer of peers.slice(1, 5)) peer.recordFailure(0, 0);
  const tellings = chooseTargets(peers, 3, () => 0);
  equal(tellings.length, 4);
  equal(tellings.at(-1)?.peer, peers[0]);
  ok(tellings.slice(0, 3).every(({ peer }) => peer.state === "alive"));
});
