import { deepEqual, equal, throws } from "node:assert/strict";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { checkOptions } from "../../src/check_options.ts";
import { test } from "../harness.ts";

const storage = new MemoryStorage();

function refused(options: unknown, name: string, message: RegExp): void {
  throws(() => new RealityServer(options as RealityServerOptions), { name, message });
}

test("RealityServer throws an error that says what to write if storage is missing", () => {
  refused({}, "TypeError", /"storage" is missing: write `storage: new MemoryStorage\(\)`/);
  refused(undefined, "TypeError", /expected an object, got nothing/);
});

test("RealityServer names the method that a storage lacks", () => {
  refused({ storage: { getNode() {} } }, "TypeError", /no method "setNode"/);
});

test("RealityServer names an unknown option, at the top and in limits", () => {
  refused(
    { storage, serverID: "a" },
    "TypeError",
    /Unknown option "serverID" of RealityServer: known are storage/,
  );
  refused({ storage, limits: { maxkeys: 1 } }, "TypeError", /Unknown option "maxkeys" of limits/);
});

test("RealityServer names a wrong option", () => {
  refused({ storage, serverId: 7 }, "TypeError", /"serverId" is wrong: expected a string, got the number 7/);
  refused({ storage, serverId: "" }, "RangeError", /"serverId" is out of range/);
  refused({ storage, onError: true }, "TypeError", /"onError" is wrong/);
  refused({ storage, writeTokens: "secret" }, "TypeError", /"writeTokens" is wrong: expected an array/);
  refused({ storage, writeTokens: ["short"] }, "RangeError", /"writeTokens" is out of range/);
  refused({ storage, authorizeWrite: {} }, "TypeError", /"authorizeWrite" is wrong/);
  refused({ storage, storageTimeout: 0 }, "RangeError", /"storageTimeout" is out of range/);
  refused(
    { storage, limits: { maxKeyBytes: 513 } },
    "RangeError",
    /"maxKeyBytes" is out of range: expected 1 to 512/,
  );
  refused({ storage, limits: { maxWait: 1.5 } }, "TypeError", /"maxWait" is wrong: expected an integer/);
  refused({ storage, clock: {} }, "TypeError", /"clock" is wrong/);
});

test("RealityServer names what is wrong with its peers", () => {
  const secret = "sixteen characters at least";
  const cases: [Record<string, unknown>, string, RegExp][] = [
    [
      { meshPeers: "http://server-2" },
      "TypeError",
      /"meshPeers" is wrong: expected an array of URLs, got a string/,
    ],
    [{ meshPeers: [7] }, "TypeError", /"meshPeers\[0\]" is wrong: expected a URL, got the number 7/],
    [{ meshPeers: ["server-2:"] }, "TypeError", /"meshPeers\[0\]" is wrong: expected an http or https URL/],
    [{ meshPeers: ["server 2"] }, "TypeError", /"meshPeers\[0\]" is wrong: expected a URL, got "server 2"/],
    [{ meshPeers: ["http://a:b@server-2"] }, "TypeError", /without a user's name/],
    [{ meshSecret: 7 }, "TypeError", /"meshSecret" is wrong/],
    [{ meshSecret: "short" }, "RangeError", /"meshSecret" is out of range: expected 16 characters or more/],
    [{ meshSecret: [secret, secret, secret] }, "RangeError", /expected one or two secrets, got 3/],
    [{ mesh: { gossip: true } }, "TypeError", /Unknown option "gossip" of mesh/],
    [
      { mesh: { interval: 50 } },
      "RangeError",
      /"mesh.interval" is out of range: expected 100 to 86400000, got 50/,
    ],
    [{ mesh: { fanout: 0 } }, "RangeError", /"mesh.fanout" is out of range/],
    [{ mesh: { timeout: "2s" } }, "TypeError", /"mesh.timeout" is wrong: expected an integer, got a string/],
    [{ mesh: { discovery: 1 } }, "TypeError", /"mesh.discovery" is wrong: expected true or false/],
    [{ mesh: { discovery: true } }, "TypeError", /"mesh.discovery" is wrong: it needs a meshSecret/],
    [{ mesh: { fetch: "fetch" } }, "TypeError", /"mesh.fetch" is wrong: expected a function/],
  ];
  for (const [options, name, message] of cases) refused({ storage, ...options }, name, message);
});

test("RealityServer asks a peer at the path it was given, and at /reality/sync without one", async () => {
  const meshPeers = ["http://a:3000", "http://a:3000/", "https://b/api/live/sync", "http://c?x=1#y"];
  const urls = ["http://a:3000/reality/sync", "https://b/api/live/sync", "http://c/reality/sync?x=1"];
  deepEqual(checkOptions({ storage, meshPeers }).mesh.peers, urls);
  // A query may hold a key.
  const { mesh } = await new RealityServer({ storage, meshPeers }).getStats();
  deepEqual(mesh?.peers.map(({ url }) => url), [...urls.slice(0, 2), "http://c/reality/sync?…"]);
});

test("RealityServer names what is wrong with its Redis clients", () => {
  const connection = { on() {}, off() {} };
  const publisher = { ...connection, publish() {} };
  const subscriber = { ...connection, subscribe() {}, unsubscribe() {} };
  const cases: [unknown, string, RegExp][] = [
    ["redis://localhost", "TypeError", /options of redis: expected an object, got a string/],
    [{}, "TypeError", /"redis.publisher" is wrong: expected a client of ioredis or node-redis, got nothing/],
    [{ publisher: subscriber, subscriber }, "TypeError", /"redis.publisher" .* no method "publish"$/],
    [{ publisher, subscriber: publisher }, "TypeError", /"redis.subscriber" .* no method "subscribe"$/],
    [{ publisher: { publish() {} }, subscriber }, "TypeError", /"redis.publisher" .* no method "on"$/],
    [{ publisher, subscriber, url: "" }, "TypeError", /Unknown option "url" of redis/],
    [{ publisher, subscriber, channel: 1 }, "TypeError", /"redis.channel" is wrong: expected a string/],
    [{ publisher, subscriber, channel: "" }, "RangeError", /"redis.channel" .* 1 to 512 characters, got 0$/],
    [{ publisher, subscriber, channel: "x".repeat(513) }, "RangeError", /"redis.channel" .* got 513$/],
  ];
  for (const [redis, name, message] of cases) refused({ storage, redis }, name, message);
});

test("RealityServer refuses one Redis client for both publishing and subscribing", () => {
  const client = { on() {}, off() {}, publish() {}, subscribe() {}, unsubscribe() {} };
  refused(
    { storage, redis: { publisher: client, subscriber: client } },
    "TypeError",
    /publisher and subscriber are one client; a connection that subscribes may not publish/,
  );
});

test("checkOptions() accepts Redis clients, and uses the documented channel by default", () => {
  const client = () => ({
    ...{ on() {}, off() {}, publish: () => Promise.resolve() },
    ...{ subscribe: () => Promise.resolve(), unsubscribe: () => Promise.resolve() },
  });
  const [publisher, subscriber] = [client(), client()];
  equal(checkOptions({ storage }).redis, undefined);
  equal(checkOptions({ storage, redis: { publisher, subscriber } }).redis?.channel, "reality:updates");
  const named = checkOptions({ storage, redis: { publisher, subscriber, channel: "mine" } }).redis;
  equal(named?.publisher, publisher);
  equal(named?.subscriber, subscriber);
  equal(named?.channel, "mine");
});

test("RealityServer names what is wrong with rateLimit, trustProxy and limits", () => {
  const rate = { limit: 1, window: 1_000 };
  const cases: [Record<string, unknown>, string, RegExp][] = [
    [{ rateLimit: 600 }, "TypeError", /options of rateLimit: expected an object, got the number 600/],
    [{ rateLimit: {} }, "TypeError", /"rateLimit.limit" is wrong: expected an integer, got nothing/],
    [{ rateLimit: { ...rate, limit: 0 } }, "RangeError", /"rateLimit.limit" is out of range: expected 1 to/],
    [
      { rateLimit: { limit: 1 } },
      "TypeError",
      /"rateLimit.window" is wrong: expected an integer, got nothing/,
    ],
    [
      { rateLimit: { ...rate, window: 60 } },
      "RangeError",
      /"rateLimit.window" .* expected 1000 to 86400000, got 60/,
    ],
    [{ rateLimit: { ...rate, key: "ip" } }, "TypeError", /"rateLimit.key" is wrong: expected a function/],
    [{ rateLimit: { ...rate, max: 1 } }, "TypeError", /Unknown option "max" of rateLimit/],
    [{ trustProxy: true }, "TypeError", /"trustProxy" is wrong: expected a number of proxies, or an array/],
    [{ trustProxy: -1 }, "RangeError", /"trustProxy" is out of range: expected 0 to 100, got -1/],
    [{ trustProxy: 1.5 }, "TypeError", /"trustProxy" is wrong: expected an integer/],
    [{ trustProxy: [7] }, "TypeError", /"trustProxy\[0\]" is wrong: expected an address or a network/],
    [
      { trustProxy: ["::1", "10.0.0.0/40"] },
      "TypeError",
      /"trustProxy\[1\]" is wrong: .* got "10.0.0.0\/40"/,
    ],
    [{ trustProxy: ["loopback"] }, "TypeError", /such as "10.0.0.0\/8", got "loopback"/],
    [{ limits: { maxRequests: 0 } }, "RangeError", /"maxRequests" is out of range/],
    [{ limits: { maxReadingBytes: "64M" } }, "TypeError", /"maxReadingBytes" is wrong: expected an integer/],
    [{ limits: { bodyTimeout: 9 } }, "RangeError", /"bodyTimeout" is out of range: expected 10 to/],
    [{ limits: { maxStreams: -1 } }, "RangeError", /"maxStreams" is out of range: expected 0 to/],
    [{ limits: { responseTimeout: 9 } }, "RangeError", /"responseTimeout" is out of range: expected 10 to/],
    [{ limits: { stallTimeout: 9 } }, "RangeError", /"stallTimeout" is out of range: expected 10 to/],
  ];
  for (const [options, name, message] of cases) refused({ storage, ...options }, name, message);
});

test("checkOptions() trusts no proxy and sets no rate limit by default", () => {
  const { rateLimit, trustProxy } = checkOptions({ storage });
  equal(rateLimit, undefined);
  equal(trustProxy, 0);
  const told = checkOptions({
    storage,
    rateLimit: { limit: 600, window: 60_000 },
    trustProxy: ["10.0.0.0/8", "::1"],
  });
  deepEqual(told.rateLimit, { limit: 600, window: 60_000, key: undefined });
  equal((told.trustProxy as unknown[]).length, 2);
  equal(checkOptions({ storage, trustProxy: 2 }).trustProxy, 2);
});

test("checkOptions() sets every documented default", () => {
  const config = checkOptions({ storage });
  equal(config.storageTimeout, 10_000);
  equal(
    JSON.stringify(config.limits),
    JSON.stringify({
      maxBodyBytes: 1_048_576,
      maxKeys: 10_000,
      maxKeyBytes: 512,
      maxHashBytes: 256,
      maxWait: 25_000,
      maxWaiters: 50_000,
      maxWaitersPerClient: 25_000,
      maxWaitersPerConnection: 250,
      maxWaitingBytes: 134_217_728,
      maxStreams: 50_000,
      maxRequests: 10_000,
      maxReadingBytes: 67_108_864,
      bodyTimeout: 10_000,
      maxSendingBytes: 67_108_864,
      responseTimeout: 60_000,
      stallTimeout: 60_000,
    }),
  );
  equal(config.closeTimeout, 5_000);
  const shareOf = (maxWaiters: number) =>
    checkOptions({ storage, limits: { maxWaiters } }).limits.maxWaitersPerClient;
  deepEqual([0, 1_500, 7_001].map(shareOf), [1_000, 1_000, 3_501]);
});

test("RealityServer creates a random serverId", () => {
  const [a, b] = [new RealityServer({ storage }), new RealityServer({ storage })];
  equal(/^server-[a-z0-9]{10}$/.test(a.serverId), true);
  equal(a.serverId === b.serverId, false);
});
